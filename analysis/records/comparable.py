"""Filters that leave out cells which cannot be compared, each with a sentence, and the plan's rows in their place.

A planned cell whose record is left out becomes a row of status `left out`, so that its arm stays in the family of
Holm's correction and its seed counts as missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from vitsweep.study.plan import DECLARED
from vitsweep.study.record import METRIC_NAMES, Record

from .consistency import NOT_STARTED
from .load import PLANNED_KEYS, cell_frame, cell_row

LEFT_OUT = "left out"


@dataclass(kw_only=True)
class Exclusions:
    """Cells left out by the filters, with sentences about them."""

    notes: list[str] = field(default_factory=list)
    """Sentences for Health."""
    cells: dict[str, list[str]] = field(default_factory=dict)
    """Reason, as it follows `3 runs` in a sentence -> cells."""
    arms: set[str] = field(default_factory=set)
    """Arms of this study that lost a cell."""

    def add(self, reason: str, rows: pd.DataFrame, note: str) -> None:
        """Note that these rows are left out; planned cells without a record are no runs."""
        self.notes.append(note)
        runs = rows.loc[~rows["status"].isin(NOT_STARTED), "cell"]
        if len(runs):
            self.cells.setdefault(reason, []).extend(runs)


def comparable_cells(cells: pd.DataFrame, plans: list[dict], plan: dict | None, out: Exclusions) -> pd.DataFrame:
    """Return one study with one configuration an arm and one cell for each arm and seed.

    Args:
        plans: of all directories; `plan` is that of the study reported, merged, if there is any.
    """
    kept = _in_place(cells, plans, out)
    kept = _one_study(kept, plan, out)
    kept = _one_configuration(kept, plan, out)
    kept = _one_replicate(kept, out)
    return with_planned(kept, cells, kept_plans(kept, plan, plans))


def merge_plans(plans: list[dict]) -> dict | None:
    """Merge the plans that are of the first one's study: arms, cells and seeds of all, the first one's claims."""
    if not plans:
        return None
    same = [plan for plan in plans if plan["study"] == plans[0]["study"]]
    if len(same) == 1:
        return plans[0]
    merged = dict(plans[0])
    for name, key in (("arms", "arm"), ("cells", "id")):
        # Reversed, so that of rows with one key the first plan's stays.
        rows = {row[key]: row for plan in reversed(same) for row in plan[name]}
        order = dict.fromkeys(row[key] for plan in same for row in plan[name])
        merged[name] = [rows[value] for value in order]
    for name in ("seeds", "seeds_before"):
        merged[name] = sorted({number for plan in same for number in plan.get(name) or []})
    return merged


def plan_conflicts(plans: list[dict], kept: list[dict]) -> list[str]:
    """Return sentences about what several plans state differently, or for another study than the one reported.

    Args:
        plans: of all directories.
        kept: of the reported study, merged, then those of pooled studies.
    """
    if not kept:
        return []
    same = [plan for plan in plans if plan["study"] == kept[0]["study"]]
    keys = [key for key in ("baseline", "design", "claims", *DECLARED, "published") if _differ(same, key)]
    lines = [f"The plans of {kept[0]['study']} differ in {', '.join(keys)}; the first one counts."] if keys else []
    pooled = [plan["study"] for plan in kept[1:] if plan.get("claims")]
    return lines + [f"The claims of {study} are not judged in this report." for study in pooled]


def _differ(plans: list[dict], key: str) -> bool:
    return any(plan.get(key) != plans[0].get(key) for plan in plans)


def kept_plans(cells: pd.DataFrame, plan: dict | None, plans: list[dict]) -> list[dict]:
    """Return the reported study's plan, then those of pooled studies."""
    if plan is None:
        return []
    studies = set(cells["study"]) - {plan["study"]}
    return [plan, *(other for other in plans if other["study"] in studies)]


def with_planned(kept: pd.DataFrame, cells: pd.DataFrame, plans: Iterable[dict]) -> pd.DataFrame:
    """Add a row of status `left out` for each planned arm and seed that has no row among those kept.

    Args:
        cells: all rows that were loaded.
    """
    have = set(zip(kept["arm"], kept["seed"], strict=True))
    loaded = {row["cell"]: row for row in cells.to_dict("records")}
    rows = []
    for plan in plans:
        for planned in plan["cells"]:
            if (planned["arm"], planned["seed"]) not in have:
                have.add((planned["arm"], planned["seed"]))
                rows.append(_left_out_row(plan, planned, loaded[planned["id"]]))
    return cell_frame([*kept.to_dict("records"), *rows]) if rows else kept


def _left_out_row(plan: dict, planned: dict, loaded: dict) -> dict[str, Any]:
    known = {key: planned[key] for key in PLANNED_KEYS}
    if not known["config"] and loaded["config_hash"] == known["config_hash"]:
        known["config"] = loaded["record"].config  # W&B keeps a plan without configurations
    record = Record(study=plan["study"], plan_hash=plan["plan_hash"], status=LEFT_OUT, **known)
    return cell_row(Path(loaded["directory"]), planned["id"], record)


