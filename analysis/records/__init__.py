"""Read records of a study and select the comparable cells.

Takes sweep or cell directories, or W&B runs; gives a StudyRecords, then a Selection.
Other rooms may use `load.load`, `selection.select`, `Selection`, `wandb_runs.is_wandb_source`.
"""
