"""Views of the same test images by the models of a study's cells.

One model is in memory at a time. Cells that were trained on other data than the first one cannot be compared image by
image, so they are left out and named; every other obstacle becomes a note.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vitsweep.errors import UserError, printable
from vitsweep.study.record import Record, epoch_checkpoints, read_record

from ..progress import steps
from ..text import format_ranges
from .images import ImageChoice, choose_images
from .measures import density, lift, log2_lift

if TYPE_CHECKING:
    from torch import Tensor

    from vitsweep.data.load import Data

    from .maps import AttentionMaps


MAX_EPOCHS = 8


@dataclass(kw_only=True)
class ModelView:
    """One model's maps of the chosen images."""

    arm: str
    role: str
    seed: int
    directory: str
    patch_size: int
    maps: "AttentionMaps"
    epoch: int | None = None
    """Epoch of the checkpoint, where a cell shows several."""

    @property
    def densities(self) -> np.ndarray:
        """Return the patches' mass, (N, P), summing to 1 an image."""
        return density(self.maps.patches)

    @property
    def log2_lift(self) -> np.ndarray:
        """Return the binary logarithm of the lift, (N, P), the painted value."""
        return log2_lift(lift(self.maps.patches))


@dataclass(kw_only=True)
class Views:
    """The chosen images and the models' views of them."""

    image_NHWC: np.ndarray
    """uint8 pixels."""
    label_N: np.ndarray
    id_N: np.ndarray
    """Positions in the canonical order of the test set."""
    classes: list[str]
    rule: str
    """The rule that chose the images."""
    model_views: list[ModelView]
    """Arms in their order, seeds within."""
    notes: list[str] = field(default_factory=list)
    """A sentence for each missing cell, with the reason."""

    @property
    def image_NCHW(self) -> "Tensor":  # noqa: N802 - the suffix is the shape
        """Return the pixels as a tensor, channels first."""
        import torch

        return torch.from_numpy(self.image_NHWC).permute(0, 3, 1, 2)

    @property
    def arms(self) -> list[str]:
        """Return the arms that have a view, in order."""
        return list(dict.fromkeys(view.arm for view in self.model_views))

    def of(self, arm: str) -> list[ModelView]:
        """Return the arm's views, by seed."""
        return [view for view in self.model_views if view.arm == arm]


@dataclass(kw_only=True)
class ViewSettings:
    """Images, kind of map and checkpoint of a view."""

    images: str = "7"
    variant: str = "rollout"
    alpha: float = 0.5
    which: str = "best"


def collect_views(cells: pd.DataFrame, settings: ViewSettings) -> Views:
    """Load data, choose images, and compute every finished cell's view of them.

    Args:
        cells: columns directory, arm, role, seed, status; in the order to show.

    Raises:
        UserError: nothing can be shown at all: no finished cell, no data, or images that do not exist.
    """
    rows = finished_cells(cells)
    data = load_cell_data(rows[0][1])
    rows, notes = with_same_data(rows)
    directories = [Path(row["directory"]) for row, _ in rows]
    chosen = choose_images(settings.images, data.test.label_N.cpu().numpy(), data.classes, directories, settings.which)
    views = select_images(data, chosen)
    views.notes = notes
    for row, record in steps(rows, "attention maps"):
        found = try_or_note(partial(cell_view, row, record, views, settings), cell_name(row), notes)
        views.model_views += [found] if found else []
    if not views.model_views:
        raise UserError(" ".join(merge_notes(notes)))
    return views


def finished_cells(cells: pd.DataFrame) -> list[tuple[dict, Record]]:
    """Return the finished cells with their records.

    Raises:
        UserError: there is none.
    """
    done = [(row, read_record(Path(row["directory"]))) for row in cells[cells["status"] == "done"].to_dict("records")]
    if not done:
        raise UserError("No cell has finished, so there is no model to look through.")
    return done


def cell_name(row: dict) -> str:
    """Format `patch_size=8, seed 0`."""
    return f"{row['arm']}, seed {row['seed']}"


def try_or_note(make: Callable[[], Any], name: str, notes: list[str]) -> Any:
    """Return `make()`, or None with a note for errors that the user can act on."""
    try:
        return make()
    except (UserError, OSError) as error:
        notes.append(f"No rollout of {name}: {first_line(error)}.")
        return None


def merge_notes(notes: list[str]) -> list[str]:
    """Merge the notes of several seeds of an arm, in order."""
    groups: dict[tuple, list[int]] = {}
    for note in notes:
        parts = re.fullmatch(r"(No rollout of .*), seed (\d+)(: .*)", note)
        groups.setdefault((parts[1], parts[3]) if parts else (note,), []).extend([int(parts[2])] if parts else [])
    words = []
    for key, seeds in groups.items():
        which = f", seed{'s' if len(set(seeds)) > 1 else ''} {format_ranges(sorted(set(seeds)))}" if seeds else ""
        words.append(which.join(key) if seeds else key[0])
    return words


