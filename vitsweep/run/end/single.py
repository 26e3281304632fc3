"""Messages of a run without a sweep: its expected time, and at its end its result, folder and next commands."""

import logging
import shlex
import sys
from pathlib import Path

from vitsweep.config.overrides import override_key, short_key
from vitsweep.config.schema import Config
from vitsweep.errors import printable
from vitsweep.run.progress_table import duration, reason
from vitsweep.run.slots import Slot
from vitsweep.run.timing.estimate import START_SECONDS, describe_time, estimate_time
from vitsweep.study.arms import Arm
from vitsweep.study.plan import make_plan
from vitsweep.study.record import Record
from vitsweep.study.status import CellStatus

log = logging.getLogger(__name__)

COMPARED = ("model.patch_size=4,8", "model.num_hidden_layers=4,8")
"""What the next command varies: the first of them that the run has not set itself."""


def announce_time(config: Config, record: Record) -> None:
    """Log how long the run will take; nothing if a step cannot be timed."""
    from vitsweep.train.trial.probe import quick_probe  # late: it imports torch

    arm = Arm(name=record.arm, role="baseline", levels={}, overrides=[], config=config)
    plan = make_plan("single", "one cell", record.overrides, [arm], [config.seed], {})
    todo = [CellStatus(cell=plan.cells[0], status=record.status, record=record)]
    try:  # in this process, which trains: a GPU may admit no other
        probed = quick_probe({record.arm: plan.cells[0].config}, START_SECONDS)
    except (OSError, ValueError, RuntimeError):  # the training itself says what is wrong
        log.debug("no steps were timed", exc_info=True)
        return
    estimate = estimate_time(plan, todo, [Slot()], None, 0.0, probed)
    if estimate is not None:
        log.info("expected: %s", describe_time(estimate))


def print_result(record: Record, directory: Path) -> None:
    """Print the result of a run without a sweep, where it lies, and what to do next."""
    shown = relative_path(directory)
    lines = [f"{record.arm}, seed {record.seed}: {describe_result(record)}", f"folder: {shown}"]
    lines += next_commands(record.overrides, shown) if record.status == "done" else []
    print("\n".join(map(printable, lines)))  # not by rich, which would break a command into lines


def describe_result(record: Record) -> str:
    """Return `done, test accuracy 45.36 %, loss 1.523, 4,249,354 parameters, 3 min`."""
    if record.status != "done":
        return f"{record.status}{reason(record)}"
    final = record.metrics["final"]
    loss = "" if final.get("test/loss") is None else f", test loss {final['test/loss']:.3f}"
    return (
        f"done, test accuracy {100 * final['test/accuracy']:.2f} %{loss}, {record.params:,} parameters, "
        f"{duration(record.time_seconds)}"
    )


def next_commands(overrides: list[str], directory: str) -> list[str]:
    """Return two commands and their purpose: the report of the run, and a sweep that compares it over three seeds."""
    kept = [o for o in overrides if override_key(o) != "seed" and override_key(o) != "sweep.dry_run"]
    words = {short_key(o) for o in kept}
    varied = next((o for o in COMPARED if short_key(o) not in words), COMPARED[0])
    program = "python run.py" if Path(sys.argv[0]).name == "run.py" else "python -m vitsweep run"
    sweep = f"{program} -m {shlex.join([*kept, varied, 'seed=0,1,2'])}"
    return [
        "next, its training graph and attention rollout:",
        f"  python -m vitsweep report {shlex.quote(directory)}",
        "or a comparison over three seeds:",
        f"  {sweep}",
    ]


def relative_path(directory: Path) -> str:
    """Return a path relative to the working folder if it lies below it, else as it is."""
    path = Path(directory).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
