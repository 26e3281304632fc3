"""Plots: the report's figures on axes of the caller's, or on new ones. Nothing is drawn here: study_figures does."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from vitsweep.errors import RecordError, UserError

from ..attention.looks import ViewSettings, collect_views, merge_notes
from ..gallery.gallery import accuracy_texts, baseline_first
from ..gallery.panels import map_title
from ..gallery.sheets import lay_out_arms
from ..report import study_figures
from ..report.draw_curves import CURVES
from ..report.figures import Figure
from ..statistics.effects import display_scale
from ..style import theme
from .cells import image_rule
from .names import argument_errors, refuse_name

if TYPE_CHECKING:
    from .study import Study


class Plots:
    """Figures of a study: `study.plot.effects()`. Each takes axes and returns them; an arm has one color in all.

    Without `ax` a figure as in the report is made with pyplot. `arms` are those to show, in the study's order; by
    default all; of many, those with the largest effects have a color or a row, as in the report.

    >>> _, (left, right) = plt.subplots(1, 2)
    >>> study.plot.effects(left) is left, study.plot.curves(right, metric="val/loss") is right
    (True, True)
    """

    def __init__(self, study: "Study"):
        self._study = study

    def effects(self, ax: Axes | None = None, *, arms: Sequence[str] | None = None) -> Axes:
        """Draw each arm's difference to the baseline with its intervals.

        >>> study.plot.effects().get_xlabel()
        'difference to the baseline in test accuracy, percent points'

        Raises:
            RecordError: no arm shares a finished seed with the baseline, or the metric is no accuracy.
        """
        self._need_accuracy("effects")
        figure = study_figures.forest(self._judgement, self._arms(arms))
        return self._draw("effects", figure, ax, "no arm shares a finished seed with the baseline")[0]

    def seeds(self, ax: Axes | None = None, *, arms: Sequence[str] | None = None) -> Axes:
        """Draw every run, runs of one seed joined, and each arm's mean.

        >>> [label.get_text() for label in study.plot.seeds().get_yticklabels()]
        ['baseline', 'patch_size=8']

        Raises:
            RecordError: fewer than two seeds have finished, or the metric is no accuracy.
        """
        self._need_accuracy("seeds")
        figure = study_figures.strip(self._judgement, self._arms(arms))
        return self._draw("seeds", figure, ax, "fewer than two seeds have finished")[0]

    def curves(
        self,
        ax: Axes | Sequence[Axes] | np.ndarray | None = None,
        *,
        metric: str | None = None,
        arms: Sequence[str] | None = None,
    ) -> Any:
        """Draw the training graph: mean and range of the finished seeds by epoch.

        >>> [ax.get_title("left") for ax in study.plot.curves()]
        ['training loss', 'validation loss', 'training accuracy, %', 'validation accuracy, %']

        Args:
            ax: one axes for one metric, or four.
            metric: train/loss, val/loss, train/accuracy or val/accuracy; None: val/accuracy on one axes, else all four.

        Raises:
            RecordError: no run has finished, or the metric has no curve.
        """
        if metric is None and isinstance(ax, Axes):
            metric = "val/accuracy"
        if metric is not None and metric not in CURVES:
            refuse_name("metric", metric, CURVES)
        wanted = self._arms(arms)
        if metric is not None:
            figure = study_figures.one_curve(self._judgement, metric, wanted)
        else:
            figure = next(iter(study_figures.curves(self._judgement, wanted)), None)
        axes = self._draw("curves", figure, ax, "no run has finished with epochs")
        return axes[0] if metric is not None else axes

    def cost(
        self,
        ax: Axes | Sequence[Axes] | np.ndarray | None = None,
        *,
        by: str | None = None,
        arms: Sequence[str] | None = None,
    ) -> Any:
        """Draw accuracy against cost; the line joins the arms that no arm beats at equal or lower cost.

        >>> study.plot.cost(by="params").get_xlabel()
        'trainable parameters'

        Args:
            ax: one axes for one cost, or as many as costs differ.
            by: params, flops_per_image or time_seconds; None: params on one axes, else each that differs.

        Raises:
            RecordError: fewer than two arms have finished, the cost is the same, or the metric is no accuracy.
        """
        self._need_accuracy("cost")
        if by is None and isinstance(ax, Axes):
            by = "params"
        if by is not None and by not in study_figures.COSTS:
            refuse_name("by", by, study_figures.COSTS)
        figure = study_figures.cost(self._judgement, self._arms(arms), by)
        what = study_figures.COSTS[by] if by else "cost"
        axes = self._draw("cost", figure, ax, f"fewer than two arms have finished with another number of {what}")
        return axes[0] if by is not None else axes

    def classes(self, ax: Axes | None = None, *, arms: Sequence[str] | None = None) -> Axes:
        """Draw each arm's difference to the baseline by class.

        >>> len(study.plot.classes().get_xticklabels())
        10

        Raises:
            RecordError: arms have no predictions, or the data too many classes.
        """
        figure = study_figures.class_figure(self._judgement, self._arms(arms))
        most = study_figures.MAX_CLASSES
        why = f"no arm shares predictions of a seed with the baseline, or there are more than {most} classes"
        return self._draw("classes", figure, ax, why)[0]

    def rollout(
        self,
        images: int | str | Sequence[int] = 7,
        arms: Sequence[str] | None = None,
        ax: Axes | None = None,
        *,
        variant: str = "rollout",
        alpha: float = 0.5,
        which: str = "best",
    ) -> Axes:
        """Draw where the models look: the same test images under one cell of each arm.

        >>> len(study.plot.rollout(3).images)  # three images, three overlays for each of two arms, and the color bar
        10

        Args:
            images: their number; a rule (`ids=3,17`, `class=cat:4`, `disagree:16`, `wrong:16`); or a list of ids.
            arms: those to show; None: all that have attention.
            ax: axes, on which the page is drawn as large as fits.
            variant: rollout, max, min, topk, calibrated, last or relevance.
            alpha: weight of the residual path, in [0, 1].
            which: checkpoint: `best` or `last`.

        Raises:
            UserError: nothing can be shown: no checkpoint, no data, no attention, or images that are not there.
        """
        from torch.random import fork_rng

        settings = ViewSettings(images=image_rule(images), variant=variant, alpha=alpha, which=which)
        cells = _one_seed(baseline_first(self._study._selection.cells.drop(columns="record")), self._arms(arms))
        with fork_rng(devices=[]), argument_errors():
            views = collect_views(cells, settings)
        if views.notes and arms is not None:
            raise UserError(" ".join(merge_notes(views.notes)))
        for note in merge_notes(views.notes):
            warnings.warn(note, stacklevel=2)
        sheet = lay_out_arms(views, map_title(settings), accuracy_texts(cells, which))
        if ax is None:
            canvas = new_canvas((sheet.size[0] / 72, sheet.size[1] / 72))
            ax = canvas.add_axes((0, 0, 1, 1))
        return sheet.draw_on(ax)

    @property
    def _judgement(self) -> Any:
        return self._study._judgement

    def _arms(self, arms: Sequence[str] | None) -> list[str] | None:
        """Return the arms to show, checked; None for all."""
        if arms is None:
            return None
        names = [arms] if isinstance(arms, str) else list(arms)
        if not names:
            raise RecordError(
                f"arms={arms}  names no arm; leave it out for all, or name some of {', '.join(self._study)}"
            )
        for name in names:
            if name not in self._study:
                refuse_name("arm", name, self._study)
        return names

    def _need_accuracy(self, name: str) -> None:
        if display_scale(self._study.metric) != 100.0:
            raise RecordError(
                f"plot.{name}  draws accuracies, and this study was loaded with metric={self._study.metric}; "
                "use vs.load(..., metric='test/accuracy')"
            )

    def _draw(self, name: str, figure: Figure | None, ax: Any, why: str) -> np.ndarray:
        """Draw a figure on given or new axes; return them.

        Args:
            why: the reason if there is no figure.

        Raises:
            RecordError: there is none, or the number of axes is another one.
        """
        if figure is None:
            raise RecordError(f"plot.{name}  has nothing to draw: {why}; {self._study!r}")
        with theme("light") as color:
            if ax is None:
                canvas = new_canvas(figure.size, layout="constrained")
                axes = figure.draw(canvas, color)
                if len(axes) == 1:
                    axes[0].set_title(figure.title)
                else:
                    canvas.suptitle(figure.title, x=0.01, ha="left", fontweight="bold")
                return np.array(axes, dtype=object)
            axes = given_axes(name, ax, len(figure.layout(Canvas())))
            figure.paint(axes, color)
            if figure.has_legend:
                axes[0].legend(fontsize="small")
            return np.array(axes, dtype=object)


def new_canvas(inches: tuple[float, float], **settings: Any) -> Any:
    """Return a new figure of pyplot, which a notebook shows and plt.show() opens."""
    from matplotlib import pyplot  # late: it chooses the backend

    with theme("light"):
        return pyplot.figure(figsize=inches, **settings)


def given_axes(name: str, ax: Any, number: int) -> list[Axes]:
    """Return the caller's axes as a list.

    Raises:
        RecordError: they are no axes of matplotlib, or not as many as the figure has.
    """
    axes = [ax] if isinstance(ax, Axes) else list(np.ravel(np.array(ax, dtype=object)))
    if not all(isinstance(one, Axes) for one in axes) or len(axes) != number:
        what = "one axes" if number == 1 else f"{number} axes, such as plt.subplots(1, {number})[1]"
        raise RecordError(f"plot.{name}(ax=...)  needs {what} of matplotlib; or leave ax out")
    return axes


def _one_seed(cells: pd.DataFrame, arms: list[str] | None) -> pd.DataFrame:
    """Return the cell of each arm with the lowest finished seed that the first arm has too, else its lowest."""
    done = cells[cells["status"] == "done"]
    done = done if arms is None else done[done["arm"].isin(arms)]
    if done.empty:
        return done
    first = set(done.loc[done["arm"] == done["arm"].iloc[0], "seed"])
    order = done.assign(_other=~done["seed"].isin(first)).sort_values(["_other", "seed"], kind="stable")
    return done.loc[sorted(order.drop_duplicates("arm").index, key=list(done.index).index)]
