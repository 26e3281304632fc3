"""Sentences on the pooled error: whether arms spread alike, where that is doubtful, and which verdicts rest on it."""

import pandas as pd

from vitsweep.significance.pooling import ARM_DOUBT, BASELINE_DOUBT, FEW_SEEDS, REFUTED

from ...text import bounds, decimals, p_value

DECIDED = ("helps", "hurts", "differs", "equivalent")
MAX_NAMED = 4


def pooling_findings(effects: pd.DataFrame) -> list[str]:
    """Return what Findings say: for which arms pooling is refuted, and why verdicts are doubtful.

    Args:
        effects: as effects.arm_effects, of a study under any error.
    """
    if "pooling" not in effects or not len(effects):
        return []
    refuted = effects[effects["pooling"] == "refuted"]
    lines = []
    if len(refuted):
        names = ", ".join(refuted["arm"].head(MAX_NAMED)) + (" and others" if len(refuted) > MAX_NAMED else "")
        lines.append(
            f"Pooling was not defensible for {names}, so the paired error decides there: {spread_text(effects)}."
        )
    doubtful = effects[(effects["pooling"] == "doubtful") & effects["verdict"].isin(DECIDED)]
    if len(doubtful):
        few = doubtful["pairs"].max() < FEW_SEEDS
        reason = f"{int(doubtful['pairs'].max())} seeds cannot show whether arms spread alike" if few else ""
        reason = reason or f"runs may not spread alike ({spread_text(effects)})"
        lines.append(f"Pooling is doubtful, as {reason}: read the paired p beside {_verdicts(doubtful)}.")
    return lines


def pooling_remark(row: pd.Series) -> list[str]:
    """Return what stands beside a doubtful verdict."""
    if row.get("pooling") != "doubtful" or row["verdict"] not in DECIDED or pd.isna(row.get("p_holm_paired")):
        return []
    return [f"pooling doubtful, paired Holm p {p_value(row['p_holm_paired'])}"]


def spread_text(effects: pd.DataFrame) -> str:
    """Describe the spread of the baseline and of the arm that spreads most, over that of all other arms."""
    base, rest = effects.iloc[0], effects.iloc[1:]
    parts = []
    if pd.notna(base["spread_ratio"]):
        parts.append(f"{base['arm']} {_ratio(base)}")
    if rest["spread_ratio"].notna().any():
        widest = rest.loc[rest["spread_ratio"].idxmax()]
        parts.append(f"at most {widest['arm']} {_ratio(widest)}")
    return f"spread over that of the other arms {', '.join(parts)}" if parts else "too few arms to compare spreads"


def pooling_definition(effects: pd.DataFrame) -> str:
    """Return the sentences of Health on the pooled error of a study; empty under another error."""
    if "spread_ratio" not in effects or not effects["spread_ratio"].notna().any():
        return ""
    freedom = effects.loc[effects["pooling"].isin(("pooled", "doubtful")), "freedom"].max()
    degrees = f" on {freedom:.0f} degrees of freedom" if pd.notna(freedom) else ""
    return (
        f"Pooled error: one residual spread of all arms, with seeds as blocks{degrees}. It assumes that runs spread "
        f"alike beside what a seed adds to all arms; here: {spread_text(effects)} (95 % intervals). A verdict is "
        f"doubtful if the baseline's ratio exceeds {BASELINE_DOUBT:g}, its arm's {ARM_DOUBT:g}, or with fewer than "
        f"{FEW_SEEDS} seeds; if a ratio is beyond doubt (F test, p < {REFUTED:g}) the paired error decides. Rates: "
        "docs/calibration/pooled.md."
    )


def _ratio(row: pd.Series) -> str:
    return f"{decimals(row['spread_ratio'])} {bounds(row['spread_low'], row['spread_high'])}"


def _verdicts(rows: pd.DataFrame) -> str:
    names = ", ".join(rows["arm"].head(MAX_NAMED))
    more = len(rows) - MAX_NAMED
    return names + (f" and {more} more" if more > 0 else "")
