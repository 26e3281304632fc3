"""Hydra callback that writes the report at the end of a sweep.

Hydra skips on_multirun_end if a job raised, so cells catch their own exceptions. An error of the report must not turn a
finished sweep into a failed one: it is logged with the command that makes the report.
"""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from vitsweep.study.plan import CELLS_PATTERN
from vitsweep.study.record import PLAN_NAME, RECORD_NAME

log = logging.getLogger(__name__)


class ReportAtTheEnd(Callback):
    """Callback that writes `<sweep dir>/report` when a multirun has ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report unless it is up to date or, after a dry run, there is no plan."""
        directory = Path(str(config.hydra.sweep.dir))
        if not (directory / PLAN_NAME).exists():
            return
        if is_up_to_date(directory):
            log.info("Report: %s (nothing new)", directory / "report/index.html")
            return
        try:
            # Imported here: pandas and matplotlib take seconds, which a job's process must not pay for.
            from .report.report import make_report

            log.info("Report: %s", make_report(directory))
        except Exception as error:  # noqa: BLE001 - see the top of this file
            command = f"python -m vitsweep.analysis report {directory}"
            log.warning("No report (%s: %s). Try: %s", type(error).__name__, error, command)


def is_up_to_date(directory: Path) -> bool:
    """Return True if the report was written after the plan and every record."""
    page = directory / "report" / "index.html"
    if not page.exists():
        return False
    written = page.stat().st_mtime
    records = (directory / PLAN_NAME, *directory.glob(f"{CELLS_PATTERN}/{RECORD_NAME}"))
    return all(record.stat().st_mtime < written for record in records)
