"""Sentences of a plan, beside the table of vitsweep/run/plan_table.py."""

__all__: list[str] = []
