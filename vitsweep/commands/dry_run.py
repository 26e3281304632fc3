"""Dry run: what a command line would train, what is done already, and how long the rest takes; nothing is written.

Hydra would make the folder of a run before it calls any task, and a report after every sweep, so a dry run is found in
the words of the command line (config/command_line.py) and answered without starting Hydra's job.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.text import Text

from vitsweep.config.command_line import is_multirun
from vitsweep.config.convert import from_omegaconf
from vitsweep.config.hydra import make_loader
from vitsweep.config.messages import user_errors
from vitsweep.config.overrides import override_key, override_value
from vitsweep.config.schema import Config
from vitsweep.run.plan_table import MIB, describe_download, describe_mflop, find_state, print_plan
from vitsweep.run.progress_table import print_tables
from vitsweep.run.timing.estimate import PLAN_SECONDS, describe_time
from vitsweep.study.arms import Arm
from vitsweep.study.estimate import ArmCost, arm_costs
from vitsweep.study.plan import make_plan
from vitsweep.study.plan_builder import plan_and_directory
from vitsweep.study.record import Record
from vitsweep.study.status import CellStatus

NOTHING = "nothing was trained, downloaded or written; leave sweep.dry_run=true out to train"
MakeRecord = Callable[[Config, Path, list[str]], tuple[Config, Record]]
"""cli.single_cell: configuration, directory and overrides -> the cell's complete configuration and its record."""


def dry_run(words: list[str], make_record: MakeRecord) -> None:
    """Print what a command line would train.

    Args:
        words: as check_words has checked them.
        make_record: makes the record of a run without a sweep.

    Raises:
        UserError: it cannot be planned; lists all problems.
    """
    options = get_args_parser().parse_args(words)
    name, overrides = options.config_name or "config", list(options.overrides)
    with user_errors(words):
        loader = make_loader(options.config_dir)
        if is_multirun(options.multirun, overrides):
            plan, directory = plan_and_directory(overrides, loader, name, keep=False)
            print_plan(plan, directory, launcher=launcher_option(overrides))
            print_tables(Text(NOTHING))
            return
        composed = loader.load_configuration(name, overrides, run_mode=RunMode.RUN)
        directory = Path(OmegaConf.select(composed, "hydra.run.dir")).absolute()
        task = [o for o in overrides if not override_key(o).replace("/", ".").startswith("hydra")]
        config, record = make_record(from_omegaconf(without_hydra(composed), composed), directory, task)
    print_cell(config, record, directory)


def without_hydra(composed: DictConfig) -> DictConfig:
    """Return a composition without Hydra's own part."""
    ours: Any = OmegaConf.create(composed)
    with open_dict(ours):
        del ours["hydra"]
    return ours


def launcher_option(overrides: list[str]) -> str:
    """Return the chosen option of hydra/launcher; empty for the basic one."""
    chosen = [override_value(o) for o in overrides if override_key(o) == "hydra/launcher"]
    return "" if not chosen or chosen[-1] == "basic" else chosen[-1]


def print_cell(config: Config, record: Record, directory: Path) -> None:
    """Print what a run without a sweep is, its state and its time."""
    arm = Arm(name=record.arm, role="baseline", levels={}, overrides=[], config=config)
    plan = make_plan("single", "one cell", record.overrides, [arm], [config.seed], {})
    earlier = CellStatus(cell=plan.cells[0], status=record.status, record=record)
    state = find_state(plan, None, config.sweep.probe, "", PLAN_SECONDS, [earlier])
    (cost,) = arm_costs(plan)
    done = record.status == "done"
    lines = [f"{record.arm}, seed {record.seed}: {describe_progress(record, cost.epochs)}"]
    if not done:
        lines.append(f"time: {describe_time(state.time)}" if state.time else "time: unknown")
    if probed := state.probed.get(record.arm):
        lines.append(probed.error or f"step: {1000 * probed.step_seconds:,.1f} ms/step, {probed.device}")
    lines += [*describe_cell(config, cost), *describe_download(plan.cells[0].config), f"folder: {directory}", NOTHING]
    print_tables(*map(Text, lines))


def describe_progress(record: Record, epochs: int) -> str:
    """Return what is there already of a single run."""
    if record.status == "planned":
        return "not started yet"
    return f"{record.status}, after {record.epoch} of {epochs} epochs"


def describe_cell(config: Config, cost: ArmCost) -> list[str]:
    """Return lines on the network, the images, the training, disk and memory of one cell."""
    tokens = f", {cost.tokens} tokens" if cost.tokens else ""
    images = "as many as the folder has"
    if cost.images is not None:
        images = "{:,} train, {:,} validation, {:,} test".format(*cost.images)
    steps = "" if cost.steps is None else f" of {cost.steps:,} steps"
    return [
        f"model: {config.model.name}, {cost.params:,} parameters, {describe_mflop(cost)} MFLOP an image{tokens}",
        f"images: {config.data.name}, {images}",
        f"training: {cost.epochs} epochs{steps}, {cost.batch_size} images a step",
        f"disk: {cost.disk_bytes / MIB:,.1f} MiB of checkpoints; memory: {cost.memory_bytes / MIB:,.0f} MiB in fp32, "
        "a process takes up to twice that",
    ]
