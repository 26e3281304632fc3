"""Pictures of one cell, drawn when it has finished: its training graph and its rollouts of seven test images.

Called by name from the tracker's configuration, in the process that trained, so it must be quick and must not
disturb: no pyplot, no global state, the model as it was.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitsweep.study.record import Record, read_record, read_rows

from .attention.images import spread_over_classes
from .attention.looks import ViewSettings, attention_view, select_images
from .gallery.panels import how, title_of
from .gallery.views import pairs_sheet
from .style import theme

if TYPE_CHECKING:
    from torch import nn

    from vitsweep.data.load import Data

FOLDER = "pictures"


def draw_cell(directory: Path, model: "nn.Module", data: "Data") -> list[tuple[str, Path, str]]:
    """Draw both pictures into the cell's `pictures` folder: (name, PNG, caption) of each; no rollout without attention.

    Args:
        directory: the cell's, with its record and its rows.
        model: the trained network; it is left as it was.
        data: the cell's images, on the model's device.

    Raises:
        UserError: the model's attention is not finite.
    """
    from .attention.maps import has_attention

    folder = Path(directory) / FOLDER
    folder.mkdir(exist_ok=True)
    record = read_record(Path(directory))
    pictures = []
    rows = read_rows(Path(directory))
    if rows:
        path = training_graph(rows, f"{record.arm}, seed {record.seed}", folder / "training.png")
        pictures.append(("training", path, graph_caption(rows)))
    if not has_attention(model):
        return pictures
    path, caption = rollout_sheet(record, Path(directory), model, data, folder / "rollout.png")
    return [*pictures, ("rollout", path, caption)]


def rollout_sheet(record: Record, directory: Path, model: "nn.Module", data: "Data", path: Path) -> tuple[Path, str]:
    """The seven images, each beside its overlay."""
    settings = ViewSettings()
    chosen = spread_over_classes(data.test.label_N.cpu().numpy())
    views = select_images(data, chosen)
    row = {"arm": record.arm, "role": record.role, "seed": record.seed, "directory": directory}
    normalisation = {"mean": data.mean, "std": data.std}
    view = attention_view(model, normalisation, views, settings, row)
    title = f"{title_of(settings)}: {record.arm}, seed {record.seed}"
    caption = f"{record.arm}, seed {record.seed}, image beside overlay. {how(views, settings)}"
    return pairs_sheet(views, view, path, title), caption


def training_graph(rows: list[dict[str, Any]], name: str, path: Path) -> Path:
    """Loss and accuracy by epoch, training and validation, side by side."""
    with theme("light") as colour:
        figure = Figure(figsize=(8, 3), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, quantity, label in zip(
            figure.subplots(1, 2), ("loss", "accuracy"), ("cross-entropy", "accuracy, %"), strict=True
        ):
            draw_curves(axes, rows, quantity, colour)
            axes.set(xlabel="epoch", ylabel=label)
        figure.suptitle(f"Training graph: {name}", x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        figure.savefig(path, dpi=figure.dpi, metadata={"Software": None})
    return path


def draw_curves(axes: Any, rows: list[dict[str, Any]], quantity: str, colour: dict[str, str]) -> Any:
    """One quantity's two curves with their names at the end; a point marks the best validation epoch."""
    scale = 100 if quantity == "accuracy" else 1
    epochs = [row["epoch"] for row in rows]
    for split, look in (("train", {"color": colour["s2"], "linestyle": "--"}), ("val", {"color": colour["s1"]})):
        known = [row[f"{split}/{quantity}"] for row in rows]
        values = [float("nan") if value is None else scale * value for value in known]
        axes.plot(epochs, values, marker="o" if len(rows) < 3 else None, markersize=3, label=split, **look)
    best = best_row(rows)
    if best:
        axes.plot(best["epoch"], scale * best[f"val/{quantity}"], marker="o", markersize=5, color=colour["s1"])
    axes.legend(loc="best", fontsize=8)
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return axes


def best_row(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The epoch with the lowest validation loss, the one whose weights are kept as best."""
    known = [row for row in rows if row["val/loss"] is not None]
    return min(known, key=lambda row: row["val/loss"]) if known else None


def graph_caption(rows: list[dict[str, Any]]) -> str:
    """What the graph shows, with its end and its best epoch in numbers."""
    best, last = best_row(rows), rows[-1]
    length = f"{len(rows)} epoch{'s' if len(rows) > 1 else ''}"
    words = f"{length}. Training values are running ones, with dropout and augmentation on."
    if best is None:
        return words
    return (
        f"{words} Lowest validation loss {best['val/loss']:.3f} at epoch {best['epoch']} (point), accuracy there "
        f"{best['val/accuracy']:.1%}; after the last epoch {last['val/accuracy'] or 0:.1%}."
    )
