"""Hydra callback that writes the report at the end of a sweep, and judges a study at its looks.

Hydra skips on_multirun_end if a job raised, so cells catch their own exceptions. An error of the report must not turn a
finished sweep into a failed one: it is logged with the command that makes the report.
"""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from vitsweep.study.plan import TUNED_NAME
from vitsweep.study.record import PLAN_NAME
from vitsweep.study.status import LooksVerdict

from .progress import shown, stage
from .records.report_files import PAGE_NAME, REPORT_NAME, is_current

log = logging.getLogger(__name__)


class ReportAtTheEnd(Callback):
    """Callback that writes `<sweep dir>/report` when a multirun has ended; the judge of sweep.until=decided."""

    def judge_looks(self, directory: Path) -> LooksVerdict:
        """Judge the study of a sweep's directory at its complete looks, as its report does."""
        from .records.load import load
        from .records.selection import select
        from .statistics.sequential import judge_looks, look_lines

        sequence = judge_looks(select(load(directory)))
        return LooksVerdict(needed=sequence.needed, lines=look_lines(sequence), is_over=sequence.is_over)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report unless it is current, this was a dry run, there is no plan, or jobs train (sweep.detach)."""
        if OmegaConf.select(config, "sweep.detach") or OmegaConf.select(config, "sweep.dry_run"):
            return
        directory = Path(str(config.hydra.sweep.dir))
        for place in (directory / TUNED_NAME, directory):
            if (place / PLAN_NAME).exists():
                self.write(place)

    def write(self, directory: Path) -> None:
        """Write the report of a directory with a plan, unless it is current."""
        if is_current(directory / REPORT_NAME, directory):
            log.info("Report: %s (nothing new)", directory / REPORT_NAME / PAGE_NAME)
            return
        try:
            # Imported here: pandas and matplotlib take seconds, which a job's process must not pay for.
            with shown("report"):
                stage("loading pandas and matplotlib")
                from .report.report import make_report

                page = make_report(directory)
            log.info("Report: %s", page)
        except Exception as error:  # noqa: BLE001 - see the top of this file
            command = f"python -m vitsweep.analysis report {directory}"
            log.warning("No report (%s: %s). Try: %s", type(error).__name__, error, command)
