"""Select the comparable cells: one study, one configuration an arm, one data set, one baseline.

Whatever is left out is named in `notes`, so that no table mixes what does not belong together. Everything
after this works on a Selection.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from vitsweep.config.schema import PAIRED
from vitsweep.errors import RecordError, did_you_mean
from vitsweep.study.arms import written_settings
from vitsweep.study.changes.drop import is_asked as is_cell_asked
from vitsweep.study.status import NOT_NEEDED

from .changes import option_changes, setting_changes
from .comparable import (
    LEFT_OUT,
    Exclusions,
    comparable_cells,
    kept_plans,
    merge_plans,
    one_data_set,
    plan_conflicts,
    with_planned,
)
from .consistency import NOT_STARTED
from .load import StudyRecords
from .plan_changes import change_sentences, dropped_after_results

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
    options: dict[str, str] = field(default_factory=dict)
    """Arm -> its changes in short: the options of config groups in place of the fields that they set."""
    alarms: list[str] = field(default_factory=list)
    """Sentences for Findings: what the plan and the records do not share, and what is left out."""
    planned: dict[str, dict[str, Any]] | None = None
    """Arm -> its row in the plan or in that of a pooled study; None without a plan."""
    lost: list[str] = field(default_factory=list)
    """Without a plan: started arms of which every cell is left out."""
    prefixes: list[str] = field(default_factory=lambda: [""])
    """As StudyRecords.prefixes."""
    study: str = ""
    design: str = ""
    rope: float = DEFAULT_ROPE
    error: str = PAIRED
    """Error of the tests that the plan declares, one of config.schema.ERRORS."""
    interactions: list[list[str]] = field(default_factory=list)
    """Interactions that the plan names."""
    looks: list[int] = field(default_factory=list)
    """Numbers of seeds after which the plan has the study judged; [] without looks."""
    spending: str = ""
    """Division of the error over the looks."""
    published: dict[str, Any] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    """As Plan.scale; empty for a study at its full scale."""
    claims: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    own_baseline: str = ""
    """Baseline of the study, if another arm is the baseline here; else empty."""
    sequence: Any = None
    """The study at its looks, a statistics.sequential.Sequence; None without looks."""

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
        """Return the arms that are tested together: those of role `arm` in the plan; without one, those that started.

        An arm that was dropped after a run of it had finished counts: what was seen may be why it was dropped.

        Arms that did not start yet, that have no cell or that are left out count too: the others would be judged as if
        there were no more.
        """
        if self.planned is not None:
            planned = [arm for arm, row in self.planned.items() if row["role"] == "arm" and arm != self.baseline]
            return [*planned, *(arm for arm in dropped_after_results(self.plan) if arm not in self.planned)]
        begun = set(self.cells.loc[self.cells["status"] != "planned", "arm"])
        return [arm for arm in self.non_baseline() if self.roles[arm] == "arm" and arm in begun] + self.lost

    def unplanned(self) -> list[str]:
        """Return arms that no plan has although there is one; they are exploratory."""
        return [arm for arm in self.non_baseline() if self.planned is not None and arm not in self.planned]


def select(loaded: StudyRecords, baseline: str = "") -> Selection:
    """Select the comparable part of the loaded records.

    Args:
        baseline: arm to compare with in place of the study's baseline, see against_arm; empty: the study's.

    Raises:
        RecordError: there is no such arm.
    """
    found = _select(loaded)
    return against_arm(found, baseline) if baseline and baseline != found.baseline else found


def against_arm(selection: Selection, arm: str) -> Selection:
    """Return the same cells with another arm as the baseline, which is exploratory.

    Claims, looks, published values and the design's main effects were stated against the study's own baseline, and are
    left out.

    Raises:
        RecordError: there is no such arm, or it is a placebo.
    """
    allowed = [name for name in selection.arms if selection.roles[name] != "placebo"]
    if arm not in allowed:
        raise RecordError(
            f"--baseline={arm}  is no arm here{did_you_mean(arm, allowed)}; allowed: {', '.join(allowed)}"
        )
    before, planned = selection.baseline, selection.planned
    arms = [arm, *(name for name in selection.arms if name != arm)]
    roles = selection.roles | {before: "arm", arm: "baseline"}
    if planned is not None:
        planned = {name: row | {"role": roles.get(name, row["role"])} for name, row in planned.items()}
    sentence = f"Exploratory: every arm is compared with {arm}, in place of the study's baseline, {before}"
    sentence += "; claims are judged in the study's own report." if selection.claims else "."
    return replace(
        selection,
        cells=_in_order(selection.cells, arms),
        arms=arms,
        baseline=arm,
        roles=roles,
        levels={name: selection.levels[name] for name in arms},
        changes=setting_changes(arm_records(selection.cells), arms, arm),
        options=option_changes(arm_records(selection.cells), arms, arm),
        alarms=[sentence, *selection.alarms],
        planned=planned,
        own_baseline=before,
        design="",
        interactions=[],
        looks=[],
        spending="",
        published={},
        claims=[],
    )


def _select(loaded: StudyRecords) -> Selection:
    out, plan = Exclusions(), merge_plans(loaded.plans)
    cells = comparable_cells(loaded.cells, loaded.plans, plan, out)
    plans = kept_plans(cells, plan, loaded.plans)
    baseline = _baseline(cells, plan, out.notes)
    cells = with_planned(one_data_set(cells, baseline, out), loaded.cells, plans)
    arms = _ordered_arms(cells, plan, baseline)
    cells = _without_need(_in_order(cells, arms), plan)
    known = cells.loc[cells["status"] != LEFT_OUT, "cell"]
    planned = {row["arm"]: row for one in reversed(plans) for row in one["arms"]} if plan else None
    stated, plan = _stated(cells, arms, planned or {}, out.notes), plan or {}
    selection = Selection(
        cells=cells,
        history=loaded.history[loaded.history["cell"].isin(known)].reset_index(drop=True),
        arms=arms,
        baseline=baseline,
        roles=_roles(stated, baseline),
        levels=_levels(cells, {arm: levels for arm, (_, levels) in stated.items()}, baseline),
        changes=setting_changes(arm_records(cells), arms, baseline),
        options=option_changes(arm_records(cells), arms, baseline),
        notes=out.notes,
        planned=planned,
        prefixes=loaded.prefixes,
        lost=sorted(out.arms - set(arms)) if planned is None else [],
        study=str(plan.get("study") or (cells["study"].iloc[0] if len(cells) else "")),
        design=str(plan.get("design") or ""),
        rope=float(DEFAULT_ROPE if plan.get("rope") is None else plan["rope"]),
        error=str(plan.get("error") or PAIRED),
        interactions=plan.get("interactions") or [],
        looks=plan.get("looks") or [],
        spending=str(plan.get("spending") or ""),
        published=plan.get("published") or {},
        scale=plan.get("scale") or {},
        claims=plan.get("claims") or [],
        plan=plan or None,
    )
    selection.alarms = _alarms(selection, {(c["arm"], c["seed"]) for one in plans for c in one["cells"]}, out)
    conflicts = plan_conflicts(loaded.plans, plans)
    selection.alarms, selection.notes = conflicts + selection.alarms, selection.notes + conflicts
    return selection


def _without_need(cells: pd.DataFrame, plan: dict | None) -> pd.DataFrame:
    """Return cells with status NOT_NEEDED for those that wait and that the study's last start did not ask for."""
    asked = (plan or {}).get("asked") or {}
    is_waiting = cells["status"].isin(("planned", "interrupted"))
    is_asked = [is_cell_asked(asked, arm, seed) for arm, seed in zip(cells["arm"], cells["seed"], strict=True)]
    return cells.assign(
        status=cells["status"].mask(is_waiting & ~pd.Series(is_asked, cells.index, dtype=bool), NOT_NEEDED)
    )


