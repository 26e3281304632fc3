"""Stages of a study with a search: the search itself, then the study at each arm's own setting.

Both train their cells with the launcher of the sweep, in directories below the sweep's.
"""
