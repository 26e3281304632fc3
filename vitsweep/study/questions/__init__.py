"""Questions of a plan: claims with their comparisons, main effects, the power of both, and the spread they rest on.

Takes a Plan and a spread or earlier records; gives numbers and sentences for the plan's table.
"""
