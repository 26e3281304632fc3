"""Studies whose finished cells are trained longer: the plan of the longer study, and why a plan has none.

Takes a plan and a number of epochs; gives the plan of a sweep directory of its own.
"""
