"""`vitsweep extend DIR seeds=10 | epochs=200 [--plan]`: add seeds to every arm of a plan, or train its cells longer.

Both write a plan and, without `--plan`, train all missing cells on this machine. They read plan.json only, so changes
to YAML files have no effect. `seeds` adds cells to the same plan, also at the arms' own settings. `epochs` makes a
study of its own beside the old one, DIR-epochs=200, whose cells continue from the last states of the finished ones, for
schedules that go on (constant, plateau); its cells are those of a study trained with 200 epochs in one go.
"""

import copy
import dataclasses
import logging
import re
import shutil
from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory, parse_seeds, refuse_published
from vitsweep.config.schema import SweepConfig
from vitsweep.errors import ConfigError, RecordError, UserError
from vitsweep.files import remove_temporaries
from vitsweep.run.pool import run_in_processes
from vitsweep.run.progress_table import final_table, make_progress, print_tables
from vitsweep.run.worker import LOG_FORMAT
from vitsweep.study.changes.drop import is_asked
from vitsweep.study.changes.extension import note_added_seeds
from vitsweep.study.continuation.longer import (
    continued_record,
    done_record,
    fresh_command,
    longer_directory,
    longer_plan,
    with_earlier_plan,
)
from vitsweep.study.identity import refuse_other_images
from vitsweep.study.locks import LivenessCheck, exclusive_access
from vitsweep.study.plan import (
    TUNED_NAME,
    Cell,
    CellId,
    Plan,
    plan_hash,
    read_plan,
    require_plan,
    write_plan,
)
from vitsweep.study.plan_builder import refuse
from vitsweep.study.record import (
    EMA,
    EPOCHS_FOLDER,
    FINAL_NAME,
    METRICS_NAME,
    PLAN_NAME,
    RECORD_NAME,
    Record,
    epoch_checkpoints,
    write_record,
)
from vitsweep.study.status import FAILURES, cell_statuses
from vitsweep.study.tuning.rules import seed_errors
from vitsweep.study.tuning.tuned import share_cells
from vitsweep.train.stop import StopSignals

USAGE = "extend DIR seeds=10 | seeds=[5,6,7] | epochs=200 [--plan]"


def main(arguments: list[str]) -> int:
    """Extend the study and train the missing cells; return 0 if all cells are done (with --plan: always), else 1."""
    directory, words = parse_directory(arguments, USAGE)
    refuse_published(directory)
    settings = [word for word in words if word != "--plan"]
    if len(settings) != 1 or not settings[0].startswith(("seeds=", "epochs=")):
        raise UserError(f"usage: vitsweep {USAGE}")
    key, _, value = settings[0].partition("=")
    if key == "epochs":
        return extend_epochs(directory, parse_epochs(value), plan_only="--plan" in words)
    return extend_seeds(directory, parse_seeds(value), plan_only="--plan" in words)


def extend_seeds(directory: Path, seeds: list[int], plan_only: bool) -> int:
    """Add seeds to a study, also at the arms' own settings; return the exit code."""
    plan = extend_directory(directory, seeds)
    code = 0 if plan_only else train_missing(directory, plan)
    if (directory / TUNED_NAME / PLAN_NAME).exists():
        tuned = extend_directory(directory / TUNED_NAME, seeds)
        if not plan_only:
            share_cells(directory, plan, directory / TUNED_NAME, tuned)
            code = max(code, train_missing(directory / TUNED_NAME, tuned))
    return code


def parse_epochs(text: str) -> int:
    """Return a number of epochs.

    Raises:
        ConfigError: the text is none.
    """
    if not re.fullmatch(r"[1-9]\d*", text):
        raise ConfigError([f"epochs={text}  must be a number of epochs, such as 200"])
    return int(text)


def extend_epochs(directory: Path, epochs: int, plan_only: bool) -> int:
    """Train the cells of a finished study longer, in a directory beside it; return the exit code.

    Raises:
        ConfigError: its schedules end, or it has as many epochs.
        DataError: the images are others than those of the finished cells.
        RecordError: there is no plan, or a cell cannot be continued.
    """
    old, longer = require_plan(directory), longer_directory(directory, epochs)
    made = longer_plan(old, directory, epochs, longer)
    refuse_other_images(old, directory)
    finished = [done_record(directory / cell.id, cell.config_hash) for cell in old.cells]
    done = {cell.id: record for cell, record in zip(old.cells, finished, strict=True) if record}
    require_final_states(directory, done, old, epochs)
    longer.mkdir(parents=True, exist_ok=True)
    with exclusive_access(longer):
        remove_temporaries(longer)
        earlier = read_plan(longer)
        plan = with_earlier_plan(made, earlier, longer)
        if plan != earlier:
            write_plan(longer, plan)  # first: a start that is interrupted here goes on with the cells that are left
        for before, record in zip(old.cells, finished, strict=True):
            cell = next(c for c in plan.cells if (c.arm, c.seed) == (before.arm, before.seed))
            if record is not None:
                prepare_cell(directory / before.id, longer / cell.id, continued_record(plan, cell, record, before.id))
    fresh = finished.count(None)
    print(
        f"{plan.study}: {len(finished) - fresh} cells continue those of {directory}"
        f"{f', {fresh} that failed there start anew' if fresh else ''}, in {longer}"
    )
    return 0 if plan_only else train_missing(longer, plan)


