"""Progress display of a cell: a bar on a terminal, a log line per epoch elsewhere."""

import logging
import sys
import time
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vitsweep.files import is_screen

log = logging.getLogger(__name__)


class LineProgress(AbstractContextManager):
    """One log line per epoch: loss, accuracies, speed and the remaining time."""

    def __init__(self, title: str, epochs: int, steps_per_epoch: int, first_epoch: int):
        self.title, self.epochs, self.steps_per_epoch, self.first_epoch = title, epochs, steps_per_epoch, first_epoch
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, epoch: int, step: int) -> None:
        """Do nothing after an optimizer step."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Log a finished epoch, given its row of metrics.jsonl."""
        spent = time.monotonic() - self.began
        left = spent / (row["epoch"] - self.first_epoch) * (self.epochs - row["epoch"])
        log.info("%s  epoch %d/%d  %s  %.0f s left", self.title, row["epoch"], self.epochs, epoch_summary(row), left)


class BarProgress(LineProgress):
    """A live bar over all steps, with the last epoch's figures beside it."""

    def __init__(self, title: str, epochs: int, steps_per_epoch: int, first_epoch: int):
        super().__init__(title, epochs, steps_per_epoch, first_epoch)
        columns = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=10), MofNCompleteColumn()]
        columns += [TextColumn("{task.fields[figures]}"), TimeRemainingColumn()]
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        completed = first_epoch * steps_per_epoch
        self.task = self.bar.add_task(title, total=epochs * steps_per_epoch, completed=completed, figures="")

    def __enter__(self) -> "BarProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, epoch: int, step: int) -> None:
        """Move the bar after an optimizer step."""
        self.bar.update(self.task, completed=(epoch - 1) * self.steps_per_epoch + step)

    def epoch(self, row: dict[str, Any]) -> None:
        """Show the figures of a finished epoch."""
        self.bar.update(self.task, figures=epoch_summary(row))


def epoch_summary(row: dict[str, Any]) -> str:
    """Return an epoch's figures in one line."""
    # An epoch that was resumed after its last step has no speed.
    speed = f"  {row['images_per_second']:.0f} images/s" if row["images_per_second"] else ""
    return f"loss {row['train/loss']:.3f}  train {row['train/accuracy']:.1%}  val {row['val/accuracy']:.1%}{speed}"


def make_progress(
    title: str, epochs: int, steps_per_epoch: int, first_epoch: int, as_lines: bool = False
) -> LineProgress:
    """Return a bar if standard error is a terminal, else lines; `as_lines` (in a pack) forces lines."""
    kind = BarProgress if is_screen(sys.stderr) and not as_lines else LineProgress
    return kind(title, epochs, steps_per_epoch, first_epoch)
