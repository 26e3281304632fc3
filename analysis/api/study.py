"""Study: everything that is known of a study from its records, as frames, sentences, figures and trained cells."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path

import pandas as pd

from vitsweep.added_fields import from_values
from vitsweep.errors import RecordError, printable
from vitsweep.study.plan import Cell as PlannedCell
from vitsweep.study.plan import Plan

from ..attention.measures import COLUMNS
from ..records.load import StudyRecords
from ..records.load import load as load_records
from ..records.run_columns import run_columns
from ..records.selection import DEFAULT_METRIC, Selection, select
from ..records.wandb_runs import is_wandb_source
from ..report.findings import findings
from ..report.paper.content import paper_table
from ..report.paper.options import PaperOptions
from ..report.report import check_metric, check_pooled, make_measures, make_report
from ..report.sections import make_parts
from ..report.tables import Table
from ..statistics.judgement import Judgement, judge
from ..statistics.sequential import follow_looks
from ..units import in_percent
from .cells import Arm, Cell
from .names import argument_errors, refuse_name
from .planning import StudyPlan
from .plots import Plots

SHOWN_LAST = ["directory"]


class Study(Mapping[str, Arm]):
    """Study read from its records; a mapping from arms to their cells.

    In a notebook it shows the comparison table. Frames are of the comparable cells, as in the report; `notes` names
    what is left out. A study that is still running is read as it is now: load it again for later results.

    >>> study = vs.load("outputs/patch_size-shapes-quick-d24647")
    >>> study
    Study(patch_size-shapes-quick-d24647: 2 arms, 4 of 4 runs finished)
    >>> list(study), study.baseline, study.metric
    (['baseline', 'patch_size=8'], 'baseline', 'test/accuracy')
    >>> study["patch=8"]  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    vitsweep...UnknownNameError: arm=patch=8  is not there; did you mean patch_size=8? Allowed: baseline, patch_size=8
    """

    def __init__(self, loaded: StudyRecords, sources: list[str], metric: str = DEFAULT_METRIC, baseline: str = ""):
        self._loaded, self.sources, self.metric = loaded, sources, metric
        self._selection: Selection = follow_looks(select(loaded, baseline), metric)
        self.name = self._selection.study
        self.baseline = self._selection.baseline
        self.notes = [*loaded.problems, *self._selection.notes]
        """A sentence for everything that could not be read, is left out or unexpected."""

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Return a row a cell: arm, seed, status, `level/<factor>`, `config/<key>`, `final/<metric>`, cost, ...

        Accuracies are percent, as in the report's runs.csv: `final/test/accuracy_percent`.

        >>> cells = study.cells
        >>> cells[["arm", "seed", "level/patch_size", "status"]].values.tolist()[2:]
        [['patch_size=8', 0, 8, 'done'], ['patch_size=8', 1, 8, 'done']]
        """
        return pd.concat([run_columns(self._selection), self._selection.cells[SHOWN_LAST]], axis=1)

    @cached_property
    def history(self) -> pd.DataFrame:
        """Return a row a cell and epoch: cell, arm, seed, epoch, losses, accuracies in percent, lr and time.

        >>> history = study.history
        >>> len(history), history["epoch"].unique().tolist()
        (8, [1.0, 2.0])
        """
        return in_percent(self._selection.history)

    @property
    def arms(self) -> pd.DataFrame:
        """Return the comparison table, a row an arm, as in the report's arms.csv.

        >>> arms = study.arms
        >>> arms[["arm", "n"]].values.tolist()
        [['baseline', 2], ['patch_size=8', 2]]
        >>> {"mean_percent", "delta_points", "ci_low_points", "p_holm", "verdict"} <= set(arms)
        True
        """
        return self.table("arms")

    @property
    def claims(self) -> pd.DataFrame:
        """Return a row a claim of the study file: verdict, estimate, interval, evidence; empty without claims.

        >>> len(study.claims)
        0
        """
        return self._judgement.claims.copy()

    @cached_property
    def findings(self) -> list[str]:
        """Return the sentences of the report's Findings.

        >>> study.findings[0]  # doctest: +ELLIPSIS
        'The baseline reaches a test accuracy of ... % (mean of 2 seeds, standard deviation ... points).'
        """
        return [printable(sentence) for sentence in findings(self._judgement)]

    @cached_property
    def plan(self) -> StudyPlan | None:
        """Return the study's plan, with its cost and power; None for cells without one.

        >>> study.plan
        StudyPlan(patch_size-shapes-quick-d24647: 2 arms x 2 seeds = 4 cells)
        """
        values = self._selection.plan
        if values is None:
            return None
        cells = [PlannedCell(**from_values(PlannedCell, cell)) for cell in values["cells"]]
        is_one = len(self.sources) == 1 and not is_wandb_source(self.sources[0])
        directory = Path(self.sources[0]).absolute() if is_one else None
        return StudyPlan(Plan(**from_values(Plan, values) | {"cells": cells}), directory)

    @property
    def plot(self) -> Plots:
        """Return the report's figures: effects, seeds, curves, cost, classes, rollout.

        >>> ax = study.plot.effects()
        >>> ax.get_xlabel()
        'difference to the baseline in test accuracy, percent points'
        """
        return Plots(self)

    @property
    def tables(self) -> list[str]:
        """Return the names of the report's tables that this study has.

        >>> study.tables
        ['arms', 'best-epoch', 'images', 'runs']
        """
        return list(self._tables)

    def table(self, name: str = "arms") -> pd.DataFrame:
        """Return one of the report's tables, unrounded, as in its CSV file.

        >>> study.table("best-epoch")["arm"].tolist()
        ['baseline', 'patch_size=8']

        Raises:
            UserError: the study has no such table.
        """
        return self._table(name).named_frame.reset_index(drop=True)

    def to_markdown(self, table: str = "arms") -> str:
        """Return a table of the report as GitHub Markdown, rounded as it is shown, with its notes.

        >>> print(study.to_markdown().splitlines()[0])  # doctest: +ELLIPSIS
        | arm | seeds | test accuracy, % | effect, points \\[95 % interval\\] | verdict |
        """
        return self._table(table).markdown()

    def to_latex(
        self,
        *,
        columns: Sequence[str] | None = None,
        sort: str = "planned",
        digits: int | None = None,
        width: float | None = None,
    ) -> str:
        """Return the study's table for a paper as LaTeX; its first line names the packages that it needs.

        >>> study.to_latex(columns=["arm", "mean", "difference"], digits=1).splitlines()[0]
        '% Packages: booktabs.'

        Args:
            columns: arm, factors (or the name of one), mean, difference, p, verdict, changes, seeds, training,
                parameters, flops, time, speed, published, family; None: the first six.
            sort: order of the arms below the baseline: planned, effect (largest first) or name.
            digits: decimals of means and differences; None: 2 for percent, 4 for other metrics.
            width: text width in points at a base size of 10 pt; None: that of an A4 article at 10, 11 or 12 pt.

        Raises:
            RecordError: a column or an order is unknown, or the columns do not fit the width.
        """
        names = None if columns is None else tuple(columns)
        with argument_errors():
            options = PaperOptions(columns=names, sort=sort, digits=digits, width=width)
            return paper_table(self._judgement, options).latex()

    def report(self, path: str | Path | None = None, *, gallery: str = "make", sort: str = "planned") -> Path:
        """Write the whole report and return the path of its index.html.

        >>> study.report("paper", gallery="none")
        PosixPath('paper/index.html')

        Args:
            path: folder to write; None: `report` in the study's directory; against another arm than the study's own
                baseline, `report-baseline=<arm>`.
            gallery: rollout gallery: make (needs torch and checkpoints), keep (of the last report) or none.
            sort: order of the comparison table: planned or effect.

        Raises:
            RecordError: `path` holds other files of that name, or there is no such gallery or order.
        """
        with argument_errors():
            baseline = self.baseline if self._selection.own_baseline else ""
            return make_report(
                *self.sources, out=path, gallery=gallery, metric=self.metric, sort=sort, baseline=baseline
            )

    def __getitem__(self, arm: str) -> Arm:
        selection = self._selection
        if arm not in selection.arms:
            refuse_name("arm", arm, selection.arms)
        cells = {}
        for row in selection.cells[selection.cells["arm"] == arm].to_dict("records"):
            history = self._histories.get(row["cell"], self.history.iloc[:0])
            cells[int(row["seed"])] = Cell(row["cell"], row["directory"], row["record"], history)
        return Arm(arm, selection.roles[arm], selection.levels[arm], selection.changes[arm], cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self._selection.arms)

    def __len__(self) -> int:
        return len(self._selection.arms)

    def __repr__(self) -> str:
        num_arms, cells = len(self), self._selection.cells
        arms = f"{num_arms} arm{'' if num_arms == 1 else 's'}"
        return printable(f"Study({self.name}: {arms}, {len(self._selection.done())} of {len(cells)} runs finished)")

    def _repr_html_(self) -> str:
        """Return the comparison table as HTML, for notebooks."""
        table = self._table("arms")
        heads = "".join(f"<th>{escape(column.title)}</th>" for column in table.shown_columns)
        left = ' style="text-align: left"'
        looks = ["" if column.numeric else left for column in table.shown_columns]
        rows = [
            "".join(f"<td{look}>{escape(t)}</td>" for look, t in zip(looks, row, strict=True)) for row in table.texts
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        notes = " ".join([table.caption, *table.all_notes])
        return printable(
            f"<div><p><strong>{escape(repr(self))}</strong></p><table><thead><tr>{heads}</tr></thead>"
            f"<tbody>{body}</tbody></table><p><small>{escape(notes)}</small></p></div>"
        )

    @cached_property
    def _histories(self) -> dict[str, pd.DataFrame]:
        return dict(iter(self.history.groupby("cell", sort=False)))

    @cached_property
    def _judgement(self) -> Judgement:
        measures = make_measures(self._loaded)[0] if self.metric in COLUMNS else None
        return judge(self._loaded, self.metric, measures, self.baseline if self._selection.own_baseline else "")

    @cached_property
    def _tables(self) -> dict[str, Table]:
        return {table.name: table for table in make_parts(self._judgement, "planned", []).tables}

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            refuse_name("table", name, self._tables)
        return self._tables[name]


def load(*sources: str | Path, metric: str = DEFAULT_METRIC, baseline: str = "") -> Study:
    """Load a study from the directories of its sweeps or cells, or from W&B.

    >>> vs.load("outputs/patch_size-shapes-quick-d24647", metric="val/accuracy").metric
    'val/accuracy'
    >>> vs.load("outputs/patch_size")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    vitsweep.errors.RecordError: outputs/patch_size  is not a directory; ...

    Args:
        sources: directories, which are pooled where their baselines are equal, and
            `wandb:ENTITY/PROJECT?group=STUDY`.
        metric: metric that arms are compared by, after the last epoch: test/accuracy, val/loss,
            average/test/accuracy, ..., or a measure of the best checkpoint's rollout: rollout/entropy, ...
        baseline: arm that the others are compared with in place of the study's baseline; verdicts are exploratory then.

    Raises:
        RecordError: a directory does not exist, holds no study or another one, the metric or arm is unknown, or W&B
            cannot be read.
    """
    if not sources:
        raise RecordError("vs.load()  has nothing to load; give a sweep's directory, such as outputs/<study>")
    names = [str(source) for source in sources]
    with argument_errors():
        check_metric(metric, "make")
    for name in names:
        if not is_wandb_source(name) and not Path(name).is_dir():
            raise RecordError(f"{name}  is not a directory; {_nearest_directory(Path(name))}")
    loaded = load_records(*names)
    if loaded.cells.empty and not loaded.plans:
        raise RecordError(f"{', '.join(names)}  holds no record and no plan; name a sweep, such as outputs/<study>")
    with argument_errors():
        study = Study(loaded, names, metric, baseline)
    check_pooled(names, loaded, study._selection)
    return study


def _nearest_directory(path: Path) -> str:
    """Return the remedy for a directory that is not there: a similar name beside it, if there is one."""
    beside = [one.name for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
    nearest = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean {path.parent / nearest[0]}?" if nearest else "give a sweep's or a cell's directory"
