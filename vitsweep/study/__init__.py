"""Study designs, arms, `plan.json`, and what lies on disk of each cell; imports no torch.

Takes a study file or swept overrides and a Composer; gives a Plan of cells, their records, locks and statuses.
For other rooms: all names without a leading underscore, most of all Plan, Cell, CellId, Record, CellLock, CellStatus.
"""
