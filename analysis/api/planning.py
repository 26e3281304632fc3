"""StudyPlan: the arms, cells, cost and power of a study before it is run, and the function that makes it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from vitsweep.config.command_line import check_words, order_words
from vitsweep.config.hydra import make_loader
from vitsweep.config.messages import user_errors
from vitsweep.errors import ConfigError
from vitsweep.run.plan_table import render_plan
from vitsweep.run.progress_table import PIPED_WIDTH
from vitsweep.study.estimate import arm_costs
from vitsweep.study.plan import Plan
from vitsweep.study.plan_builder import plan_and_directory

from .names import relative
from .words import sweep_words

MIB = 2**20


class StudyPlan:
    """Plan of a study. Printed, it is the table of `vitsweep plan`: arms, cost, power, notes and warnings.

    >>> planned = study.plan
    >>> planned.baseline, planned.seeds, len(planned.cells)
    ('baseline', [0, 1], 4)
    >>> print(planned)  # doctest: +ELLIPSIS
    patch_size-shapes-quick-d24647: 2 arms x 2 seeds = 4 cells...
    """

    def __init__(self, plan: Plan, directory: Path | None = None):
        self._plan = plan
        self.directory = directory
        """Directory of the sweep; None for a plan of several directories or from W&B."""
        self.study = plan.study
        self.design = plan.design
        self.baseline = plan.baseline
        self.factors = plan.factors
        self.seeds = plan.seeds
        self.claims = plan.claims
        self.notes = plan.notes

    @cached_property
    def arms(self) -> pd.DataFrame:
        """Return a row an arm: role, what it changes, and the cost of one cell where configurations are known."""
        rows = {row["arm"]: {"arm": row["arm"], "role": row["role"]} | _levels(row) for row in self._plan.arms}
        if all(cell.config for cell in self._plan.cells):  # W&B keeps none
            for cost in arm_costs(self._plan):
                rows[cost.arm] |= {
                    "changes": ", ".join(f"{key}={value}" for key, value in cost.changes.items()),
                    "params": cost.params,
                    "flops_per_image": cost.flops_per_image,
                    "training_flops": cost.training_flops,
                    "memory_mib": cost.memory_bytes / MIB,
                    "disk_mib": cost.disk_bytes / MIB,
                }
        return pd.DataFrame(list(rows.values()))

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Return a row a cell: id, arm, role and seed, in the order of training."""
        cells = [{"cell": c.id, "arm": c.arm, "role": c.role, "seed": c.seed} for c in self._plan.cells]
        return pd.DataFrame(cells)

    @cached_property
    def _text(self) -> str:
        if not all(cell.config for cell in self._plan.cells):
            return f"{self!r}\n{self.arms.to_string(index=False)}"
        # In a notebook rich would display what is to be a text here.
        stream = io.StringIO()
        console = Console(file=stream, width=PIPED_WIDTH, markup=False, emoji=False, force_jupyter=False)
        console.print(render_plan(self._plan, self.directory, probe=False), soft_wrap=True)
        return "\n".join(relative(line.rstrip()) for line in stream.getvalue().splitlines())

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        arms, seeds = len(self._plan.arms), len(self.seeds)
        return f"StudyPlan({self.study}: {arms} arms x {seeds} seeds = {len(self._plan.cells)} cells)"

    def _repr_html_(self) -> str:
        return f'<pre style="white-space: pre; overflow-x: auto">{escape(self._text)}</pre>'


def plan(
    *overrides: str, directory: str | Path | None = None, config_dir: str | Path | None = None, **settings: Any
) -> StudyPlan:
    """Plan a study without training, as `vs.run` with the same arguments would run it.

    >>> planned = vs.plan("model.patch_size=4,8", "seed=0,1", data="shapes", directory="outputs/planned")
    >>> planned.arms[["arm", "params"]].values.tolist()
    [['baseline', 4249354], ['patch_size=8', 4273930]]
    >>> vs.plan("model.patch_size=5", data="shapes")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    vitsweep.errors.ConfigError: model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, ...

    Args:
        overrides: as on the command line: `model.patch_size=4,8`, `study=readme_small`, ...
        directory: of the sweep; None: by its name (docs/names.md).
        config_dir: folder with configurations of your own, such as `study/mine.yaml`.
        settings: settings by name; a list is swept, a mapping holds the keys of a group
            (`model={"patch_size": [4, 8]}`).

    Raises:
        ConfigError: it cannot be planned; lists all problems.
        RecordError: the directory holds another study.
    """
    planned = make_plan(sweep_words(overrides, settings, directory, config_dir))
    planned._text  # noqa: B018 - refuses a directory of another study, as the command does
    return planned


def make_plan(words: list[str]) -> StudyPlan:
    """Plan the sweep that these words describe; Hydra's own state stays the caller's.

    Raises:
        ConfigError: it cannot be planned; lists all problems.
    """
    with callers_hydra():
        words = order_words(words)
        check_words(words)
        overrides = [word for word in words if not word.startswith("-")]
        if any(word.partition("=")[0] == "sweep.probe" and word.partition("=")[2] != "false" for word in overrides):
            raise ConfigError(["sweep.probe=true  times steps; use the command line: python -m vitsweep plan ..."])
        folder = next((word.partition("=")[2] for word in words if word.startswith("--config-dir=")), None)
        with user_errors(overrides):
            return StudyPlan(*plan_and_directory(overrides, make_loader(folder), "config"))


@contextmanager
def callers_hydra() -> Iterator[None]:
    """Give Hydra's global instance back to a caller who runs in a Hydra application."""
    before = GlobalHydra.instance().hydra
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before


def _levels(row: dict[str, Any]) -> dict[str, str]:
    return {f"level/{factor}": level for factor, level in row["levels"].items()}
