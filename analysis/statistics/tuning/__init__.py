"""Arms compared at the baseline's setting and at each arm's own, and what the search has tried.

One of the two comparisons is another study's Judgement; this room puts both side by side.
"""
