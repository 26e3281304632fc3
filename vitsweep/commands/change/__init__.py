"""Commands that change a plan: fewer arms or seeds, other names.

Each takes the directory of a sweep and leaves a trace in its plan.
"""
