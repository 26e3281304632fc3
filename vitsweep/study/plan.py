"""plan.json: a study's cells with their resolved configurations, frozen before the first one starts."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from vitsweep.added_fields import added_field, from_values, to_values, without_neutral
from vitsweep.config.convert import config_hash, to_dict
from vitsweep.config.schema import DEFAULT_ROPE, PAIRED
from vitsweep.errors import RecordError
from vitsweep.files import write_json
from vitsweep.study.arms import PLACEBO, PLACEBO_SEED_OFFSET, Arm, arm_changes
from vitsweep.study.record import KEPT, PLAN_NAME, Record
from vitsweep.study.record import TUNED_NAME as TUNED_NAME
from vitsweep.study.record import TUNING_NAME as TUNING_NAME

PLAN_SCHEMA = 1
CELLS_PATTERN = "*/seed=*"  # matches the directories of a sweep's cells


@dataclass(frozen=True)
class CellId:
    """A cell's directory inside the sweep directory: `<arm>-<config_hash[:8]>/seed=<n>`."""

    folder: str
    seed: int

    @classmethod
    def of(cls, arm: str, config_hash: str, seed: int) -> "CellId":
        """Return the id of an arm's cell."""
        return cls(f"{arm}-{config_hash[:8]}", seed)

    @classmethod
    def parse(cls, text: str) -> "CellId":
        """Parse an id as printed.

        Raises:
            ValueError: the text is no id.
        """
        folder, _, seed = text.rpartition("/seed=")
        return cls(folder, int(seed))

    def __str__(self) -> str:
        return f"{self.folder}/seed={self.seed}"


@dataclass(kw_only=True)
class Cell:
    """One training run (arm x seed), as plan.json keeps it."""

    id: str
    """CellId as text."""
    arm: str
    role: str
    levels: dict[str, str]
    seed: int
    overrides: list[str]
    """Overrides that compose it again."""
    config: dict[str, Any]
    config_hash: str
    newer: dict[str, Any] = added_field({})
    """Fields that a newer version has written, as they were."""


@dataclass(kw_only=True)
class Plan:
    """A frozen study: plan.json."""

    schema: int = PLAN_SCHEMA
    study: str
    design: str
    baseline: str
    factors: dict[str, list[str]]
    seeds: list[int]
    arms: list[dict[str, Any]]
    cells: list[Cell]
    notes: list[str] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    claims_hash: str = ""
    rope: float = DEFAULT_ROPE
    published: dict[str, Any] = field(default_factory=dict)
    plan_hash: str = ""
    claims_before: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Earlier claims_hash -> its claims, from which a report sees which are unchanged."""
    seeds_before: list[int] = field(default_factory=list)
    """Number of seeds before each addition of seeds that was made when results were already there."""
    sweep_id: str = added_field("")
    """Random id of the sweep directory, part of the ids of its W&B runs: two people may run one study."""
    scale: dict[str, list[Any]] = added_field({})
    """What a small version scales, images, epochs or seeds -> [value, value of the whole study]."""
    error: str = added_field(PAIRED)
    """Error of the tests, one of schema.ERRORS."""
    interactions: list[list[str]] = added_field([])
    """Interactions that are tested with the main effects, each a pair of factors or levels."""
    tune: dict[str, Any] = added_field({})
    """Search that every arm gets, as tuning.space.parse_search reads it; in the plan of the study at each arm's own
    setting `settings`: arm -> dotted key -> value, and the search's `seeds`. {}: none."""
    looks: list[int] = added_field([])
    """Numbers of seeds after which the study is judged; [] without looks."""
    spending: str = added_field("")
    """Division of the error over the looks, one of schema.SPENDINGS; empty without looks."""
    continued_from: dict[str, Any] = added_field({})
    """Study whose cells these continue: study, directory, sweep_id, and the `epochs` that they had; {}: none."""
    renamed: list[dict[str, str]] = added_field([])
    """Names that study or arms had: `kind` (study or arm), `before`, `name`, `when`; oldest first."""
    dropped: list[dict[str, Any]] = added_field([])
    """What `vitsweep drop` took out, oldest first: `arms` or `seeds`, `when`, `runs`, number of these that were
    `finished`, and of all the study's runs that were (`seen`)."""
    asked: dict[str, list[Any]] = added_field({})
    """`arms` and `seeds` that the last start asked for, if the plan has more; {}: all of them."""
    newer: dict[str, Any] = added_field({})
    """Fields that a newer version has written, as they were."""


DECLARED = ("rope", "error", "interactions", "looks", "spending")
"""Fields that decide verdicts beside the claims: hashed with them, fixed once a cell has begun."""
NOT_HASHED = ("claims_before", "seeds_before", "sweep_id", "continued_from", "asked", "newer")


def make_plan(
    name: str, design: str, base: list[str], arms: list[Arm], seeds: list[int], factors: dict[str, list[str]]
) -> Plan:
    """Cross arms with seeds, seeds outermost: after every pass of a seed there is a balanced partial study."""
    cells = [make_cell(base, arm, seed) for seed in seeds for arm in arms]
    rows = [
        {
            "arm": arm.name,
            "role": arm.role,
            "levels": arm.levels,
            "overrides": arm.overrides,
            "config_hash": config_hash(arm.config),
            "changes": arm_changes(arms[0].config, arm.config),
        }
        for arm in arms
    ]
    plan = Plan(study=name, design=design, baseline=arms[0].name, factors=factors, seeds=seeds, arms=rows, cells=cells)
    plan.plan_hash = plan_hash(plan)
    return plan


