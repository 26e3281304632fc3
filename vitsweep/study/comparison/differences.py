"""Rows in which two sides differ: configuration, study, code, libraries, data, machine and execution.

Values are those of the records. A value that a file of an earlier version lacks has the neutral value of its field.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vitsweep.added_fields import neutral_values
from vitsweep.config.convert import flatten
from vitsweep.config.schema import Config, SweepConfig, TrackerConfig
from vitsweep.study.arms import FINGERPRINT, IMAGE_FORM, differences, written_settings
from vitsweep.study.comparison.sides import Side, SideCell
from vitsweep.study.plan import DECLARED
from vitsweep.study.provenance.environment import read_environment_file

SECTIONS = ("configuration", "study", "code", "libraries", "data", "machine", "execution")
"""Sections of a comparison; `execution` has settings that do not identify a cell."""
ABSENT = None
PLAN_FIELDS = ("study", "design", "seeds", "factors", "claims", *DECLARED, "tune", "scale", "continued_from")
HOST_FIELDS = ("cpu", "cores", "instructions", "system", "cuda", "cudnn")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One difference."""

    section: str
    key: str
    a: Any
    b: Any
    arm: str = ""
    """Pair of arms that differs; empty if all pairs differ in the same way."""


@dataclass(kw_only=True)
class Pair:
    """Two arms that are compared."""

    name: str
    a: list[SideCell]
    b: list[SideCell]


def arm_pairs(a: Side, b: Side) -> list[Pair]:
    """Return the arms to compare: one with one, else those of equal name, else the baselines."""
    arms_a, arms_b = a.arms, b.arms
    if len(arms_a) > 1 or len(arms_b) > 1:
        if common := [arm for arm in arms_a if arm in arms_b]:
            return [Pair(name=arm, a=arms_a[arm], b=arms_b[arm]) for arm in common]
    names = [side.baseline if len(arms) > 1 else next(iter(arms)) for side, arms in ((a, arms_a), (b, arms_b))]
    name = names[0] if names[0] == names[1] else f"{names[1]} against {names[0]}"
    return [Pair(name=name, a=arms_a[names[0]], b=arms_b[names[1]])]


def compare_sides(a: Side, b: Side) -> list[Row]:
    """Return every difference, by section."""
    pairs = arm_pairs(a, b)
    rows = setting_rows(pairs, "configuration", result_settings)
    if a.is_study and b.is_study:
        rows += study_rows(a, b)
    rows += fact_rows("code", a, b, code_facts)
    rows += library_rows(a, b)
    rows += fact_rows("data", a, b, data_facts)
    rows += fact_rows("machine", a, b, machine_facts)
    return rows + setting_rows(pairs, "execution", execution_settings)


def setting_rows(pairs: list[Pair], section: str, settings: Callable[[SideCell], dict[str, Any]]) -> list[Row]:
    """Return the settings in which the first cells of each pair differ; those of all pairs once."""
    found = []
    for pair in pairs:
        changed = differences(settings(pair.a[0]), settings(pair.b[0]))
        if len(pair.a) > 1 or len(pair.b) > 1:
            changed.pop("seed", None)
        if IMAGE_FORM.intersection(changed):
            changed.pop(FINGERPRINT, None)  # it follows
        found += [Row(section=section, key=key, a=a, b=b, arm=pair.name) for key, (a, b) in changed.items()]
    texts = [repr((row.key, row.a, row.b)) for row in found]
    merged: dict[str, Row] = {}
    for text, row in zip(texts, found, strict=True):
        is_common = texts.count(text) == len(pairs)
        own = Row(section=section, key=row.key, a=row.a, b=row.b, arm="" if is_common else row.arm)
        merged.setdefault(text if is_common else f"{text} {row.arm}", own)
    return list(merged.values())


def result_settings(cell: SideCell) -> dict[str, Any]:
    """Return dotted key -> value of what determines a result: model, data, recipe and seed, without paths."""
    return written_settings(cell.record.config) | {"seed": cell.record.config.get("seed")}


def execution_settings(cell: SideCell) -> dict[str, Any]:
    """Return dotted key -> value of all other settings."""
    config = dict(cell.record.config)
    own = result_settings(cell)
    for group, kind in (("tracker", TrackerConfig), ("sweep", SweepConfig)):
        config[group] = {**neutral_values(kind), **(config.get(group) or {})}
    values = flatten({**neutral_values(Config), **config})
    return {key: value for key, value in values.items() if key not in own and key != "study"}


