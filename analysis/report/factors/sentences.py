"""Findings about main effects: their names, with what a design cannot separate from them."""

import pandas as pd

from ...statistics.factorial import Factorial
from ...statistics.judgement import Judgement, is_main_first

DECIDED_EFFECTS = {
    "helps": "Better than the baseline's level, averaged over the other factors",
    "hurts": "Worse than the baseline's level, averaged over the other factors",
    "differs": "Not the sum of both effects",
}
"""Verdict -> how a finding begins."""


def secondary_arms(judgement: Judgement) -> list[str]:
    """Return the sentence that counts the verdicts on arms, where main effects are the questions."""
    if not is_main_first(judgement):
        return []
    effects = judgement.effects
    counts = effects.loc[effects["role"] == "arm", "verdict"].value_counts().sort_index()
    parts = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    return [f"Single arms are secondary, a family of their own ({parts}): see Comparison."]


def named_effects(found: Factorial, verdict: str) -> pd.DataFrame:
    """Return the questions with this verdict, named with what their design cannot separate from them."""
    aliases = {f"{row['factor']}={row['level']}": row["aliases"] for row in found.main.to_dict("records")}
    rows = found.questions[found.questions["verdict"] == verdict]
    names = [f"{name} (or {aliases[name]}: not told apart)" if aliases.get(name) else name for name in rows["arm"]]
    return rows.assign(arm=names)
