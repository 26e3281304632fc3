"""Fair tuning: the same small search of nuisance parameters for every arm of a study, on validation images alone.

The space and its rules, the search by Optuna, the trials' cells, and the plan of the study at each arm's own setting.
"""
