"""Comparison of two cells, arms, studies or directories in everything but their metrics; no numpy, no torch.

Takes two paths; gives Sides and the rows in which configuration, code, libraries, data and machine differ.
"""
