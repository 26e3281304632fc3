"""TensorBoard: event files in the cell's folder `tensorboard/`; `tensorboard --logdir SWEEP_DIR` shows the sweep.

Each start writes all epochs anew in place of the files of earlier attempts, so no step stands there twice.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from vitsweep.config.convert import flatten
from vitsweep.config.schema import TrackerConfig
from vitsweep.study.record import Record
from vitsweep.tracking.privacy import without_paths
from vitsweep.tracking.run import history_row, run_outcome
from vitsweep.tracking.tracker import Tracker, plan_beside

FOLDER = "tensorboard"
HPARAMS_METRICS = [f"{which}/{split}/{name}" for which in ("final", "best") for split in ("val", "test")
                   for name in ("accuracy", "loss")]  # fmt: skip


class TensorBoardTracker(Tracker):
    """One run of TensorBoard for one cell: scalars by epoch, hyperparameters with the final metrics, pictures."""

    def __init__(self, config: TrackerConfig):
        super().__init__()
        self.share_host = config.share_host
        self._epoch = 0

    def start(self, record: Record, directory: Path) -> None:
        folder = directory / FOLDER
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        # add_hparams() of torch would make a second run, named after the time, for the same cell.
        experiment, start, self._end = hparams(self._hyperparameters(record, directory), dict.fromkeys(HPARAMS_METRICS))
        for summary in (experiment, start):
            self._file_writer.add_summary(summary)
        self._writer.flush()

    def log(self, row: dict[str, Any]) -> None:
        self._epoch = row["epoch"]
        self._write_scalars({name: value for name, value in history_row(row).items() if name != "epoch"})

    def image(self, name: str, path: Path, caption: str) -> None:
        self._writer.add_image(name, np.asarray(Image.open(path).convert("RGB")), self._epoch, dataformats="HWC")

    def finish(self, record: Record) -> None:
        summary = run_outcome(record, self.share_host)
        self._write_scalars({name: value for name, value in summary.items() if not isinstance(value, str)})
        self._writer.add_text("status", "\n\n".join(v for k, v in summary.items() if k in ("status", "error")))
        if record.status == "done":
            self._file_writer.add_summary(self._end)
        self._writer.close()

    @property
    def _file_writer(self) -> Any:
        return self._writer._get_file_writer()

    def _write_scalars(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, self._epoch)
        self._writer.flush()

    def _hyperparameters(self, record: Record, directory: Path) -> dict[str, Any]:
        """Return arm, seed, and the settings in which arms of the study differ; without a study all settings."""
        settings = {k: v for k, v in flatten(record.config).items() if k.startswith(("model.", "data.", "recipe."))}
        plan = plan_beside(record, directory)
        if plan is not None:
            varied = dict.fromkeys(key for arm in plan.arms for key in arm.get("changes", {}))
            settings = {key: settings.get(key) for key in varied}
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
        shown = {"study": record.study, "arm": record.arm, "seed": record.seed} | plain
        return shown if self.share_host else without_paths(shown)
