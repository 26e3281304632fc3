"""vs.run: a sweep in a process of its own, so that nothing of the caller's process changes.

The same engine as on the command line: Hydra, logging, threads and random numbers are the child's own. Its output is
shown as it comes; on Ctrl-C, or a notebook's stop button, the child is asked to save the states of its cells.
"""

import re
import signal
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vitsweep.errors import ConfigError, UserError
from vitsweep.run.workers import worker_environment

from .names import relative
from .planning import make_plan
from .study import Study, load
from .words import sweep_words

CHILD = (sys.executable, "-m", "vitsweep.analysis.api.child")
PREFIX = re.compile(r"^\[\d{4}[\d:, -]+\](\[[\w.]+\]\[INFO\] -|\[HYDRA\]) ")
"""Beginning of a line of Hydra's log, which is left out where no terminal shows it."""
FORCED_COLORS = ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS")
REFUSED = 2
PATIENCE = 2  # interrupts that are passed on before the child is killed


def run(
    *overrides: str,
    directory: str | Path | None = None,
    config_dir: str | Path | None = None,
    report: bool = True,
    **settings: Any,
) -> Study:
    """Train what is missing of a study, write its report, and load it; the same call again resumes.

    >>> small = {
    ...     "model": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    ...     "data.shapes_train": 200, "data.shapes_test": 50, "data.train_limit": None,
    ...     "recipe": "quick", "recipe.epochs": 2,
    ... }
    >>> study = vs.run("model.patch_size=4,8", seed=[0, 1], data="shapes", tracker="none", report=False, **small)
    patch_size-shapes-quick-d24647: 4 cells, 4 done already, 0 to do, in ...
    >>> study
    Study(patch_size-shapes-quick-d24647: 2 arms, 4 of 4 runs finished)

    As `vitsweep -m ...` on the command line: the same directory, progress, resuming and report. Cells that fail are
    recorded (`study.cells["status"]`) and the others go on. The caller's working folder, logging, threads, random
    numbers and matplotlib are left alone.

    Args:
        overrides: as on the command line: `model.patch_size=4,8`, `seed=0,1,2`, `sweep.jobs=2`, ...
        directory: of the sweep; None: by its name (docs/names.md).
        config_dir: folder with configurations of your own, such as `study/mine.yaml`.
        report: whether the report is written at the end; `Study.report` writes it later.
        settings: settings by name (`data="shapes"`, `study="readme_small"`, `seed=[0, 1, 2]`); a list is swept, a
            mapping holds the keys of a group.

    Raises:
        ConfigError: before anything starts, with the errors of all cells.
        UserError: it was refused later, such as for images that are not there.
        KeyboardInterrupt: it was interrupted; the cells are recorded as interrupted and can be resumed.
        RuntimeError: the child's process ended without a result.
    """
    words = sweep_words(overrides, settings, directory, config_dir)
    for word in words:
        if re.match(r"\+*sweep\.dry_run=(?!false$)", word):
            raise ConfigError([f"{word}  trains nothing; use vs.plan(...)"])
    planned = make_plan(words)
    train(words if report else [*words, "~hydra.callbacks.report"])
    assert planned.directory is not None
    return load(planned.directory)


def train(words: list[str]) -> None:
    """Run the command line's words in a child; raise what went wrong as `run` does."""
    receiver, sender = Pipe(duplex=False)
    is_terminal = all(getattr(stream, "isatty", bool)() for stream in (sys.stdout, sys.stderr))
    output: dict[str, Any] = {} if is_terminal else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    environment = worker_environment() | {"PYTHONUNBUFFERED": "1"}
    if not is_terminal:  # a notebook's kernel asks for colors, which would stay in its kept outputs as codes
        environment = {name: value for name, value in environment.items() if name not in FORCED_COLORS}
    with sender:
        child = subprocess.Popen(
            [*CHILD, str(sender.fileno()), *words],
            stdin=subprocess.DEVNULL,
            pass_fds=[sender.fileno()],
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C reaches the caller alone, who passes it on once
            text=True,
            errors="replace",
            **output,
        )
    with receiver, child:
        is_interrupted = follow(child)
        if is_interrupted:
            raise KeyboardInterrupt("stopped; the same call resumes")
        raise_error(child.returncode, receiver)


def follow(child: subprocess.Popen) -> bool:
    """Show the child's output until it ends; return whether the caller was interrupted meanwhile."""
    interrupts = 0
    while True:
        try:
            for line in child.stdout or ():
                print(relative(PREFIX.sub("", line)), end="", flush=True)
            child.wait()
            return interrupts > 0
        except KeyboardInterrupt:
            interrupts += 1
            child.send_signal(signal.SIGINT if interrupts <= PATIENCE else signal.SIGKILL)
        except BaseException:
            child.terminate()
            raise


def raise_error(code: int, receiver: Connection) -> None:
    """Raise the error of a child that has ended.

    Raises:
        UserError: it refused the sweep.
        RuntimeError: it ended without a result.
    """
    try:
        exit_code, messages = receiver.recv() if receiver.poll() else (None, [])
    except EOFError:
        exit_code, messages = None, []
    if exit_code == REFUSED:
        raise UserError("\n".join(messages))
    if exit_code is None or exit_code > REFUSED:
        why = " ".join(messages).strip() or f"its process ended with code {code}, see the output above"
        raise RuntimeError(f"the sweep stopped: {why}; the same call resumes")
