"""Select the comparable cells: one study, one configuration an arm, one data set, one baseline.

Whatever is left out is named in `notes`, so that no table mixes what does not belong together. Everything
after this works on a Selection.
"""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from vitsweep.study.arms import differences, written_settings

from .load import StudyRecords

DEFAULT_ROPE = 0.5
DEFAULT_METRIC = "test/accuracy"


@dataclass(kw_only=True)
class Selection:
    """Comparable cells of one study."""

    cells: pd.DataFrame
    """As StudyRecords.cells, with `baseline` cells first and arms in the plan's order."""
    history: pd.DataFrame
    """As StudyRecords.history, the same cells."""
    arms: list[str]
    """Baseline first, then in the plan's order (without a plan: as found on disk)."""
    baseline: str
    """Arm that the others are compared with; empty when there is no cell at all."""
    roles: dict[str, str]
    """Arm -> baseline, arm or placebo."""
    levels: dict[str, dict[str, str]]
    """Arm -> factor -> level, the baseline's level where the arm does not say."""
    changes: dict[str, str]
    """Arm -> differences of its configuration to the baseline's."""
    notes: list[str]
    """A sentence for everything left out or unexpected."""
    study: str = ""
    design: str = ""
    rope: float = DEFAULT_ROPE
    published: dict[str, float] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] | None = None

    def done(self) -> pd.DataFrame:
        """Return the finished cells."""
        return self.cells[self.cells["status"] == "done"]

    def done_history(self) -> pd.DataFrame:
        """Return the epochs of finished cells only: a stopped run would bend the mean where it stopped."""
        return self.history[self.history["cell"].isin(self.done()["cell"])]

    def non_baseline(self) -> list[str]:
        """Return every arm but the baseline."""
        return [arm for arm in self.arms if arm != self.baseline]

    def family(self) -> list[str]:
        """Return the arms of role `arm`: those of the plan, or those that started if there is no plan.

        Arms that did not start yet count too, else the first ones to finish would be judged as if there were no more.
        """
        begun = set(self.cells.loc[self.cells["status"] != "planned", "arm"])
        return [arm for arm in self.non_baseline() if self.roles[arm] == "arm" and (self.plan or arm in begun)]


def select(loaded: StudyRecords) -> Selection:
    """Select the comparable part of the loaded records."""
    notes, plan = [], _plan_of(loaded)
    cells = _one_study(loaded.cells, plan, notes)
    cells = _one_configuration(cells, plan, notes)
    cells = _one_replicate(cells, notes)
    baseline = _baseline(cells, plan, notes)
    cells = _one_data_set(cells, baseline, notes)
    arms = _ordered_arms(cells, plan, baseline)
    rank = {arm: number for number, arm in enumerate(arms)}
    cells = cells.assign(_rank=cells["arm"].map(rank)).sort_values(["_rank", "seed", "cell"], kind="stable")
    cells = cells.drop(columns="_rank").reset_index(drop=True)
    plan = plan or {}
    return Selection(
        cells=cells,
        history=loaded.history[loaded.history["cell"].isin(cells["cell"])].reset_index(drop=True),
        arms=arms,
        baseline=baseline,
        roles=_roles(cells, arms, baseline),
        levels=_levels(cells, arms, baseline),
        changes=_changes(cells, arms, baseline),
        notes=notes,
        study=str(plan.get("study") or (cells["study"].iloc[0] if len(cells) else "")),
        design=str(plan.get("design") or ""),
        rope=float(DEFAULT_ROPE if plan.get("rope") is None else plan["rope"]),
        published=plan.get("published") or {},
        claims=plan.get("claims") or [],
        plan=plan or None,
    )


def arm_records(cells: pd.DataFrame) -> pd.Series:
    """Return arm -> record of its first cell."""
    return cells.drop_duplicates("arm").set_index("arm")["record"]


def _plan_of(loaded: StudyRecords) -> dict | None:
    """Return the plan, if all directories have the same study."""
    studies = {plan["study"] for plan in loaded.plans}
    return loaded.plans[0] if len(studies) == 1 else None


def _one_study(cells: pd.DataFrame, plan: dict | None, notes: list[str]) -> pd.DataFrame:
    """Keep the plan's study, else the largest, and others that share its baseline."""
    counts = cells.groupby("study", sort=True).size()
    if len(counts) < 2:
        return cells
    main = plan["study"] if plan and plan["study"] in counts.index else counts.idxmax()
    hashes = cells[cells["role"] == "baseline"].groupby("study")["config_hash"].agg(set)
    shared = {s for s in counts.index if s in hashes.index and main in hashes.index and hashes[s] == hashes[main]}
    kept = cells["study"].isin(shared | {main})
    for study in sorted(set(counts.index) - {main}):
        fate = "are pooled, since the baselines are equal" if study in shared else "are left out"
        notes.append(
            f"More than one study lies here. This report is about {main}; the {counts[study]} cells of {study} {fate}."
        )
    return cells[kept]