def study_rows(a: Side, b: Side) -> list[Row]:
    """Return what the plans of two studies state differently, and the arms that only one of them has."""
    rows = []
    only = [[arm for arm in one.arms if arm not in other.arms] for one, other in ((a, b), (b, a))]
    if any(only):
        rows.append(Row(section="study", key="arms of one side only", a=only[0] or ABSENT, b=only[1] or ABSENT))
    if a.plan and b.plan:
        values = [{name: getattr(side.plan, name, None) for name in PLAN_FIELDS} for side in (a, b)]
        changed = differences(*values)
        rows += [
            Row(section="study", key=key, a=one or ABSENT, b=other or ABSENT) for key, (one, other) in changed.items()
        ]
    return rows


def fact_rows(section: str, a: Side, b: Side, facts: Callable[[SideCell], dict[str, Any]]) -> list[Row]:
    """Return the facts that differ; of a side whose cells disagree all values count."""
    values = [side_values([facts(cell) for cell in side.cells if cell.record.started]) for side in (a, b)]
    if not all(values):  # nothing of a side has started
        return []
    return [Row(section=section, key=key, a=one, b=other) for key, (one, other) in differences(*values).items()]


def side_values(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return key -> its value in all cells, or `several: ...` with the distinct ones."""
    values: dict[str, dict[str, Any]] = {}
    for facts in found:
        for key, value in facts.items():
            values.setdefault(key, {})[repr(value)] = value
    return {key: next(iter(own.values())) if len(own) == 1 else several(own.values()) for key, own in values.items()}


def several(values: Iterable[Any]) -> str:
    """Return distinct values in one text, sorted."""
    return "several: " + ", ".join(sorted(map(str, values)))


def code_facts(cell: SideCell) -> dict[str, Any]:
    """Return version, commit, uncommitted changes and earlier code of a cell."""
    code, environment = cell.record.code, cell.record.environment
    facts = {name: code.get(name) for name in ("version", "commit")}
    facts["uncommitted changes"] = code.get("dirty")
    facts["patch"] = environment.get("patch")
    facts["left out of the patch"] = environment.get("left_out")
    facts["continued from code"] = [f"{one.get('commit', '')[:12]}" for one in code.get("before", [])] or None
    return facts


def data_facts(cell: SideCell) -> dict[str, Any]:
    """Return name, fingerprint, numbers of images, normalisation and classes of a cell's data."""
    record = cell.record
    facts: dict[str, Any] = {"name": record.data_name or None, "fingerprint": record.data_fingerprint or None}
    facts |= {f"images in {split}": number for split, number in record.num_images.items()}
    return facts | {"normalisation": record.normalisation or None, "classes": record.classes or None}


def machine_facts(cell: SideCell) -> dict[str, Any]:
    """Return device, precision, threads, pack and host of a cell."""
    record = cell.record
    pack = len(record.pack.get("cells", []))
    facts = {"device": record.device, "precision": record.precision, "threads": record.threads}
    facts |= {"trained": f"in a pack of {pack}" if pack else "alone"}
    return facts | {name: record.environment[name] for name in HOST_FIELDS if name in record.environment}


def library_rows(a: Side, b: Side) -> list[Row]:
    """Return the packages that differ: all installed ones where both sides list them, else those that records name."""
    listed = [[known for cell in started(side) if (known := installed(cell))] for side in (a, b)]
    values = [side_values(cell.record.versions for cell in started(side)) for side in (a, b)]
    if all(listed):
        packages = [side_values(one) for one in listed]
        values = [
            {key: own[key] for key in ("python", "platform") if key in own} | found
            for own, found in zip(values, packages, strict=True)
        ]
    return [Row(section="libraries", key=key, a=one, b=other) for key, (one, other) in differences(*values).items()]


def started(side: Side) -> list[SideCell]:
    """Return the first started cell of each environment of a side."""
    found: dict[str, SideCell] = {}
    for cell in side.cells:
        if cell.record.started:
            found.setdefault(repr((cell.record.environment.get("packages"), cell.record.versions)), cell)
    return list(found.values())


def installed(cell: SideCell) -> dict[str, str]:
    """Return package -> version, or source, of a cell's environment; empty if it is not recorded."""
    text = read_environment_file(cell.directory, cell.record.environment.get("packages")) or ""
    found = (re.split(r"==| @ ", line, maxsplit=1) for line in text.splitlines())
    return {parts[0]: parts[1] for parts in found if len(parts) == 2}


def patch_text(cell: SideCell) -> str:
    """Return the patch of a cell's uncommitted changes; empty without one."""
    return read_environment_file(cell.directory, cell.record.environment.get("patch")) or ""


def changed_files(patch: str) -> list[str]:
    """Return the files that a patch changes."""
    return re.findall(r"^diff --git a/(.+?) b/", patch, flags=re.MULTILINE)