def first_line(error: Exception) -> str:
    """Return the first line of a message, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")


def load_cell_data(record: Record) -> "Data":
    """Load the data that a cell was trained on, from its configuration.

    Raises:
        UserError: they are not there, or they are others than those the record names.
    """
    from vitsweep.config.convert import from_dict
    from vitsweep.data.load import load_data
    from vitsweep.tracking.privacy import HIDDEN

    wanted = from_dict(record.config)
    if record.config["data"]["root"] == HIDDEN and wanted.data.name != "shapes":
        why = "is hidden, since this is a copy (a published study, W&B)"
        raise UserError(f"data.root={HIDDEN}  {why}; use the study's own directory")
    wanted.data.download = False  # a report must not fetch a data set
    data = load_data(wanted)
    if data.fingerprint != record.data_fingerprint:
        raise UserError(
            f"The images now found ({data.fingerprint[:8]}) are not those that the cells were trained on "
            f"({record.data_fingerprint[:8]}), so no rollout is shown."
        )
    return data


def with_same_data(rows: list[tuple[dict, Record]]) -> tuple[list[tuple[dict, Record]], list[str]]:
    """Keep the cells that share the first one's data; with a note about the others."""
    fingerprint = rows[0][1].data_fingerprint
    others = [f"{row['arm']} seed {row['seed']}" for row, record in rows if record.data_fingerprint != fingerprint]
    kept = [(row, record) for row, record in rows if record.data_fingerprint == fingerprint]
    return kept, [f"Trained on other data, so not shown: {', '.join(others)}."] if others else []


def select_images(data: "Data", chosen: ImageChoice) -> Views:
    """Return the chosen images, without any view yet."""
    return Views(
        image_NHWC=data.test.image_NCHW[chosen.index_N].permute(0, 2, 3, 1).cpu().numpy(),
        label_N=data.test.label_N[chosen.index_N].cpu().numpy(),
        id_N=data.test.id_N[chosen.index_N].cpu().numpy(),
        classes=[printable(name) for name in data.classes],
        rule=chosen.rule,
        model_views=[],
    )


def cell_view(row: dict, record: Record, views: Views, settings: ViewSettings) -> ModelView:
    """Compute one cell's view of the chosen images.

    Raises:
        UserError: no checkpoint, one that does not fit, a model without attention, attention that is not finite.
    """
    from vitsweep.train.checkpoint import load_model

    model = load_model(row["directory"], settings.which)
    return attention_view(model, record.normalisation, views, settings, row)


def views_over_training(row: dict, record: Record, views: Views, settings: ViewSettings) -> list[ModelView]:
    """Compute a cell's views before training and after kept epochs, at most MAX_EPOCHS, evenly spaced.

    Empty if none were kept.
    """
    import safetensors.torch

    from vitsweep.config.convert import from_dict
    from vitsweep.model.build import make_model

    kept = epoch_checkpoints(Path(row["directory"]))
    if not kept:
        return []
    model = make_model(from_dict(record.config))  # with the weights that training began with: epoch 0
    model_views = [attention_view(model, record.normalisation, views, settings, row | {"shown_epoch": 0})]
    places = np.unique(np.linspace(0, len(kept) - 1, min(len(kept), MAX_EPOCHS - 1)).round().astype(int))
    for epoch in (list(kept)[place] for place in places):
        model.load_state_dict(safetensors.torch.load_file(kept[epoch]))
        model_views.append(attention_view(model, record.normalisation, views, settings, row | {"shown_epoch": epoch}))
    return model_views


def attention_view(model: Any, normalisation: dict, views: Views, settings: ViewSettings, row: dict) -> ModelView:
    """Compute a model's view of the chosen images.

    Raises:
        UserError: another number of classes, or logits that are not finite.
    """
    from .maps import attention_maps

    device = next(model.parameters()).device
    image_NCHW = views.image_NCHW.to(device)
    maps = attention_maps(model, image_NCHW, normalisation, variant=settings.variant, alpha=settings.alpha)
    of_model, of_data = maps.logit_NK.shape[1], len(views.classes)
    if of_model != of_data:
        raise UserError(f"the model has {of_model} classes, the data have {of_data}")
    if not np.isfinite(maps.logit_NK).all():
        raise UserError("the model's logits are not finite")
    return ModelView(
        arm=row["arm"],
        role=row["role"],
        seed=int(row["seed"]),
        directory=str(row["directory"]),
        patch_size=model.config.patch_size,
        maps=maps,
        epoch=row.get("shown_epoch"),
    )


def source_table(views: Views) -> pd.DataFrame:
    """Tabulate the numbers behind the pictures: a row a model and image."""
    from .measures import map_measures

    parts = []
    for view in views.model_views:
        probability_NK = view.maps.probabilities
        predicted_N = probability_NK.argmax(1)
        frame = pd.DataFrame(
            {
                "arm": view.arm,
                "seed": view.seed,
                "image": views.id_N,
                "label": [views.classes[k] for k in views.label_N],
                "predicted": [views.classes[k] for k in predicted_N],
                "confidence": probability_NK.max(1).astype(float),
            }
        )
        prefix_N = view.maps.mass_NT.sum(1) - view.maps.patches.sum(1)
        measured = map_measures(view.maps.patches, view.maps.grid, view.patch_size)
        parts.append(pd.concat([frame, measured, pd.Series(prefix_N.astype(float), name="prefix_mass")], axis=1))
        if view.epoch is not None:
            parts[-1].insert(2, "epoch", view.epoch)
    return pd.concat(parts, ignore_index=True)