def make_cell(base: list[str], arm: Arm, seed: int) -> Cell:
    """Make the cell of an arm and a seed."""
    # The placebo is the baseline with other random streams, under the label of the seed that it is paired with.
    config = dataclasses.replace(arm.config, seed=seed + PLACEBO_SEED_OFFSET if arm.role == PLACEBO else seed)
    return Cell(
        id=str(CellId.of(arm.name, config_hash(config), seed)),
        arm=arm.name,
        role=arm.role,
        levels=arm.levels,
        seed=seed,
        overrides=[*base, *arm.overrides, f"seed={config.seed}"],
        config=to_dict(config),
        config_hash=config_hash(config),
    )


def plan_hash(plan: Plan) -> str:
    """Return the SHA-256 of the plan without its own hash, NOT_HASHED, and how and where its cells run."""
    # Not a cell's configuration but its config_hash: device, tracker, sweep and paths may differ between starts.
    cells = [[cell.id, cell.role, cell.levels, cell.config["seed"], cell.config_hash] for cell in plan.cells]
    arms = [{key: value for key, value in arm.items() if key != "overrides"} for arm in plan.arms]
    values = {key: value for key, value in vars(plan).items() if key not in NOT_HASHED}
    values = without_neutral(Plan, values)
    values |= {"plan_hash": "", "cells": cells, "arms": arms}
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def claims_hash(
    claims: list[Any],
    rope: float,
    error: str = PAIRED,
    interactions: list[Any] | None = None,
    looks: Sequence[int] = (),
    spending: str = "",
) -> str:
    """Return the SHA-256 of claims, ROPE, error, named interactions and looks; empty if all are the defaults.

    A default is not hashed, so that claims alone keep the hash that published records have.
    """
    declared: dict[str, Any] = {} if rope == DEFAULT_ROPE else {"rope": rope}
    declared |= {} if error == PAIRED else {"error": error}
    declared |= {"interactions": interactions} if interactions else {}
    declared |= {"looks": list(looks), "spending": spending} if looks else {}
    stated: Any = {"claims": claims} | declared if declared else claims
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest() if stated else ""


def write_plan(directory: Path, plan: Plan) -> None:
    """Write plan.json."""
    write_json(directory / PLAN_NAME, to_values(plan) | {"cells": [to_values(cell) for cell in plan.cells]})


def read_plan(directory: Path) -> Plan | None:
    """Read the plan of a sweep directory; None if it has none.

    Raises:
        RecordError: plan.json is damaged or has another schema.
    """
    values = read_plan_values(directory)
    if values is None:
        return None
    try:
        cells = [Cell(**from_values(Cell, cell)) for cell in values["cells"]]
        return Plan(**from_values(Plan, values) | {"cells": cells})
    except (KeyError, TypeError) as error:
        raise RecordError(f"{directory / PLAN_NAME}  is not a plan ({error}); move the directory away") from error


def read_plan_values(directory: Path) -> Any:
    """Return the content of a sweep directory's plan.json without conversion, or None if there is none.

    Raises:
        RecordError: plan.json is no JSON or has another schema.
    """
    path = directory / PLAN_NAME
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}  is not a plan ({error}); move the directory away") from error
    schema = values.get("schema", PLAN_SCHEMA) if isinstance(values, dict) else PLAN_SCHEMA
    if schema != PLAN_SCHEMA:
        raise RecordError(f"{path}  has schema={schema}, this version reads {PLAN_SCHEMA}")
    return values


def require_plan(directory: Path) -> Plan:
    """Read the plan of a sweep's directory.

    Raises:
        RecordError: it has none.
    """
    plan = read_plan(directory)
    if plan is None:
        raise RecordError(f"{directory}  has no plan.json; name the directory of a sweep, such as outputs/<study>")
    return plan


def read_cell(directory: Path, cell_id: str) -> tuple[Plan, Cell]:
    """Return the plan of a sweep directory and one of its cells; YAML files are not read.

    Raises:
        RecordError: there is no such plan or cell.
    """
    try:
        stamp = (directory / PLAN_NAME).stat()
    except FileNotFoundError as error:
        raise RecordError(f"{directory}  has no {PLAN_NAME}; it is not the directory of a sweep") from error
    plan, cells = _plan_by_id(directory, stamp.st_mtime_ns, stamp.st_ino)
    if cell_id not in cells:
        raise RecordError(f"{cell_id}  is no cell of {directory / PLAN_NAME}; python -m vitsweep status lists them")
    return plan, cells[cell_id]


@lru_cache(maxsize=1)
def _plan_by_id(directory: Path, mtime_ns: int, inode: int) -> tuple[Plan, dict[str, Cell]]:
    """Return the plan and its cells by id; cached until the file changes, since parsing 1,000 cells takes 0.1 s."""
    plan = read_plan(directory)
    assert plan is not None
    return plan, {cell.id: cell for cell in plan.cells}


def new_record(plan: Plan, cell: Cell, earlier: Record | None) -> Record:
    """Return the record that a cell starts with; attempts, time, W&B runs and claims come from the earlier one."""
    record = Record(
        study=plan.study,
        role=cell.role,
        arm=cell.arm,
        levels=cell.levels,
        seed=cell.seed,
        overrides=cell.overrides,
        config=cell.config,
        config_hash=cell.config_hash,
        plan_hash=plan.plan_hash,
        claims_hash=plan.claims_hash,
        sweep_id=plan.sweep_id,
    )
    if earlier is not None:
        for name in (*KEPT, "claims_hash"):
            setattr(record, name, getattr(earlier, name))
    return record
