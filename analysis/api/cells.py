"""The cells of a study: an Arm maps seeds to its Cells, and a Cell gives its network, predictions and maps."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vitsweep.errors import RecordError, UserError, printable
from vitsweep.study.record import PREDICTIONS_NAME, Record

from ..units import metrics_in_percent
from .names import argument_errors, refuse_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..attention.looks import Views
    from ..attention.maps import AttentionMaps

Images = int | str | Sequence[int] | np.ndarray
"""Test images by number, by rule (`class=cat:4`, `ids=3,17`) or by id; or pixels."""


class Arm(Mapping[int, "Cell"]):
    """Arm of a study: a mapping from seeds to cells.

    >>> arm = study["patch_size=8"]
    >>> arm.role, arm.changes, list(arm)
    ('arm', 'patch_size 4 -> 8', [0, 1])
    >>> [cell.status for cell in arm.values()]
    ['done', 'done']
    """

    def __init__(self, name: str, role: str, levels: dict[str, str], changes: str, cells: dict[int, "Cell"]):
        self.name, self.role, self.levels, self.changes = name, role, levels, changes
        self._cells = cells

    def __getitem__(self, seed: int) -> "Cell":
        if seed not in self._cells:
            refuse_name("seed", seed, self._cells)
        return self._cells[seed]

    def __iter__(self) -> Iterator[int]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"Arm({self.name!r}, seeds {', '.join(map(str, self._cells))})"


class Cell:
    """Cell of a study, one training of an arm with one seed, as its directory holds it.

    >>> cell = study["patch_size=8"][0]
    >>> cell.arm, cell.seed, cell.status, cell.config["model"]["patch_size"]
    ('patch_size=8', 0, 'done', 8)
    >>> sorted(cell.metrics), len(cell.history)
    (['best', 'final'], 2)
    """

    def __init__(self, name: str, directory: str | Path, record: Record, history: pd.DataFrame):
        self.name = name
        """Id of the cell: `<arm>-<hash>/seed=<n>`."""
        self.directory = Path(directory)
        self.history = history.reset_index(drop=True)
        """A row an epoch, as Study.history."""
        self._record = record

    @property
    def arm(self) -> str:
        """Return the name of the cell's arm."""
        return self._record.arm

    @property
    def seed(self) -> int:
        """Return the cell's seed."""
        return self._record.seed

    @property
    def status(self) -> str:
        """Return planned, running, interrupted, done, failed or diverged."""
        return self._record.status

    @property
    def record(self) -> dict[str, Any]:
        """Return the content of record.json, in which accuracies are fractions of 1."""
        return dict(vars(self._record))

    @property
    def config(self) -> dict[str, Any]:
        """Return the resolved configuration: `model`, `data`, `recipe`, ..., nested."""
        return self._record.config

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Return `final` and `best` -> metric -> value: `test/loss`, `test/accuracy_percent`, ...

        >>> sorted(cell.metrics["final"])[:3]
        ['test/accuracy_percent', 'test/loss', 'train/accuracy_percent']
        """
        return metrics_in_percent(self._record.metrics)

    def __repr__(self) -> str:
        return f"Cell({self.arm!r}, seed {self.seed}, {self.status})"

    def model(self, which: str = "best") -> "nn.Module":
        """Load the trained network, in eval mode on the CPU in fp32.

        >>> sum(weight.numel() for weight in cell.model().parameters()) == cell.record["params"]
        True

        Args:
            which: `best` (lowest validation loss), `last`, `ema` or `average`.

        Raises:
            RecordError: the checkpoint does not exist.
        """
        from torch.random import fork_rng

        from vitsweep.train.checkpoint import load_model

        with fork_rng(devices=[]):
            return load_model(self.directory, which)

    def predictions(self, which: str = "best") -> pd.DataFrame:
        """Read the predictions of the test images: a row an image, in the canonical order of the test set.

        >>> frame = cell.predictions()
        >>> list(frame), len(frame)
        (['image', 'label', 'predicted', 'probability', 'correct'], 50)
        >>> bool(abs(100 * frame["correct"].mean() - cell.metrics["best"]["test/accuracy_percent"]) < 1e-4)
        True

        Args:
            which: `best` or `last` weights.

        Raises:
            RecordError: there are none.
        """
        if which not in ("best", "last"):
            raise RecordError(f"which={which}  is unknown; allowed: best, last")
        path, when = self.directory / PREDICTIONS_NAME, "best" if which == "best" else "final"
        try:
            with open(path, "rb") as stream, np.load(stream) as stored:
                names = ("id", "label", f"{when}_class", f"{when}_probability")
                id_N, label_N, class_N, probability_N = (stored[name] for name in names)
        except FileNotFoundError as error:
            why = "the cell has not finished, or this is a copy without predictions (a published study, W&B)"
            raise RecordError(f"{path}  is not there; {why}") from error
        except (OSError, KeyError, ValueError) as error:
            raise RecordError(f"{path}  cannot be read ({error}); train the cell again") from error
        names_K = np.array([printable(name) for name in self._record.classes])
        frame = pd.DataFrame({"image": id_N, "label": names_K[label_N], "predicted": names_K[class_N]})
        frame["probability"], frame["correct"] = probability_N.astype(float), label_N == class_N
        return frame.sort_values("image", ignore_index=True)

    def images(self, images: Images = 7) -> tuple[np.ndarray, list[str]]:
        """Return the pixels of test images, uint8 (N, H, W, C), and their true classes.

        >>> pixels, labels = cell.images("class=red ring:2")
        >>> pixels.shape, labels
        ((2, 32, 32, 3), ['red ring', 'red ring'])

        Args:
            images: their number; a rule (`ids=3,17`, `class=cat:4`, `wrong:16`); or a list of ids.

        Raises:
            UserError: the rule is unknown, or the data are not there (they are not downloaded).
        """
        views = self._views(images)
        return views.image_NHWC, [views.classes[label] for label in views.label_N]

    def attention(
        self, images: "Images | Tensor" = 7, *, variant: str = "rollout", alpha: float = 0.5, which: str = "best"
    ) -> "AttentionMaps":
        """Compute attention maps of test images or of pixels.

        >>> maps = cell.attention(3)
        >>> maps.heatmaps.shape, maps.probabilities.shape
        ((3, 4, 4), (3, 10))

        Args:
            images: as for `images`; or uint8 pixels, a tensor (N, C, H, W) or an array (N, H, W, C).
            variant: rollout, max, min, topk, calibrated, last or relevance.
            alpha: weight of the residual path, in [0, 1].
            which: checkpoint: `best` or `last`.

        Raises:
            UserError: no checkpoint, no attention, or images that do not fit.
        """
        from ..attention.maps import attention_maps

        model = self.model(which)
        pixels = to_pixels(images) if hasattr(images, "ndim") else self._views(images).image_NCHW
        return attention_maps(model, pixels, self._record.normalisation, variant=variant, alpha=alpha)

    def _views(self, images: Any) -> "Views":
        from torch.random import fork_rng

        from ..attention.images import choose_images
        from ..attention.looks import load_cell_data, select_images

        rule = image_rule(images)
        with fork_rng(devices=[]), argument_errors():
            data = load_cell_data(self._record)
            labels = data.test.label_N.cpu().numpy()
            return select_images(data, choose_images(rule, labels, data.classes, [self.directory]))


def image_rule(images: int | str | Sequence[int]) -> str:
    """Return the rule that chooses test images, as the command line's --images has it.

    Raises:
        UserError: it has another type.
    """
    if isinstance(images, int | str):
        return str(images)
    if isinstance(images, Sequence | np.ndarray) and all(isinstance(one, Integral) and one >= 0 for one in images):
        return f"ids={','.join(str(int(one)) for one in images)}"
    raise UserError(f"images={images!r}  is no choice of test images; give a number, a rule or a list of ids")


def to_pixels(images: Any) -> "Tensor":
    """Return uint8 pixels (N, C, H, W) of a tensor of that shape or an array (N, H, W, C).

    Raises:
        UserError: other types or dimensions.
    """
    import torch

    is_tensor = torch.is_tensor(images)
    if images.ndim != 4 or str(images.dtype).removeprefix("torch.") != "uint8":
        raise UserError(
            f"images  has shape {tuple(images.shape)} and type {images.dtype}; needed: uint8 pixels, a tensor "
            "(N, C, H, W) or an array (N, H, W, C)"
        )
    return images if is_tensor else torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
