"""Three to ten sentences, written from the numbers, that say what was found and what was not.

A difference that is not significant is never called absent: an arm is `equivalent` only if a test says that
its effect lies within the ROPE, else it is `undecided` and the sentence says what it would take to know.
"""

import math

import pandas as pd

from analysis.selection import Selection
from analysis.shown import interval, p_value, signed, whole

MAX_NAMED = 4


def findings(selection: Selection, effects: pd.DataFrame) -> list[str]:
    """The sentences about the arms."""
    if effects.empty:
        return ["No cell with a readable record was found, so there is nothing to report."]
    base = effects.iloc[0]
    if len(effects) == 1:
        return [_alone(base)]
    said = [_baseline(base)]
    others = effects[(effects["role"] == "arm") & (effects["arm"] != selection.baseline)]
    for verdict, opening in (("helps", "Better than the baseline"), ("hurts", "Worse than the baseline")):
        said += _decided(others[others["verdict"] == verdict], opening)
    said += _equivalent(others[others["verdict"] == "equivalent"], selection.rope)
    said += _undecided(others[others["verdict"] == "undecided"])
    said += _single(others[others["verdict"] == "single"])
    said += _missing(others[others["verdict"] == "missing"])
    return said


def _alone(base: pd.Series) -> str:
    if not base["n"]:
        return f"The only arm is {base['arm']}, and it has no finished run with a test accuracy."
    seeds = "one seed" if base["n"] == 1 else f"{base['n']} seeds"
    return (
        f"The only arm is {base['arm']}: {base['mean']:.2f} % test accuracy ({seeds}). There is nothing to "
        "compare it with."
    )


def _baseline(base: pd.Series) -> str:
    if not base["n"]:
        return f"The baseline {base['arm']} has no finished run with a test accuracy, so no arm can be judged."
    if base["n"] == 1:
        return f"The baseline reaches {base['mean']:.2f} % test accuracy (one seed)."
    return (
        f"The baseline reaches {base['mean']:.2f} % test accuracy (mean of {base['n']} seeds, standard "
        f"deviation {base['sd']:.2f} points)."
    )


def _decided(rows: pd.DataFrame, opening: str) -> list[str]:
    if rows.empty:
        return []
    parts = [
        f"{row['arm']} by {signed(row['delta'])} points {interval(row['ci_low'], row['ci_high'])}, "
        f"Holm p {_with_sign(row['p_holm'])}"
        for _, row in _largest(rows).iterrows()
    ]
    return [f"{opening}: {'; '.join(parts)}{_more(rows)}."]


def _equivalent(rows: pd.DataFrame, rope: float) -> list[str]:
    if rows.empty:
        return []
    named = f"{_names(rows)}{_more(rows)}"
    return [f"Equivalent to the baseline within {rope:g} points (two one-sided tests, 5 %): {named}."]


def _undecided(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    parts = []
    for _, row in _largest(rows).iterrows():
        needed = row["seeds_needed"]
        cost = "" if math.isnan(needed) else f", about {whole(needed)} seeds would decide"
        parts.append(f"{row['arm']} ({signed(row['delta'])} {interval(row['ci_low'], row['ci_high'])}{cost})")
    return [
        f"The data do not decide about {'; '.join(parts)}{_more(rows)}: neither a difference nor its absence is shown."
    ]


def _single(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    parts = [f"{row['arm']} {signed(row['delta'])} points" for _, row in _largest(rows).iterrows()]
    return [
        "With one shared seed there is a difference but no measure of how sure it is: "
        f"{'; '.join(parts)}{_more(rows)}. More seeds are needed to judge."
    ]


def _missing(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    named = f"{_names(rows)}{_more(rows)}"
    return [f"No finished run shares a seed with the baseline, so nothing can be said about {named}."]


def _largest(rows: pd.DataFrame) -> pd.DataFrame:
    order = rows["delta"].abs().sort_values(ascending=False, kind="stable").index
    return rows.loc[order].head(MAX_NAMED)


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(rows["arm"].head(MAX_NAMED))


def _more(rows: pd.DataFrame) -> str:
    rest = len(rows) - MAX_NAMED
    return f" and {rest} more" if rest > 0 else ""


def _with_sign(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"
