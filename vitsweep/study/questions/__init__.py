"""Questions of a plan: claims with their comparisons, main effects, and the power of both.

Takes a Plan and a spread; gives numbers for the plan's table.
"""
