"""Distributions behind plans and verdicts: power, error rates, bounds; imports numpy and scipy, nothing of vitsweep.

Takes arrays, counts and spreads; gives p values, bounds, intervals and numbers of seeds.
For other rooms: all names without a leading underscore.
"""