def _one_configuration(cells: pd.DataFrame, plan: dict | None, notes: list[str]) -> pd.DataFrame:
    """Keep per arm the configuration that the plan names, else the most frequent one."""
    planned = {arm["arm"]: arm.get("config_hash") for arm in plan["arms"]} if plan else {}
    dropped = set()
    for arm, group in cells.groupby("arm", sort=False):
        counts = group["config_hash"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        if len(counts) < 2:
            continue
        kept = planned.get(arm) if planned.get(arm) in counts.index else counts.index[0]
        wrong = group.loc[group["config_hash"] != kept]
        dropped |= set(wrong.index)
        notes.append(
            f"Arm {arm} has {len(counts)} different configurations; {len(wrong)} cells that are not "
            f"{kept[:8]} are left out: {', '.join(wrong['cell'])}."
        )
    return cells.drop(index=list(dropped))


def _one_replicate(cells: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Keep one cell for each arm and seed: a finished one if there is any, the first in path order."""
    order = cells.assign(_late=cells["status"] != "done").sort_values(["_late", "cell"], kind="stable")
    double = order.duplicated(["arm", "seed"])
    for cell in order.loc[double, "cell"]:
        notes.append(f"Left out {cell}: the same arm and seed are there twice.")
    return cells.loc[sorted(order.index[~double])]


def _baseline(cells: pd.DataFrame, plan: dict | None, notes: list[str]) -> str:
    marked = list(dict.fromkeys(cells.loc[cells["role"] == "baseline", "arm"]))
    arms = list(dict.fromkeys(cells["arm"]))
    if plan and plan.get("baseline") in arms:
        return plan["baseline"]
    if len(marked) > 1:
        notes.append(f"{len(marked)} arms are marked as the baseline ({', '.join(marked)}); the first one counts.")
    if marked or not arms:
        return marked[0] if marked else ""
    if len(arms) > 1:
        notes.append(f"No cell is marked as the baseline; every arm is compared with the first one, {arms[0]}.")
    return arms[0]


def _one_data_set(cells: pd.DataFrame, baseline: str, notes: list[str]) -> pd.DataFrame:
    """Keep the cells that saw the baseline's images."""
    known = cells[cells["data_fingerprint"].astype(bool)]
    if known["data_fingerprint"].nunique() < 2:
        return cells
    first = known[known["arm"] == baseline] if (known["arm"] == baseline).any() else known
    main = first["data_fingerprint"].value_counts().sort_index().idxmax()
    wrong = known[known["data_fingerprint"] != main]
    notes.append(
        f"{len(wrong)} cells saw other images than the baseline (data fingerprint {main[:8]}) and are left "
        f"out: {', '.join(wrong['cell'])}."
    )
    return cells.drop(index=wrong.index)


def _ordered_arms(cells: pd.DataFrame, plan: dict | None, baseline: str) -> list[str]:
    found = list(dict.fromkeys(cells["arm"]))
    planned = [arm["arm"] for arm in plan["arms"]] if plan else []
    order = [baseline, *planned, *found]
    return [arm for arm in dict.fromkeys(order) if arm in set(found)]


def _roles(cells: pd.DataFrame, arms: list[str], baseline: str) -> dict[str, str]:
    records = arm_records(cells)
    # A second arm that calls itself the baseline is compared like any other.
    roles = {arm: "placebo" if records[arm].role == "placebo" else "arm" for arm in arms}
    return roles | ({baseline: "baseline"} if baseline else {})


def _levels(cells: pd.DataFrame, arms: list[str], baseline: str) -> dict[str, dict[str, str]]:
    records = arm_records(cells)
    stated = {arm: {k: str(v) for k, v in (records[arm].levels or {}).items()} for arm in arms}
    factors = list(dict.fromkeys(factor for arm in arms for factor in stated[arm]))
    configs = {arm: written_settings(records[arm].config) for arm in arms}
    baseline_levels = {factor: _baseline_level(factor, stated, configs, baseline) for factor in factors}
    return {arm: baseline_levels | stated[arm] for arm in arms}


def _baseline_level(factor: str, stated: dict[str, dict], configs: dict[str, dict], baseline: str) -> str:
    """Return the baseline's level: as stated, else its value if the factor is a field whose values are the levels."""
    if factor in stated[baseline]:
        return stated[baseline][factor]
    for key in (key for key in configs[baseline] if key.rpartition(".")[2] == factor):
        if all(str(configs[arm].get(key)) == levels[factor] for arm, levels in stated.items() if factor in levels):
            return str(configs[baseline][key])
    return "baseline"


def _changes(cells: pd.DataFrame, arms: list[str], baseline: str) -> dict[str, str]:
    records = arm_records(cells)
    configs = {arm: written_settings(records[arm].config) for arm in arms}
    return {arm: _difference(configs[arm], configs[baseline]) if arm != baseline else "" for arm in arms}


def _difference(config: dict[str, Any], baseline: dict[str, Any]) -> str:
    keys = differences(baseline, config)
    return ", ".join(
        f"{key.split('.')[-1]} {_effective_value(baseline, key)} -> {_effective_value(config, key)}" for key in keys
    )


def _effective_value(config: dict[str, Any], key: str) -> Any:
    """Return a field's value; for a dropout place without one (null) the common rate."""
    value = config.get(key)
    if value is None and key.endswith("_dropout_prob"):
        value = config.get("model.hidden_dropout_prob")
    return "null" if value is None else value