def require_final_states(directory: Path, done: dict[str, Record], plan: Plan, epochs: int) -> None:
    """Check that all finished cells have what training continues from, before anything is written.

    Args:
        done: id -> record of the finished cells.

    Raises:
        RecordError: some have not.
    """
    missing = [cell for cell, record in done.items() if not has_final_state(directory / cell, record)]
    if missing:
        raise RecordError(
            f"{directory}  lacks the final state of {len(missing)} of {len(done)} finished cells, such as "
            f"{missing[0]}: pruned, or trained by a version that kept none; {fresh_command(plan, epochs)}"
        )


def has_final_state(folder: Path, record: Record) -> bool:
    """Return whether a finished cell's directory has its final state and the weights that belong to it."""
    weights = ("last", "best", *({EMA} & record.metrics.keys()))
    return all((folder / name).exists() for name in (FINAL_NAME, *(f"{which}.safetensors" for which in weights)))


def prepare_cell(before: Path, folder: Path, record: Record) -> None:
    """Give a cell of the longer study state, epochs and record of the finished one, unless it has begun."""
    from vitsweep.train.checkpoint import save_continued  # late: it imports torch

    if (folder / RECORD_NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(before / METRICS_NAME, folder / METRICS_NAME)
    for path in epoch_checkpoints(before).values():
        (folder / EPOCHS_FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / EPOCHS_FOLDER / path.name)
    save_continued(before, folder, record.config_hash)
    write_record(folder, record)  # last: a cell without it is prepared again


def extend_directory(directory: Path, seeds: list[int]) -> Plan:
    """Add seeds to the plan of a sweep directory and return it.

    Raises:
        ConfigError: the study's search has trained on one of the seeds.
        DataError: the images are others than those of the finished cells.
        RecordError: there is no plan.
    """
    refuse_other_images(require_plan(directory), directory)  # raises before the directory is changed
    with exclusive_access(directory):
        remove_temporaries(directory)
        before = require_plan(directory)
        refuse_more_looks(before)
        plan = add_seeds(before, seeds)
        refuse(seed_errors(plan.tune.get("seeds", []), plan))
        note_added_seeds(plan, before, directory)
        if plan != before:
            write_plan(directory, plan)
    print(f"{plan.study}: {len(plan.cells) - len(before.cells)} cells added, {len(plan.cells)} in all, in {directory}")
    return plan


def refuse_more_looks(plan: Plan) -> None:
    """Raise if the plan has looks: its error is spent at the last of them, and none is left for more seeds.

    Raises:
        ConfigError: it has.
    """
    if plan.looks:
        command = (
            "run the study with sweep.until=all for the seeds that it has, or state a fresh study with other seeds"
        )
        raise ConfigError([f"seeds  of a study with looks at {plan.looks} seeds cannot be extended; {command}"])


def add_seeds(plan: Plan, seeds: list[int]) -> Plan:
    """Return the plan with a cell of every arm for each of the seeds; the old cells come first."""
    known = {cell.id for cell in plan.cells}
    models = {cell.arm: cell for cell in reversed(plan.cells)}  # the first cell of each arm
    arms = [arm for arm in models if not plan.asked or arm in plan.asked["arms"]]
    added = [copy_with_seed(models[row["arm"]], seed) for seed in seeds for row in plan.arms if row["arm"] in arms]
    extended = copy.copy(plan)
    extended.cells = plan.cells + [cell for cell in added if cell.id not in known]
    extended.seeds = plan.seeds + [seed for seed in seeds if seed not in plan.seeds]
    if plan.asked:
        extended.asked = plan.asked | {"seeds": list(dict.fromkeys([*plan.asked["seeds"], *seeds]))}
    extended.plan_hash = plan_hash(extended)
    return extended


def copy_with_seed(cell: Cell, seed: int) -> Cell:
    """Return a cell of the same arm with another seed; a placebo keeps its offset between seed and label."""
    offset = cell.config["seed"] - cell.seed
    return Cell(
        id=str(dataclasses.replace(CellId.parse(cell.id), seed=seed)),
        arm=cell.arm,
        role=cell.role,
        levels=cell.levels,
        seed=seed,
        overrides=[o for o in cell.overrides if not o.startswith("seed=")] + [f"seed={seed + offset}"],
        config=cell.config | {"seed": seed + offset},
        config_hash=cell.config_hash,
    )


def train_missing(directory: Path, plan: Plan) -> int:
    """Train the missing cells of a plan on this machine; return 0 if all cells are done, else 1."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    settings, liveness = SweepConfig(**plan.cells[0].config["sweep"]), LivenessCheck()
    asked = [cell for cell in plan.cells if is_asked(plan.asked, cell.arm, cell.seed)]
    before = cell_statuses(directory, asked, liveness)
    todo = [now.cell for now in before if now.is_wanted(retry=False)]
    if todo:
        with StopSignals(), make_progress(before, directory) as progress:
            run_in_processes(directory, todo, settings, progress.update, liveness)
    after = cell_statuses(directory, asked, liveness)
    print_tables(final_table(plan, [(now.cell, now.record) for now in after], directory))
    if any(now.status in FAILURES and now.cell not in todo for now in after):
        print(f"Cells that failed before are left; python -m vitsweep reset {directory} --failed, then extend again")
    return 0 if all(now.status == "done" for now in after) else 1
