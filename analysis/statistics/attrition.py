"""Attrition: planned seeds that a comparison lacks, and the failed runs behind them.

Reported beside every mean, because seeds that diverge are not a random sample of the seeds.
"""

from ..records.selection import Selection
from .effects import FAILURES


def planned_seeds(selection: Selection, *arms: str) -> int:
    """Count the seeds that the plan has of these arms; without a plan, those that left a record."""
    return selection.cells.loc[selection.cells["arm"].isin(arms), "seed"].nunique()


def seeds_used(selection: Selection, number: int, *arms: str) -> str:
    """Format `6 seeds`, or `3 of 6 seeds (3 runs of patch_size=8 diverged and are left out)`.

    Args:
        number: seeds that the comparison of these arms uses.
    """
    planned = planned_seeds(selection, *arms)
    if number >= planned:
        return f"{number} seed{'' if number == 1 else 's'}"
    lost = lost_runs(selection, *arms)
    return f"{number} of {planned} seeds" + (f" ({lost} left out)" if lost else "")


def lost_runs(selection: Selection, *arms: str) -> str:
    """Format `3 runs of patch_size=8 diverged and are`, arm by arm; empty when no run failed."""
    parts, total = [], 0
    for arm in dict.fromkeys(arms):
        statuses = selection.cells.loc[selection.cells["arm"] == arm, "status"]
        for status in FAILURES:
            number = int((statuses == status).sum())
            total += number
            parts += [f"{number} run{'' if number == 1 else 's'} of {arm} {status}"] if number else []
    return f"{', '.join(parts)} and {'is' if total == 1 else 'are'}" if parts else ""
