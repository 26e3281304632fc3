"""The Hydra callback that makes the report at the end of a sweep.

Hydra skips on_multirun_end when a job raised, so cells catch their own exceptions; and whatever goes wrong
here must not turn a finished sweep into a failed one, so it is logged and the command to try again is named.
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
    """Writes `<sweep dir>/report` when a multirun has ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # pandas and matplotlib take seconds to import; a job's process must not pay for them.
        directory = Path(str(config.hydra.sweep.dir))
        if not (directory / PLAN_NAME).exists():
            return  # a dry run: nothing was planned for good, so there is nothing to report
        if is_newer_than_its_records(directory):
            log.info("Report: %s (nothing new)", directory / "report/index.html")
            return
        try:
            from .report.report import make_report

            log.info("Report: %s", make_report(directory))
        except Exception as fault:  # noqa: BLE001 - see the top of this file
            log.warning(
                "No report (%s: %s). Try: python -m analysis report %s",
                type(fault).__name__,
                fault,
                directory,
            )


def is_newer_than_its_records(directory: Path) -> bool:
    """Whether the report was written after every record, so that drawing it again would change nothing."""
    page = directory / "report" / "index.html"
    if not page.exists():
        return False
    written = page.stat().st_mtime
    records = (directory / PLAN_NAME, *directory.glob(f"{CELLS_PATTERN}/{RECORD_NAME}"))
    return all(record.stat().st_mtime < written for record in records)
