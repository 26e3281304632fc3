"""What a study's dashboard shows in W&B: panels for its workspace and its report, built with wandb-workspaces.

Arms are groups: curves are the mean over the seeds with a band from the lowest to the highest, as in our own report.
W&B shows at most so many runs of a group as it is told; here that is all of them. wandb_workspaces comes late: it is an
extra, and takes half a second.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.workspaces import Workspace

ARM = "arm"
CURVES = ("val/accuracy", "val/loss", "train/accuracy", "train/loss")
OUTCOMES = ("final/test/accuracy", "best/test/accuracy")
EXPLORED = "final/val/accuracy"  # what is looked for among factors is looked for on validation, never on test
PICTURES = ("rollout", "training")
WIDTH, HEIGHT = 12, 8  # of a panel in a report's grid, which is 24 wide
NO_VERDICTS = "There is no report yet. `python -m analysis report` makes it; run this command again afterwards."


@dataclass(kw_only=True)
class Subject:
    """The study that a dashboard is about."""

    study: str
    project: str
    entity: str = ""
    """Empty while nothing is saved: W&B would be asked whether it is there."""
    num_cells: int
    factors: list[str] = field(default_factory=list)
    """Dotted keys in which arms differ from the baseline."""
    verdicts: str = ""
    """Markdown of our report: findings, claims, comparison. Empty before there is one."""


def make_workspace(subject: Subject) -> "Workspace":
    """A saved view of the study's runs, grouped by arm."""
    from wandb_workspaces import workspaces as ws

    layout = ws.SectionLayoutSettings(columns=2, rows=2)
    sections = [
        ws.Section(name="Verdicts", panels=[verdict_panel(subject)], is_open=True),
        ws.Section(name="Learning curves", panels=curves(subject), is_open=True, layout_settings=layout),
        ws.Section(name="Results", panels=results(subject), is_open=True, layout_settings=layout),
        ws.Section(name="Factors", panels=factors(subject), is_open=True, layout_settings=layout),
        ws.Section(name="Pictures", panels=pictures(), is_open=True, layout_settings=layout),
        ws.Section(name="Differences between runs", panels=differences(), is_open=True),
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


def make_report(subject: Subject) -> "Report":
    """The study as a page of W&B: our verdicts as text, W&B's panels below."""
    import wandb_workspaces.reports.v2 as wr

    grids = {
        "Learning curves": (curves(subject), "Mean over the seeds of an arm; the band reaches from lowest to highest."),
        "Results": (
            results(subject),
            "Mean over seeds with one standard deviation. The verdicts are in the text above.",
        ),
        "Factors": (factors(subject), f"Exploratory, on {EXPLORED}: it ranks settings, and decides nothing."),
        "Pictures": (pictures(), "Attention rollouts of the same test images in every run, and its training graph."),
        "Differences between runs": (differences(), "Only what differs."),
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
    """The study's runs, grouped by arm."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    return wr.Runset(
        entity=subject.entity,
        project=subject.project if subject.entity else "",
        name=subject.study,
        filters=expr.And(expr.Metric("Group") == subject.study),
        groupby=[f"config.{ARM}"],
    )


def place(panels: list[Any]) -> None:
    """Lay a report's panels out in two columns; a single one fills the row."""
    import wandb_workspaces.reports.v2 as wr

    for number, panel in enumerate(panels):
        row, column = divmod(number, 2)
        width = 2 * WIDTH if len(panels) == 1 else WIDTH
        panel.layout = wr.Layout(x=column * WIDTH, y=row * HEIGHT, w=width, h=HEIGHT)


def verdict_panel(subject: Subject) -> Any:
    """Our report's text."""
    import wandb_workspaces.reports.v2 as wr

    return wr.MarkdownPanel(markdown=subject.verdicts or NO_VERDICTS)


def curves(subject: Subject) -> list[Any]:
    """Loss and accuracy by epoch, a line with a band for each arm."""
    import wandb_workspaces.reports.v2 as wr

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
    """What each arm has reached on the test images, with the spread over its seeds."""
    import wandb_workspaces.reports.v2 as wr

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
    """Which settings go with which result."""
    import wandb_workspaces.reports.v2 as wr

    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in subject.factors]
    axes += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(EXPLORED))]
    importance = wr.ParameterImportancePlot(with_respect_to=EXPLORED)
    return [wr.ParallelCoordinatesPlot(title="factors and validation accuracy", columns=axes), importance]


def pictures() -> list[Any]:
    """The pictures of every run side by side."""
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.MediaBrowser(title=name, media_keys=[name], num_columns=2, mode="gallery", gallery_axis="run")
        if name != "rollout"
        else wr.MediaBrowser(title=name, media_keys=[name], mode="grid", grid_x_axis="step", grid_y_axis="run")
        for name in PICTURES
    ]


def differences() -> list[Any]:
    """The configurations and results in which runs differ."""
    import wandb_workspaces.reports.v2 as wr

    return [wr.RunComparer(diff_only=True)]