def _in_order(cells: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    rank = {arm: number for number, arm in enumerate(arms)}
    cells = cells.assign(_rank=cells["arm"].map(rank)).sort_values(["_rank", "seed", "cell"], kind="stable")
    return cells.drop(columns="_rank").reset_index(drop=True)


def _alarms(selection: Selection, planned_runs: set[tuple[str, int]], out: Exclusions) -> list[str]:
    """Return sentences about arms, runs and names that the plan and the records do not share, noted for Health too."""
    lines, unplanned, planned = [], selection.unplanned(), selection.planned or {}
    started = selection.cells[~selection.cells["status"].isin(NOT_STARTED)]
    studies = sorted(set(started["study"]))
    if studies and selection.study not in studies:
        lines.append(f"The plan is of study {selection.study}, the runs are of {', '.join(studies)}.")
    if unplanned:
        lines.append(f"Not in the plan, so exploratory and outside the family of arms: {', '.join(unplanned)}.")
    runs = zip(started["cell"], started["arm"], started["seed"], strict=True)
    extra = [cell for cell, arm, seed in runs if arm in planned and (arm, seed) not in planned_runs]
    if extra:
        lines.append(f"{_runs(len(extra))} of planned arms not in the plan: {', '.join(extra)}.")
    changes = change_sentences(selection.plan or {}, planned)
    if absent := [arm for arm in planned if arm not in selection.arms]:
        lines.append(f"Planned and without any cell, but counted in the family of arms: {', '.join(absent)}.")
    selection.notes += lines
    counts = [f"{_runs(len(cells))} {reason}" for reason, cells in out.cells.items()]
    if counts:
        rest = "; arms that lose runs by it still count in the family of arms" if planned else ""
        lines.append(f"Left out: {', '.join(counts)} (see Health){rest}.")
    return lines + changes


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def arm_records(cells: pd.DataFrame) -> pd.Series:
    """Return arm -> record of its first cell."""
    return cells.drop_duplicates("arm").set_index("arm")["record"]


def _baseline(cells: pd.DataFrame, plan: dict | None, notes: list[str]) -> str:
    marked = list(dict.fromkeys(cells.loc[cells["role"] == "baseline", "arm"]))
    arms = list(dict.fromkeys(cells["arm"]))
    if plan and plan.get("baseline") in arms:
        return plan["baseline"]
    if set(cells["study"]) == {"single"}:  # every one of them is a baseline in its own record
        return "baseline" if "baseline" in marked else marked[0]
    if len(marked) > 1:
        notes.append(f"{len(marked)} arms are marked as the baseline ({', '.join(marked)}); the first one counts.")
    if marked or not arms:
        return marked[0] if marked else ""
    if len(arms) > 1:
        notes.append(f"No cell is marked as the baseline; every arm is compared with the first one, {arms[0]}.")
    return arms[0]


def _ordered_arms(cells: pd.DataFrame, plan: dict | None, baseline: str) -> list[str]:
    found = list(dict.fromkeys(cells["arm"]))
    planned = [arm["arm"] for arm in plan["arms"]] if plan else []
    order = [baseline, *planned, *found]
    return [arm for arm in dict.fromkeys(order) if arm in set(found)]


def _stated(
    cells: pd.DataFrame, arms: list[str], planned: dict[str, dict], notes: list[str]
) -> dict[str, tuple[str, dict[str, str]]]:
    """Return arm -> role and levels, from the plan where it has the arm; note records that state other ones."""
    records, stated = arm_records(cells), {}
    cells_of = dict(iter(cells[["arm", "cell", "record"]].groupby("arm", sort=False)))
    for arm in arms:
        record = records[arm]
        role, levels = record.role, record.levels
        if arm in planned:
            role, levels = planned[arm]["role"], planned[arm]["levels"]
            own = cells_of[arm].itertuples(index=False)
            if wrong := [cell for _, cell, record in own if record.role != role or record.levels != levels]:
                notes.append(f"Role or levels are not those of the plan, which are used: {', '.join(wrong)}.")
        stated[arm] = role, {k: str(v) for k, v in (levels or {}).items()}
    return stated


def _roles(stated: dict[str, tuple[str, dict]], baseline: str) -> dict[str, str]:
    # A second arm that calls itself the baseline is compared like any other.
    roles = {arm: "placebo" if role == "placebo" else "arm" for arm, (role, _) in stated.items()}
    return roles | ({baseline: "baseline"} if baseline else {})


def _levels(cells: pd.DataFrame, stated: dict[str, dict[str, str]], baseline: str) -> dict[str, dict[str, str]]:
    records = arm_records(cells)
    factors = list(dict.fromkeys(factor for levels in stated.values() for factor in levels))
    configs = {arm: written_settings(records[arm].config) for arm in stated}
    baseline_levels = {factor: _baseline_level(factor, stated, configs, baseline) for factor in factors}
    return {arm: baseline_levels | levels for arm, levels in stated.items()}


def _baseline_level(factor: str, stated: dict[str, dict], configs: dict[str, dict], baseline: str) -> str:
    """Return the baseline's level: as stated, else its value if the factor is a field whose values are the levels."""
    if factor in stated[baseline]:
        return stated[baseline][factor]
    for key in (key for key in configs[baseline] if key.rpartition(".")[2] == factor):
        if all(str(configs[arm].get(key)) == levels[factor] for arm, levels in stated.items() if factor in levels):
            return str(configs[baseline][key])
    return "baseline"
