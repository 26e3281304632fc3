"""Plans written by hand for the tests of locks, processes and commands: arms of any name, nothing composed."""

from pathlib import Path

from vitsweep.config.convert import config_hash, to_dict
from vitsweep.config.overrides import slug
from vitsweep.config.schema import Config
from vitsweep.study.plan import Cell, CellId, Plan, new_record, plan_hash, write_plan
from vitsweep.study.record import write_record


def made_plan(directory: Path, arms: list[str], seeds: list[int]) -> Plan:
    """Freeze a plan of these arms and seeds in `directory`; the first arm is the baseline."""
    cells = []
    for seed in seeds:
        for place, arm in enumerate(arms):
            config = Config(seed=seed, device="cpu")
            config.recipe.epochs = place + 1
            config.tracker.name = "none"
            cells.append(
                Cell(
                    id=str(CellId.of(slug(arm), config_hash(config), seed)),
                    arm=arm,
                    role="arm" if place else "baseline",
                    levels={"arm": arm},
                    seed=seed,
                    overrides=[],
                    config=to_dict(config),
                    config_hash=config_hash(config),
                )
            )
    rows = [{"arm": c.arm, "role": c.role, "levels": c.levels, "overrides": []} for c in cells[: len(arms)]]
    plan = Plan(
        study="made", design="list", baseline=arms[0], factors={"arm": arms}, seeds=seeds, arms=rows, cells=cells
    )
    plan.plan_hash = plan_hash(plan)
    directory.mkdir(parents=True, exist_ok=True)
    write_plan(directory, plan)
    return plan


def made_record(directory: Path, plan: Plan, cell: Cell, status: str, **values: object) -> None:
    """Leave a record of that status in a cell's directory."""
    record = new_record(plan, cell, None)
    record.status = status
    for name, value in values.items():
        setattr(record, name, value)
    (directory / cell.id).mkdir(parents=True, exist_ok=True)
    write_record(directory / cell.id, record)
