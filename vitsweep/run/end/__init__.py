"""After the last cell of a sweep: the user's command `sweep.on_end`, with a summary of plan and records.

Takes the cells as they are then and the exit code; changes neither.
"""
