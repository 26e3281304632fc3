"""The verdicts in short: what would make them doubtful, the baseline's value, and for each verdict its arms."""

from itertools import accumulate

import pandas as pd

from ...marks import arm_key
from ...statistics.effects import decimal_places, display_scale, metric_text
from ...statistics.judgement import Judgement, is_main_first
from ...text import decimals, interval, signed
from ..findings import CLAIM_TEXT, alarms, rows_of_verdict
from ..page import Chip, VerdictRow, Verdicts

ORDER = ("helps", "hurts", "differs", "equivalent", "undecided", "single", "missing")
MAX_CHIPS, MAX_LETTERS = 6, 160
"""Largest number of arms that are named for one verdict, and of their letters if there are several."""


def verdicts(judgement: Judgement) -> Verdicts | None:
    """Return the verdicts in short; None without a finished run."""
    effects = judgement.effects
    if effects.empty or not effects.iloc[0]["n"]:
        return None
    rows = [_claims(judgement), *(_row(judgement, verdict) for verdict in ORDER), _baseline(judgement)]
    return Verdicts(notices=alarms(judgement), rows=[row for row in rows if row])


def _row(judgement: Judgement, verdict: str) -> VerdictRow | None:
    """Return a verdict with its arms, or main effects where these are the questions, the largest first."""
    rows = rows_of_verdict(judgement, verdict)
    if rows.empty:
        return None
    order = rows["delta"].abs().sort_values(ascending=False, kind="stable", na_position="last").index
    shown = [_chip(row, judgement.metric) for _, row in rows.loc[order].head(MAX_CHIPS).iterrows()]
    letters = accumulate(len(chip.name) for chip in shown)
    shown = [chip for chip, total in zip(shown, letters, strict=True) if total <= MAX_LETTERS or chip is shown[0]]
    name = f"main effect {verdict}" if is_main_first(judgement) else verdict
    return VerdictRow(name=name, verdict=verdict, count=len(rows), chips=shown, more=len(rows) - len(shown))


def _chip(row: pd.Series, metric: str) -> Chip:
    places = decimal_places(metric)
    effect = f"{signed(row['delta'], places)} {interval(row['ci_low'], row['ci_high'], places)}".strip()
    return Chip(name=row["arm"], text="" if pd.isna(row["delta"]) else effect, key=arm_key(row["arm"]))


def _claims(judgement: Judgement) -> VerdictRow | None:
    """Return how many claims have each verdict."""
    counts = judgement.claims["verdict"].value_counts() if len(judgement.claims) else {}
    parts = [CLAIM_TEXT[verdict].format(counts[verdict]) for verdict in CLAIM_TEXT if verdict in counts]
    if not parts:
        return None
    chips = [Chip(name=part, text="", key="") for part in parts]
    return VerdictRow(name="claims", verdict="baseline", count=len(judgement.claims), chips=chips)


def _baseline(judgement: Judgement) -> VerdictRow:
    base, places = judgement.effects.iloc[0], decimal_places(judgement.metric)
    sign = " %" if display_scale(judgement.metric) == 100.0 else ""
    spread = "" if pd.isna(base["sd"]) else f" \u00b1 {decimals(base['sd'], places)}"
    text = f"{metric_text(judgement.metric)} {decimals(base['mean'], places)}{spread}{sign}, {base['n']:.0f} seed"
    chip = Chip(name=base["arm"], text=text + ("" if base["n"] == 1 else "s"), key=arm_key(base["arm"]))
    return VerdictRow(name="baseline", verdict="baseline", count=1, chips=[chip])
