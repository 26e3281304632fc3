"""Compute attention maps of trained models, their measures and their faithfulness.

Takes cells (directories with a checkpoint) and images; gives AttentionMaps, Views and frames. torch is imported late.
Other rooms may use `looks`, `maps`, `images`, `difference.compare_arms`, `columns`, and `measures.COLUMNS`.
"""
