"""Effects at the baseline's setting beside those at each arm's own setting, and the trials that led there.

The intervals at the own settings are conditional on the settings found: with other seeds the search might have found
others, which no interval here contains. A conclusion that is decided at one setting only is no proof that the effects
differ (Gelman & Stern 2006, The American Statistician 60), so the change of the effect has an interval of its own.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from vitsweep.study.tuning.space import Search, Setting

from ...records.tuning import TuningRecords, core_hours, setting_text
from ..effects import differences, seed_values
from ..paired import mean_interval

if TYPE_CHECKING:
    from ..judgement import Judgement

DECIDED = ("helps", "hurts", "differs")
EFFECT = ("pairs", "delta", "ci_low", "ci_high", "p_holm", "verdict")


@dataclass(kw_only=True)
class Tuning:
    """Search of a study and the arms at both settings."""

    search: Search
    baseline: Setting
    arms: pd.DataFrame
    """A row an arm: setting, trials, edge, effect at both settings (`own_` before the second), change, conclusion."""
    claims: pd.DataFrame
    """A row a claim: claim, verdict, own_verdict; empty without claims."""
    trials: pd.DataFrame
    """A row a trial: arm, trial, a column for each tuned field, value, accuracy in percent, runs, best."""
    num_runs: int
    hours: float
    """Core hours of the search."""
    study_hours: float
    """Core hours of the study at both settings, shared cells once."""
    is_complete: bool
    """True if the study at the own settings has a finished run of every arm."""
    problems: list[str]


def judge_tuning(records: TuningRecords, study: "Judgement", own: "Judgement | None") -> Tuning:
    """Put both comparisons side by side.

    Args:
        records: of the search.
        study: at the baseline's setting.
        own: at each arm's own; None before it has a plan.
    """
    runs = records.runs
    started = runs[runs["status"] != "planned"]
    return Tuning(
        search=records.search,
        baseline=records.baseline,
        arms=arm_rows(records, study, own),
        claims=claim_rows(study, own),
        trials=trial_rows(records),
        num_runs=started["cell"].nunique(),
        hours=float(runs["core_hours"].sum()),
        study_hours=_hours(study, own),
        is_complete=own is not None and bool((own.effects["n"] > 0).all()),
        problems=records.problems + (own.problems if own else []),
    )


def trial_rows(records: TuningRecords) -> pd.DataFrame:
    """Tabulate the trials, means over their runs; one of which a run has failed or not ended has no value."""
    keys = [parameter.key for parameter in records.search.parameters]
    rows = []
    for (arm, trial), own in records.runs.groupby(["arm", "trial"], sort=False):
        setting = own["setting"].iloc[0]
        value, accuracy = (own[name].astype(float).mean(skipna=False) for name in ("value", "accuracy"))
        is_best = setting == records.best.get(arm) and not math.isnan(value)
        rows.append((arm, trial, *(setting[key] for key in keys), value, 100 * accuracy, len(own), is_best))
    columns = ["arm", "trial", *keys, "value", "accuracy", "runs", "best"]
    return pd.DataFrame(rows, columns=columns)


def arm_rows(records: TuningRecords, study: "Judgement", own: "Judgement | None") -> pd.DataFrame:
    """Tabulate the searched arms at both settings."""
    trials = trial_rows(records)
    both = [judgement.effects.set_index("arm") if judgement else pd.DataFrame() for judgement in (study, own)]
    rows = []
    for arm in dict.fromkeys(trials["arm"]):
        setting = records.frozen.get(arm) or records.best.get(arm) or {}
        known = trials[(trials["arm"] == arm) & trials["value"].notna()]
        row = {"arm": arm, "setting": setting_text(setting), "trials": len(known), "edge": edge_text(records, setting)}
        for prefix, effects in zip(("", "own_"), both, strict=True):
            found = effects.loc[arm] if arm in effects.index else {}
            row |= {f"{prefix}{name}": found.get(name, math.nan) for name in EFFECT}
        row |= _change(arm, study, own)
        row["conclusion"] = conclusion(row["verdict"], row["own_verdict"])
        rows.append(row)
    return pd.DataFrame(rows)


def conclusion(verdict: object, own_verdict: object) -> str:
    """Compare the verdicts at both settings: same, reversed, gone (at the arm's own), new (there), else changed.

    Empty if one of them is not a verdict on an effect.
    """
    judged = (*DECIDED, "equivalent", "undecided")
    if verdict not in judged or own_verdict not in judged:
        return ""
    if verdict == own_verdict:
        return "same"
    if verdict in DECIDED and own_verdict in DECIDED:
        return "reversed"
    return "gone" if verdict in DECIDED else "new" if own_verdict in DECIDED else "changed"


def edge_text(records: TuningRecords, setting: Setting) -> str:
    """Return the fields of a setting that lie at an edge of their range: `lr=0.1 (high end)`."""
    parts = [
        f"{setting_text({parameter.key: setting[parameter.key]})} ({edge} end)"
        for parameter in records.search.parameters
        if parameter.key in setting and (edge := parameter.edge(setting[parameter.key]))
    ]
    return ", ".join(parts)


def claim_rows(study: "Judgement", own: "Judgement | None") -> pd.DataFrame:
    """Tabulate the claims' verdicts at both settings."""
    columns = ["claim", "verdict", "own_verdict"]
    if own is None or len(own.claims) != len(study.claims):
        return pd.DataFrame(columns=columns)
    values = zip(study.claims["claim"], study.claims["verdict"], own.claims["verdict"], strict=True)
    return pd.DataFrame(list(values), columns=columns)


def _change(arm: str, study: "Judgement", own: "Judgement | None") -> dict[str, float]:
    """Return the effect at the own settings minus that at the baseline's, on shared seeds, with its 95 % t interval."""
    found = {"change": math.nan, "change_low": math.nan, "change_high": math.nan}
    if (
        own is None
        or arm == study.selection.baseline
        or arm not in own.selection.arms
        or arm not in study.selection.arms
    ):
        return found
    before, after = (
        differences(seed_values(judgement.selection, judgement.metric), arm, judgement.selection.baseline)
        for judgement in (study, own)
    )
    change_S = (after - before).dropna().to_numpy()
    if not len(change_S):
        return found
    return dict(zip(found, (float(value) for value in mean_interval(change_S)), strict=True))


def _hours(study: "Judgement", own: "Judgement | None") -> float:
    cells = {
        row["cell"]: row["record"]
        for judgement in (study, own)
        if judgement
        for row in judgement.selection.cells.to_dict("records")
    }
    return sum(core_hours(record) for record in cells.values())