def _in_place(cells: pd.DataFrame, plans: list[dict], out: Exclusions) -> pd.DataFrame:
    """Leave out records that lie in the directory of another cell of the plan."""
    planned = {cell["id"]: (cell["arm"], cell["seed"]) for plan in plans for cell in plan["cells"]}
    rows = zip(cells["cell"], cells["arm"], cells["seed"], strict=True)
    is_wrong = [planned.get(cell, (arm, seed)) != (arm, seed) for cell, arm, seed in rows]
    wrong = pd.Series(is_wrong, index=cells.index, dtype=bool)
    for row in cells[wrong].itertuples():
        note = f"Left out {row.cell}: its record is of {row.arm}, seed {row.seed}, and its directory of another cell."
        out.add("whose directory is another cell's", cells.loc[[row.Index]], note)
    return cells[~wrong]


def _one_study(cells: pd.DataFrame, plan: dict | None, out: Exclusions) -> pd.DataFrame:
    """Keep the plan's study, else the largest, and others that share its baseline."""
    counts = cells.groupby("study", sort=True).size()
    if len(counts) < 2:
        return cells
    main = plan["study"] if plan and plan["study"] in counts.index else counts.idxmax()
    hashes = cells[cells["role"] == "baseline"].groupby("study")["config_hash"].agg(set)
    shared = {s for s in counts.index if s in hashes.index and main in hashes.index and hashes[s] == hashes[main]}
    for study in sorted(set(counts.index) - {main}):
        fate = "are pooled, since the baselines are equal" if study in shared else "are left out"
        note = (
            f"More than one study lies here. This report is about {main}; the {counts[study]} cells of {study} {fate}."
        )
        if study in shared:
            out.notes.append(note)
        else:
            out.add("of another study", cells[cells["study"] == study], note)
    return cells[cells["study"].isin(shared | {main})]


def _one_configuration(cells: pd.DataFrame, plan: dict | None, out: Exclusions) -> pd.DataFrame:
    """Keep per arm the configuration that the plan names, else the most frequent one."""
    planned = {arm["arm"]: arm.get("config_hash") for arm in plan["arms"]} if plan else {}
    dropped = set()
    narrow = cells[["arm", "cell", "status", "config_hash"]]  # copies of all columns take long
    for arm, group in narrow.groupby("arm", sort=False):
        counts = group["config_hash"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        kept = planned.get(arm) or counts.index[0]
        wrong = group.loc[group["config_hash"] != kept]
        if wrong.empty:
            continue
        dropped |= set(wrong.index)
        many = f"{len(counts)} different configurations" if len(counts) > 1 else "another configuration than planned"
        names = ", ".join(wrong["cell"])
        note = f"Arm {arm} has {many}; {len(wrong)} cells that are not {kept[:8]} are left out: {names}."
        out.add("with another configuration than their arm's", wrong, note)
    return cells.drop(index=list(dropped))


def _one_replicate(cells: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    """Keep one cell for each arm and seed: a finished one if there is any, the first given."""
    order = cells.assign(_late=cells["status"] != "done").sort_values("_late", kind="stable").drop(columns="_late")
    double = order.duplicated(["arm", "seed"])
    used = order[~double].set_index(["arm", "seed"])
    for row in order[double & ~order["status"].isin(NOT_STARTED)].to_dict("records"):
        kept = used.loc[(row["arm"], row["seed"])]
        reason, words = _repetition(row, kept)
        note = f"Left out {row['cell']}: the same arm and seed are there twice{words}; {kept['cell']} is used."
        out.add(reason, order[order["cell"] == row["cell"]], note)
    return cells.loc[sorted(order.index[~double])]


def _repetition(row: dict, kept: pd.Series) -> tuple[str, str]:
    """Return the reason for Findings and the words for Health."""
    if row["status"] != "done" or kept["status"] != "done":
        return "that repeat an arm and seed and did not finish", f", and this one is {row['status']}"
    names = [f"{when}/{name}" for when in ("final", "best") for name in METRIC_NAMES]
    if all(row[name] == kept[name] or (row[name] != row[name] and kept[name] != kept[name]) for name in names):
        return "that repeat an arm and seed with the same result", ", with the same result"
    shown = [f"{100 * cell['final/test/accuracy']:.2f} %" for cell in (row, kept)]
    return "that repeat an arm and seed with another result", f", with different results ({' and '.join(shown)})"


def one_data_set(cells: pd.DataFrame, baseline: str, out: Exclusions) -> pd.DataFrame:
    """Keep the cells that saw the baseline's images, or those that their own configuration states."""
    known = cells[cells["data_fingerprint"].astype(bool)]
    if known["data_fingerprint"].nunique() < 2:
        return cells
    first = known[known["arm"] == baseline] if (known["arm"] == baseline).any() else known
    main = first["data_fingerprint"].value_counts().sort_index().idxmax()
    stated = known["record"].map(lambda record: record.config.get("data", {}).get("fingerprint"))
    wrong = known[(known["data_fingerprint"] != main) & (known["data_fingerprint"] != stated)]
    if wrong.empty:
        return cells
    note = (
        f"{len(wrong)} cells saw other images than the baseline (data fingerprint {main[:8]}) and are left "
        f"out: {', '.join(wrong['cell'])}."
    )
    out.add("that saw other images than the baseline", wrong, note)
    out.arms |= set(wrong["arm"])
    return cells.drop(index=wrong.index)
