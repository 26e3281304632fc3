"""Figures of the API are the report's: the same artists, on axes of the caller's or new ones.

Kinds: agrees with the report's figure, obeys properties (axes, colors), refuses with the right words.
"""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from vitsweep.analysis import style
from vitsweep.analysis.report import study_figures
from vitsweep.analysis.report.sections import make_parts

import vitsweep as vs
from tests.support.make_records import make_cell, make_record, make_sweep

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.75], "dropout=none": [0.78, 0.785, 0.79]}
NAMES = ("effects", "seeds", "curves", "cost", "classes")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> vs.Study:
    sweep = make_sweep(tmp_path_factory.mktemp("s") / "study", ARMS, epochs=3, images=200)
    for seed, accuracy in enumerate(ARMS["patch_size=8"]):
        make_cell(sweep, make_record("patch_size=8", seed, accuracy, params=2_000_000), epochs=3, images=200)
    return vs.load(sweep)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def artists(axes) -> list:
    """Positions, colors and texts of everything on the axes."""
    found = []
    for ax in np.ravel(axes):
        lines = [(line.get_xydata().tolist(), to_hex(line.get_color()), line.get_marker()) for line in ax.get_lines()]
        found.append((lines, [text.get_text() for text in ax.texts], ax.get_xlabel(), ax.get_ylabel()))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_figure_is_the_reports(name, made):
    (figure,) = [f for f in make_parts(made._judgement, "planned", []).figures if f.name == name]
    with style.theme("light") as color:
        reported = figure.draw(Canvas(figsize=figure.size), color)
    assert artists(getattr(made.plot, name)()) == artists(reported)


@pytest.mark.parametrize("name", NAMES)
def test_given_axes_are_drawn_on_and_returned(name, made):
    figure, (ax, other) = plt.subplots(1, 2)
    assert getattr(made.plot, name)(ax) is ax
    assert (ax.lines or ax.patches) and not other.lines and figure.axes == [ax, other]


def test_four_axes_take_the_whole_training_graph(made):
    _, axes = plt.subplots(2, 2)
    assert list(made.plot.curves(axes)) == list(axes.flat)
    assert artists(axes) == artists(made.plot.curves())


def test_arm_has_its_color_whichever_arms_are_shown(made):
    def color(arms, arm="dropout=none"):
        axes = made.plot.curves(metric="val/loss", arms=arms)
        return {line.get_label(): to_hex(line.get_color()) for line in axes.get_lines()}[arm]

    assert color(None) == color(["dropout=none"]) == color(["patch_size=8", "dropout=none"])


def test_arms_are_shown_in_the_studys_order(made):
    ax = made.plot.seeds(arms=["dropout=none", "baseline"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["baseline", "dropout=none"]


def test_legend_of_long_names_stays_on_the_figure(tmp_path):
    arms = {"baseline": [0.8]} | {f"a_long_name_of_an_arm={number}": [0.7] for number in range(8)}
    figure = vs.load(make_sweep(tmp_path / "s", arms, epochs=2)).plot.curves()[0].figure
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 9 and legend.get_window_extent().width <= figure.bbox.width


def test_new_figures_leave_settings_and_backend_as_they_were(made):
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    made.plot.effects()
    assert dict(matplotlib.rcParams) == before and matplotlib.get_backend() == backend


def test_rollout_is_drawn_into_given_axes(study):
    import torch

    _, ax = plt.subplots()
    before = torch.get_rng_state()
    assert study.plot.rollout([0, 3], arms=["patch_size=8"], ax=ax) is ax
    assert len(ax.images) == 2 + 2 + 1  # images, overlays, the color bar
    assert torch.equal(torch.get_rng_state(), before)


BAD = {
    "arm": (lambda plot: plot.effects(arms=["patch=8"]), r"^arm=patch=8  is not there; did you mean patch_size=8\?"),
    "no arm": (lambda plot: plot.seeds(arms=[]), r"^arms=\[\]  names no arm; leave it out for all"),
    "curve": (lambda plot: plot.curves(metric="val/acc"), r"^metric=val/acc  is not there; did you mean val/accuracy"),
    "cost": (lambda plot: plot.cost(by="flops"), r"^by=flops  is not there; did you mean flops_per_image"),
    "equal cost": (
        lambda plot: plot.cost(by="flops_per_image"),
        r"^plot.cost  has nothing to draw: fewer than two arms",
    ),
    "axes": (
        lambda plot: plot.effects(plt.subplots(1, 2)[1]),
        r"^plot.effects\(ax=...\)  needs one axes of matplotlib",
    ),
    "four axes": (lambda plot: plot.curves([3]), r"^plot.curves\(ax=...\)  needs 4 axes"),
}


@pytest.mark.parametrize("name", BAD)
def test_figure_that_cannot_be_drawn_is_one_sentence(name, made):
    call, words = BAD[name]
    with pytest.raises(vs.UserError, match=words):
        call(made.plot)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"images": "cats"}, r"^images=cats  is not understood; allowed: a number, ids=3,17"),
        ({"images": [50]}, r"^images=ids=50  must name test images from 0 to 49"),
        ({"which": "ema"}, r"^No rollout of baseline, seed 0: .*ema.safetensors  is not there"),
        ({"variant": "rollouts"}, r"variant='rollouts'  is unknown; allowed: calibrated, last"),
    ],
)
def test_rollout_that_cannot_be_drawn_says_why(study, arguments, words):
    with pytest.raises(vs.UserError, match=words):
        study.plot.rollout(**arguments)


def test_figures_without_data_say_which(tmp_path):
    plot = vs.load(make_sweep(tmp_path / "s", {"baseline": [0.8], "dropout=none": [None]}, epochs=2)).plot
    for name, why in {
        "effects": "no arm shares a finished seed with the baseline",
        "seeds": "fewer than two seeds have finished",
        "classes": "no arm shares predictions of a seed with the baseline",
    }.items():
        with pytest.raises(vs.UserError, match=rf"^plot.{name}  has nothing to draw: {why}"):
            getattr(plot, name)()


def test_figures_of_accuracies_refuse_another_metric(made):
    losses = vs.load(*made.sources, metric="test/loss")
    with pytest.raises(
        vs.UserError, match=r"^plot.effects  draws accuracies, and this study was loaded with metric=test/loss"
    ):
        losses.plot.effects()


def test_one_curve_is_a_panel_of_the_training_graph(made):
    (together, _) = study_figures.curves(made._judgement)
    with style.theme("light") as color:
        panels = together.draw(Canvas(), color)
    assert artists(made.plot.curves(metric="train/accuracy"))[0][0] == artists(panels)[2][0]
