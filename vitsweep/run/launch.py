"""launch."""

from dataclasses import dataclass
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from vitsweep.config.schema import SweepConfig
from vitsweep.run.deaths import Deaths, give_up
from vitsweep.run.hydra_task import CellTask, FrozenLoader
from vitsweep.run.pool import MAX_DEATHS
from vitsweep.run.progress_table import LogProgress
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Cell
from vitsweep.study.status import cell_status


@dataclass(kw_only=True)
class Sweep:
    """One start of a study."""

    config: DictConfig
    """Hydra's, with the launcher's settings."""
    context: HydraContext
    directory: Path
    settings: SweepConfig
    liveness: LivenessCheck

    @property
    def retry(self) -> bool:
        """Whether cells that failed are trained again."""
        return self.settings.retry == "failed"


def make_launcher(work: Sweep, task: CellTask) -> Launcher:
    """Hydra's launcher of the configuration; jobs get their cell from plan.json instead of composing it."""
    context = HydraContext(config_loader=FrozenLoader(work.context.config_loader), callbacks=work.context.callbacks)
    return Plugins.instance().instantiate_launcher(config=work.config, task_function=task, hydra_context=context)


def is_left(work: Sweep, cell: Cell, deaths: Deaths, board: LogProgress) -> bool:
    """Whether a cell that was launched must be launched again; one whose worker dies time after time counts as failed.

    To be called once a launch.
    """
    now = cell_status(work.directory, cell, work.liveness)
    if now.status in ("planned", "interrupted") and deaths.count(now) >= MAX_DEATHS:
        now = give_up(work.directory, cell, f"its worker died {MAX_DEATHS} times")
    board.tell(now)
    return now.status in ("running", "planned", "interrupted")
