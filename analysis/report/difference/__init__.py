"""`vitsweep diff A B`: differences of two cells, arms, studies or directories as text, JSON and one page.

Takes the rows of vitsweep/study/comparison/ and adds metrics with paired intervals.
"""
