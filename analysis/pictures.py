"""Pictures of one finished cell: its training graph, and its rollouts on seven test images.

The tracker's configuration names `draw_cell`. It runs in the process that trained: it is quick, leaves the model as it
was, and touches neither pyplot nor other global state.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitsweep.study.record import Record, read_record, read_rows

from .attention.images import spread_over_classes
from .attention.looks import ViewSettings, attention_view, select_images
from .gallery.panels import cell_text, map_title, method_text
from .gallery.sheets import pairs_sheet
from .style import theme

if TYPE_CHECKING:
    from torch import nn

    from vitsweep.data.load import Data

FOLDER = "pictures"


def draw_cell(directory: Path, model: "nn.Module", data: "Data") -> list[tuple[str, Path, str]]:
    """Draw the pictures into the cell's `pictures` folder and return name, PNG and caption of each.

    A model without attention has no rollout, a cell without rows no training graph.

    Args:
        directory: the cell's, with its record and its rows.
        model: the trained network; it is left as it was.
        data: the cell's images, on the model's device.

    Raises:
        UserError: the model's attention is not finite.
    """
    from .attention.maps import has_attention

    directory = Path(directory)
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    record, rows, pictures = read_record(directory), read_rows(directory), []
    if rows:
        path = training_graph(rows, f"{record.arm}, seed {record.seed}", folder / "training.png")
        pictures.append(("training", path, graph_caption(rows)))
    if has_attention(model):
        pictures.append(("rollout", *rollout_sheet(record, directory, model, data, folder / "rollout.png")))
    return pictures


def rollout_sheet(record: Record, directory: Path, model: "nn.Module", data: "Data", path: Path) -> tuple[Path, str]:
    """Draw the seven images, each beside its overlay; return the path and the caption."""
    settings = ViewSettings()
    views = select_images(data, spread_over_classes(data.test.label_N.cpu().numpy()))
    row = {"arm": record.arm, "role": record.role, "seed": record.seed, "directory": directory}
    view = attention_view(model, {"mean": data.mean, "std": data.std}, views, settings, row)
    caption = f"{cell_text(view)}, image beside overlay. {method_text(views, settings)}"
    return pairs_sheet(views, view, path, f"{map_title(settings)}: {cell_text(view)}"), caption


def training_graph(rows: list[dict[str, Any]], name: str, path: Path) -> Path:
    """Draw loss and accuracy by epoch, training and validation, side by side."""
    with theme("light") as color:
        figure = Figure(figsize=(8, 3), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        labels = {"loss": "cross-entropy", "accuracy": "accuracy, %"}
        for ax, (quantity, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
            draw_curves(ax, rows, quantity, color)
            ax.set(xlabel="epoch", ylabel=label)
        figure.suptitle(f"Training graph: {name}", x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        figure.savefig(path, dpi=figure.dpi, metadata={"Software": None})
    return path


def draw_curves(ax: Axes, rows: list[dict[str, Any]], quantity: str, color: dict[str, str]) -> Axes:
    """Draw one quantity of training and validation; a point marks the best validation epoch."""
    scale = 100 if quantity == "accuracy" else 1
    epochs = [row["epoch"] for row in rows]
    looks: dict[str, dict[str, Any]] = {
        "train": {"color": color["s2"], "linestyle": "--"},
        "val": {"color": color["s1"]},
    }
    for split, look in looks.items():
        known = [row[f"{split}/{quantity}"] for row in rows]
        values = [float("nan") if value is None else scale * value for value in known]
        ax.plot(epochs, values, marker="o" if len(rows) < 3 else None, markersize=3, label=split, **look)
    best = best_row(rows)
    if best:
        ax.plot(best["epoch"], scale * best[f"val/{quantity}"], marker="o", markersize=5, color=color["s1"])
    ax.legend(loc="best", fontsize=8)
    ax.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return ax


def best_row(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the epoch with the lowest validation loss, whose weights are kept as best; None if all are unknown."""
    known = [row for row in rows if row["val/loss"] is not None]
    return min(known, key=lambda row: row["val/loss"]) if known else None


def graph_caption(rows: list[dict[str, Any]]) -> str:
    """Return the training graph's caption, with its best and its last epoch in numbers."""
    best, last = best_row(rows), rows[-1]
    length = f"{len(rows)} epoch{'s' if len(rows) > 1 else ''}"
    words = f"{length}. Training values are running ones, with dropout and augmentation on."
    if best is None:
        return words
    return (
        f"{words} Lowest validation loss {best['val/loss']:.3f} at epoch {best['epoch']} (point), accuracy there "
        f"{best['val/accuracy']:.1%}; after the last epoch {last['val/accuracy'] or 0:.1%}."
    )
