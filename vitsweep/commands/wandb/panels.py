"""Panels of a study's W&B workspace and W&B report, built with wandb-workspaces.

Runs are grouped by arm: curves are the mean over seeds with a band from lowest to highest, as in our own report. Every
panel shows all runs, not W&B's sample. Import this module late: wandb_workspaces is an extra, and takes half a second.
"""

from dataclasses import dataclass, field
from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr
from wandb_workspaces import workspaces as ws

ARM = "arm"
CURVES = ("val/accuracy", "val/loss", "train/accuracy", "train/loss")
OUTCOMES = ("final/test/accuracy", "best/test/accuracy")
EXPLORED = "final/val/accuracy"  # exploration of factors uses validation data, never test data
PICTURES = ("rollout", "training")
WIDTH, HEIGHT = 12, 8  # panel size in a report's grid, which is 24 wide
NO_VERDICTS = "There is no report yet. `python -m vitsweep.analysis report` makes it; then run this command again."


@dataclass(kw_only=True)
class Subject:
    """Study that a dashboard shows."""

    study: str
    project: str
    entity: str = ""
    """W&B user or team; empty while nothing is saved, since W&B would check it."""
    num_cells: int
    factors: list[str] = field(default_factory=list)
    """Dotted keys in which arms differ from the baseline."""
    verdicts: str = ""
    """Markdown of our report: findings, claims, comparison. Empty before there is one."""


def make_workspace(subject: Subject) -> ws.Workspace:
    """Return a saved view of the study's runs, grouped by arm."""
    verdicts = wr.MarkdownPanel(markdown=subject.verdicts or NO_VERDICTS)
    layout = ws.SectionLayoutSettings(columns=2, rows=2)
    sections = [
        ws.Section(name="Verdicts", panels=[verdicts], is_open=True),
        ws.Section(name="Learning curves", panels=curves(subject), is_open=True, layout_settings=layout),
        ws.Section(name="Results", panels=results(subject), is_open=True, layout_settings=layout),
        ws.Section(name="Factors", panels=factors(subject), is_open=True, layout_settings=layout),
        ws.Section(name="Pictures", panels=pictures(), is_open=True, layout_settings=layout),
        ws.Section(name="Differences between runs", panels=[wr.RunComparer(diff_only=True)], is_open=True),
    ]
    return ws.Workspace(
        entity=subject.entity,
        project=subject.project,
        name=f"{subject.study}: ablation",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", group_by_prefix="first", max_runs=subject.num_cells),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == subject.study),
            groupby=[ws.Config(ARM)],
            order=[ws.Ordering(ws.Metric("Name"), ascending=True)],  # `<arm> seed=<n>`
            pinned_columns=["run:displayName", "summary:status", *(f"summary:{name}" for name in OUTCOMES)],
        ),
    )


def make_report(subject: Subject) -> wr.Report:
    """Return a W&B report of the study: our verdicts as text, W&B's panels below."""
    grids = {
        "Learning curves": (curves(subject), "Mean over the seeds of an arm; the band reaches from lowest to highest."),
        "Results": (
            results(subject),
            "Mean over seeds with one standard deviation. The verdicts are in the text above.",
        ),
        "Factors": (factors(subject), f"Exploratory, on {EXPLORED}: it ranks settings, and decides nothing."),
        "Pictures": (pictures(), "Attention rollouts of the same test images in every run, and its training graph."),
        "Differences between runs": ([wr.RunComparer(diff_only=True)], "Only what differs."),
    }
    blocks: list[Any] = [wr.MarkdownBlock(text=subject.verdicts or NO_VERDICTS)]
    for title, (panels, caption) in grids.items():
        place(panels)
        grid = wr.PanelGrid(runsets=[runset(subject)], panels=panels)
        blocks += [wr.H2(text=title), wr.P(text=caption), grid]
    return wr.Report(
        project=subject.project,
        entity=subject.entity,
        title=f"Ablation study: {subject.study}"[:128],
        description="Made by `python -m vitsweep wandb dashboard`.",
        blocks=blocks,
        width="fluid",
    )


def runset(subject: Subject) -> Any:
    """Return the study's runs, grouped by arm."""
    return wr.Runset(
        entity=subject.entity,
        project=subject.project if subject.entity else "",
        name=subject.study,
        filters=expr.And(expr.Metric("Group") == subject.study),
        groupby=[f"config.{ARM}"],
    )


def place(panels: list[Any]) -> None:
    """Lay a report's panels out in two columns; a single one fills the row."""
    for number, panel in enumerate(panels):
        row, column = divmod(number, 2)
        width = 2 * WIDTH if len(panels) == 1 else WIDTH
        panel.layout = wr.Layout(x=column * WIDTH, y=row * HEIGHT, w=width, h=HEIGHT)


def curves(subject: Subject) -> list[Any]:
    """Return plots of loss and accuracy by epoch, with a line and a band for each arm."""
    return [
        wr.LinePlot(
            title=name,
            x="epoch",
            y=[name],
            groupby=wr.Config(ARM),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            smoothing_factor=0,
            max_runs_to_show=subject.num_cells,
        )
        for name in CURVES
    ]


def results(subject: Subject) -> list[Any]:
    """Return bar plots of each arm's test accuracy, with the standard deviation over seeds."""
    return [
        wr.BarPlot(
            title=name,
            metrics=[name],
            groupby=wr.Config(ARM),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_runs_to_show=subject.num_cells,
            max_bars_to_show=subject.num_cells,
        )
        for name in OUTCOMES
    ]


def factors(subject: Subject) -> list[Any]:
    """Return parallel coordinates and parameter importance of the factors for validation accuracy."""
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in subject.factors]
    axes += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(EXPLORED))]
    importance = wr.ParameterImportancePlot(with_respect_to=EXPLORED)
    return [wr.ParallelCoordinatesPlot(title="factors and validation accuracy", columns=axes), importance]


def pictures() -> list[Any]:
    """Return media browsers with the pictures of every run side by side."""
    return [
        wr.MediaBrowser(title=name, media_keys=[name], num_columns=2, mode="gallery", gallery_axis="run")
        if name != "rollout"
        else wr.MediaBrowser(title=name, media_keys=[name], mode="grid", grid_x_axis="step", grid_y_axis="run")
        for name in PICTURES
    ]
