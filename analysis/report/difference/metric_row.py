"""MetricRow, one metric of a comparison; apart from metrics.py, which imports numpy."""

from dataclasses import dataclass

COSTS = ("params", "flops_per_image", "time_seconds", "images_per_second", "peak_gib")


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric of one pair of arms."""

    arm: str
    metric: str
    """`final/test/accuracy`, `epoch 12/val/loss`, `time_seconds`, ..."""
    a: float | None
    """Mean over the seeds of side A that have it."""
    b: float | None
    n_a: int
    n_b: int
    shared: int
    """Seeds that both sides have."""
    difference: float | None
    """B - A: mean over shared seeds; without one the difference of the means."""
    ci_low: float | None
    """Paired 95 % t interval; None below two shared seeds and without spread."""
    ci_high: float | None
    p: float | None
    """Of the paired t test, not adjusted."""
