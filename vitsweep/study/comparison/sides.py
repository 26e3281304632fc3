"""One side of a comparison: the cells that a path names.

A path is a sweep's directory, a cell's, an arm's folder, or `SWEEP/ARM` and `SWEEP/ARM/seed=N` with the arm's name.
Planned cells that have not started are included; the published form of a sweep reads as the sweep does.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vitsweep.errors import RecordError, did_you_mean
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, Cell, Plan, new_record, read_plan
from vitsweep.study.record import PLAN_NAME, Record, cell_directories, has_record, read_record

REMEDY = "give the directory of a sweep or a cell, SWEEP/ARM or SWEEP/ARM/seed=N"


@dataclass(kw_only=True)
class SideCell:
    """A cell and its directory."""

    directory: Path
    record: Record


@dataclass(kw_only=True)
class Side:
    """The cells that a path names, with the plan of their sweep."""

    name: str
    """The path as given."""
    cells: list[SideCell]
    plan: Plan | None = None
    is_study: bool = False
    """True for a sweep or a directory, False for one arm or one cell."""
    problems: list[str] = field(default_factory=list)
    """Sentences about records that cannot be read, and about cells that lie below and are not included."""

    @property
    def arms(self) -> dict[str, list[SideCell]]:
        """Return arm -> its cells, in the plan's order."""
        order = [row["arm"] for row in self.plan.arms] if self.plan else []
        found: dict[str, list[SideCell]] = {arm: [] for arm in order}
        for cell in self.cells:
            found.setdefault(cell.record.arm, []).append(cell)
        return {arm: cells for arm, cells in found.items() if cells}

    @property
    def baseline(self) -> str:
        """Return the baseline's arm, else the first."""
        marked = [cell.record.arm for cell in self.cells if cell.record.role == "baseline"]
        return (marked or [cell.record.arm for cell in self.cells])[0]

    @property
    def summary(self) -> str:
        """Return what the side has, such as `5 arms, 3 seeds; 15 done`."""
        count = Counter(cell.record.status for cell in self.cells)
        states = ", ".join(f"{number} {status}" for status, number in count.items())
        if len(self.cells) == 1:
            record = self.cells[0].record
            epochs = record.config.get("recipe", {}).get("epochs", "?")
            return f"{record.arm}, seed {record.seed}; {record.status}, epoch {record.epoch} of {epochs}"
        seeds = {cell.record.seed for cell in self.cells}
        arms = f"{len(self.arms)} arms" if len(self.arms) > 1 else next(iter(self.arms))
        return f"{arms}, {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}; {states}"


def read_side(text: str) -> Side:
    """Return the cells that a path names.

    Raises:
        RecordError: there is no such study, arm or seed (with the nearest names), or the only record is damaged.
    """
    path = Path(text).absolute()
    if (path / PLAN_NAME).is_file():
        return study_side(text, path)
    if has_record(path):
        plan = read_plan(path.parents[1]) if path.name.startswith("seed=") else None
        return Side(name=text, cells=[SideCell(directory=path, record=read_record(path))], plan=plan)
    for ancestor in path.parents:
        if (ancestor / PLAN_NAME).is_file():
            return named_side(text, ancestor, path.relative_to(ancestor).parts)
    if path.is_dir():
        return folder_side(text, path)
    raise RecordError(f"{text}  does not exist{nearest(path.name, siblings(path))}; {REMEDY}")


def study_side(text: str, directory: Path) -> Side:
    """Return the side of a sweep's directory."""
    plan = read_plan(directory)
    assert plan is not None
    side = Side(name=text, cells=[], plan=plan, is_study=True)
    for cell in plan.cells:
        side.cells.append(planned_cell(directory, plan, cell, side.problems))
    below = [name for name in (TUNING_NAME, TUNED_NAME) if (directory / name / PLAN_NAME).is_file()]
    side.problems += [f"{text}/{name} holds further cells; name it to compare them" for name in below]
    if not side.cells:
        raise RecordError(f"{text}  has a plan without cells; {REMEDY}")
    return side


def planned_cell(directory: Path, plan: Plan, cell: Cell, problems: list[str]) -> SideCell:
    """Return a cell of a plan with its record; the plan's own values where there is none that can be read."""
    try:
        record = read_record(directory / cell.id)
    except FileNotFoundError:
        record = new_record(plan, cell, None)
    except RecordError as error:
        problems.append(str(error))
        record = new_record(plan, cell, None)
    return SideCell(directory=directory / cell.id, record=record)


def named_side(text: str, directory: Path, parts: tuple[str, ...]) -> Side:
    """Return the side of an arm, or of one of its cells, of a sweep with a plan.

    Args:
        parts: arm or its folder, then perhaps `seed=N`.

    Raises:
        RecordError: there is no such arm or seed.
    """
    plan = read_plan(directory)
    assert plan is not None
    arm, seed = parts[0], parts[1] if len(parts) > 1 else None
    own = [cell for cell in plan.cells if arm in (cell.arm, cell.id.rpartition("/")[0])]
    if not own:
        names = list(dict.fromkeys(cell.arm for cell in plan.cells))
        raise RecordError(f"{text}  {arm} is no arm of {directory}{nearest(arm, names)}; allowed: {listed(names)}")
    chosen = [cell for cell in own if seed in (None, f"seed={cell.seed}", str(cell.seed))]
    if not chosen or len(parts) > 2:
        names = [f"seed={cell.seed}" for cell in own]
        raise RecordError(f"{text}  {'/'.join(parts[1:])} is no seed of {own[0].arm}; allowed: {listed(names)}")
    problems: list[str] = []
    cells = [planned_cell(directory, plan, cell, problems) for cell in chosen]
    return Side(name=text, cells=cells, plan=plan, problems=problems)


def folder_side(text: str, directory: Path) -> Side:
    """Return the side of a directory without a plan, such as outputs/single, or an arm's folder that was copied.

    Raises:
        RecordError: there is no record below it.
    """
    side = Side(name=text, cells=[])
    for cell in cell_directories(directory):
        try:
            side.cells.append(SideCell(directory=cell, record=read_record(cell)))
        except RecordError as error:
            side.problems.append(str(error))
    if not side.cells:
        reason = side.problems[0] if side.problems else f"{text}  holds no record and no plan"
        raise RecordError(reason if side.problems else f"{reason}; {REMEDY}")
    side.is_study = len(side.arms) > 1
    return side


def siblings(path: Path) -> list[str]:
    """Return the names in the folder that a path would lie in."""
    return sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []


def nearest(name: str, names: list[str]) -> str:
    """Return `; did you mean A or B?`, or nothing."""
    return did_you_mean(name, names)


def listed(names: list[str], most: int = 12) -> str:
    """Return names in one line; many are counted."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
