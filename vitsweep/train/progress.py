"""How a cell shows that it is alive: a bar on a terminal, a line an epoch in the log elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


class LineProgress:
    """One log line an epoch: loss, accuracies, speed and the time left."""

    def __init__(self, title: str, epochs: int, steps_per_epoch: int, first_epoch: int):
        self.title, self.epochs, self.first_epoch = title, epochs, first_epoch
        self.began = time.monotonic()

    def __enter__(self) -> "LineProgress":
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def step(self, epoch: int, step: int) -> None:
        """After each optimizer step; lines have nothing to say then."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch, with its row of metrics.jsonl."""
        spent = time.monotonic() - self.began
        left = spent / (row["epoch"] - self.first_epoch) * (self.epochs - row["epoch"])
        log.info("%s  epoch %d/%d  %s  %.0f s left", self.title, row["epoch"], self.epochs, summary(row), left)


class BarProgress(LineProgress):
    """A live bar over all steps, with the last epoch's figures beside it."""

    def __init__(self, title: str, epochs: int, steps_per_epoch: int, first_epoch: int):
        super().__init__(title, epochs, steps_per_epoch, first_epoch)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        self.bar = Progress(
            *columns,
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.steps_per_epoch = steps_per_epoch
        self.task = self.bar.add_task(
            title, total=epochs * steps_per_epoch, completed=first_epoch * steps_per_epoch, figures=""
        )

    def __enter__(self) -> "BarProgress":
        self.bar.start()
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def step(self, epoch: int, step: int) -> None:
        """After each optimizer step: move the bar."""
        self.bar.update(self.task, completed=(epoch - 1) * self.steps_per_epoch + step)

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch: show its figures."""
        self.bar.update(self.task, figures=summary(row))


def summary(row: dict[str, Any]) -> str:
    """An epoch's figures in one line."""
    # An epoch that was gone on with after its last step has no speed.
    speed = f"  {row['images_per_second']:.0f} images/s" if row["images_per_second"] else ""
    return f"loss {row['train/loss']:.3f}  train {row['train/accuracy']:.1%}  val {row['val/accuracy']:.1%}{speed}"


def make_progress(
    title: str, epochs: int, steps_per_epoch: int, first_epoch: int, as_lines: bool = False
) -> LineProgress:
    """A bar if a person is looking, else lines; those always where several cells are trained together."""
    kind = BarProgress if sys.stderr.isatty() and not as_lines else LineProgress
    return kind(title, epochs, steps_per_epoch, first_epoch)
