"""Training of one cell (fit, step, checkpoint) or of several as one program (pack); trial steps of an arm (trial/).

Takes a Config, a Record and a directory; leaves the record, metrics.jsonl, checkpoints and predictions in it.
For other rooms: fit.run_cell, pack.run_pack and PackedStep, step, stop, checkpoint, device, trial.
"""
