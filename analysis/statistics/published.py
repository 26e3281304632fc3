"""Published values beside a study's own: which published signs hold here."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from vitsweep.study.published import published_value

from ..records.selection import Selection
from . import paired as stats

COLUMNS = "arm published_value published_n source published_effect n mean sd delta ci_low ci_high p_holm holds".split()
HOLDS, OPPOSITE, OPEN = "holds", "opposite", "undecided"


def published_effects(effects: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Tabulate COLUMNS for each arm with a published value; empty if fewer than two arms have one.

    A published sign holds if the arm's own effect has it and is significant after the family's correction, is opposite
    if the effect is significant the other way, and is undecided otherwise; without a published baseline there is no
    sign.

    Args:
        effects: arm_effects(selection) on test accuracy.
    """
    rows = [row for row in effects.to_dict("records") if row["arm"] in selection.published]
    if len(rows) < 2:
        return pd.DataFrame(columns=COLUMNS)
    entries = {row["arm"]: selection.published[row["arm"]] for row in rows}
    base = published_value(entries[selection.baseline]) if selection.baseline in entries else math.nan
    return pd.DataFrame([_row(row, entries[row["arm"]], base) for row in rows], columns=COLUMNS)


def _row(row: dict[str, Any], entry: Any, base: float) -> tuple:
    more = entry if isinstance(entry, Mapping) else {}
    value = published_value(entry)
    effect = math.nan if row["verdict"] == "baseline" else value - base
    own = [row[key] for key in ("n", "mean", "sd", "delta", "ci_low", "ci_high", "p_holm")]
    return (
        row["arm"],
        value,
        str(more.get("n", "")),
        str(more.get("source", "")),
        effect,
        *own,
        sign_holds(effect, row),
    )


def sign_holds(published_effect: float, row: dict[str, Any]) -> str:
    """Return HOLDS, OPPOSITE or OPEN; empty for the baseline and for a published effect of zero or of no baseline."""
    if math.isnan(published_effect) or published_effect == 0:
        return ""
    if not row["p_holm"] < stats.ALPHA:
        return OPEN
    return HOLDS if row["delta"] * published_effect > 0 else OPPOSITE


def published_sentences(frame: pd.DataFrame, scale: str) -> list[str]:
    """Return a sentence on the published signs for Findings, none without any.

    Args:
        frame: published_effects.
        scale: sentence on the scale of the study; empty at full scale.
    """
    signed = frame[frame["holds"] != ""] if len(frame) else frame
    if signed.empty:
        return []
    parts = []
    for word, one, many in ((HOLDS, "holds", "hold"), (OPPOSITE, "is", "are"), (OPEN, "is", "are")):
        arms = list(signed.loc[signed["holds"] == word, "arm"])
        verb = one if len(arms) == 1 else many
        text = {HOLDS: verb, OPPOSITE: f"{verb} opposite here", OPEN: f"{verb} undecided"}[word]
        parts += [f"{len(arms)} {text} ({', '.join(arms)})"] if arms else []
    where = f" at this scale ({scale})" if scale else ""
    return [f"Of {len(signed)} published signs{where}: {'; '.join(parts)}."]
