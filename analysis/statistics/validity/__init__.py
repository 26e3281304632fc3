"""Threats to the validity of verdicts: lost runs, models that guess, statements that were changed after the start.

Takes a Selection and comparisons; gives sentences, and p values in which lost runs count.
"""
