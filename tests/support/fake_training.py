"""Training that ends at once as a test says, and the sweep of four cells that it is used in."""

from pathlib import Path

from vitsweep.config.schema import Config
from vitsweep.errors import DataError
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import read_plan
from vitsweep.study.record import METRIC_NAMES, Record, write_record
from vitsweep.study.status import cell_statuses
from vitsweep.train.stop import Interrupted

SWEEP = Path("outputs/lr-shapes-ebe766")
"""Where a sweep of learning rates with the settings of the fixture `small` lies by default."""


METRICS = {"final": dict.fromkeys(METRIC_NAMES, 0.5), "best": {"epoch": 1} | dict.fromkeys(METRIC_NAMES, 0.5)}


ALL = [("baseline", 0), ("lr=0.002", 0), ("baseline", 1), ("lr=0.002", 1)]


class Training:
    """Replacement for train.fit.run_cell: raises `ends[arm, seed]`, if there is one, else finishes at once."""

    def __init__(self) -> None:
        self.ends: dict[tuple[str, int], BaseException] = {}
        self.ran: list[tuple[str, int]] = []

    def __call__(self, config: Config, record: Record, directory: Path) -> Record:
        record.attempts += 1
        self.ran.append((record.arm, record.seed))
        error = self.ends.get((record.arm, record.seed))
        record.status, record.metrics, record.params = "done", METRICS, 1
        if isinstance(error, Interrupted):
            record.status = "interrupted"
        elif error is not None:
            record.status, record.error = "failed", {"type": type(error).__name__, "message": str(error)}
        if not isinstance(error, SystemExit):
            write_record(directory, record)
        if isinstance(error, Interrupted | DataError | SystemExit):
            raise error
        return record


def statuses() -> list[str]:
    """The statuses of the planned cells, in order."""
    return [now.status for now in cell_statuses(SWEEP, read_plan(SWEEP).cells, LivenessCheck())]
