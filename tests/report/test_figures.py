"""Figures: both themes, readable colors, numbers behind each, the same bytes, SVG that fits into a page.

Kinds: properties (contrast, ids, no dates), determinism, what each drawing shows (positions seen by eye).
"""

import itertools
import math
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from vitsweep.analysis import style
from vitsweep.analysis.attention.measures import COLUMNS
from vitsweep.analysis.marks import arm_key
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report import draw_effects, figures, study_figures
from vitsweep.analysis.report.draw_curves import band_over_seeds
from vitsweep.analysis.report.factors.figures import factor_figures
from vitsweep.analysis.report.svg.write import short_path
from vitsweep.analysis.statistics.judgement import judge, pareto_front
from vitsweep.analysis.text import interval, signed

from tests.support.make_records import make_cell, make_record, make_sweep

ARMS = {
    "baseline": [0.80, 0.81, 0.80],
    "patch_size=8": [0.75, 0.755, 0.75],
    "dropout=none": [0.78, 0.785, 0.79],
    "patch_size=8+dropout=none": [0.74, 0.75, 0.745],
    "a$b_{c}": [0.79, 0.80, 0.805],
}


@pytest.fixture(scope="module")
def judgement(tmp_path_factory):
    sweep = make_sweep(tmp_path_factory.mktemp("sweep"), ARMS, epochs=5, images=500)
    make_cell(sweep, make_record("patch_size=8", 0, 0.75, params=2_000_000), epochs=5, images=500)
    return judge(load(sweep))


@pytest.fixture
def ax():
    with style.theme("light"):
        yield plt.figure().subplots()
    plt.close("all")


def all_figures(judgement):
    made = [study_figures.forest(judgement), *study_figures.run_figures(judgement)]
    made += [*study_figures.training_figures(judgement), study_figures.class_figure(judgement)]
    return {figure.name: figure for figure in [*made, *factor_figures(judgement)] if figure}


def test_study_has_every_figure_that_its_data_allow(judgement):
    wanted = {"effects", "seeds", "cost", "curves", "curves-apart", "gap", "main-effects", "interactions", "classes"}
    assert set(all_figures(judgement)) == wanted


@pytest.mark.parametrize("theme", style.THEMES)
def test_lines_have_a_contrast_of_three_and_text_of_four_and_a_half(theme):
    color = style.THEMES[theme]
    assert [r for r in color if r[0] == "s" and r[1:].isdigit() and style.contrast(color[r], color["paper"]) < 3] == []
    assert min(style.contrast(color[r], color["paper"]) for r in ("ink", "soft", "good", "bad")) >= 4.5


@pytest.mark.parametrize("theme", style.THEMES)
def test_neighboring_arms_differ_in_line_and_marker_besides_colour(theme):
    arms = ["baseline", *(str(i) for i in range(16))]
    styles = style.arm_styles(arms, "baseline", style.THEMES[theme])
    looks = [(styles[a]["color"], styles[a]["linestyle"]) for a in arms]
    assert len(set(looks)) == len(arms)
    for one, other in itertools.pairwise(arms[1:]):
        assert styles[one]["linestyle"] != styles[other]["linestyle"]
        assert styles[one]["marker"] != styles[other]["marker"]


def test_every_role_has_a_colour_of_its_own():
    # The dark theme is made by replacing one hex value by another, so no two roles may share one.
    assert len(set(style.LIGHT.values())) == len(style.LIGHT)
    assert not {style.FIXED_DARK, style.FIXED_LIGHT} & set(style.LIGHT.values())
    assert list(style.LIGHT) == list(style.DARK)


def test_page_and_figures_use_the_same_colours():
    css = (figures.Path(style.__file__).parent / "report" / "templates" / "report.css").read_text()
    light, dark = css.split('[data-theme="dark"]', 1)
    for theme, text in ((style.LIGHT, light), (style.DARK, dark)):
        assert [role for role, value in theme.items() if f"--{role}: {value};" not in text] == []


def test_theme_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    with style.theme("dark"):
        pass
    assert dict(matplotlib.rcParams) == before


def test_figure_is_written_as_svg_and_png(judgement, tmp_path):
    figures.save_figure(all_figures(judgement)["effects"], tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"effects.svg", "effects.png"}


def test_svg_file_has_a_dark_color_for_every_light_one(judgement, tmp_path):
    figures.save_svg(all_figures(judgement)["cost"], tmp_path)
    text = (tmp_path / "cost.svg").read_text()
    sheet, _, drawn = text.partition("@media (prefers-color-scheme: dark)")[2].partition("</style>")
    rules = set(re.findall(r'\[style\*="(\w+): (#\w+)"\]\{\1: (#\w+) !important\}', sheet))
    colors = set(re.findall(r"(fill|stroke): (#[0-9a-f]{6})", drawn))
    dark = dict(zip(style.LIGHT.values(), style.DARK.values(), strict=True))
    assert rules == {(name, light, dark[light]) for name, light in colors} and len(rules) > 10


def test_inlined_figure_follows_the_theme_and_has_a_name(judgement, tmp_path):
    svg = figures.save_figure(all_figures(judgement)["effects"], tmp_path)
    assert "var(--ink, #1a1d21)" in svg and 'role="img"' in svg
    assert '<title id="effects-name">Effects in percent points: patch_size=8' in svg


def test_ids_and_their_uses_agree_and_carry_the_figures_name(judgement, tmp_path):
    svg = figures.save_figure(all_figures(judgement)["gap"], tmp_path)
    ids = re.findall(r'id="([^"]+)"', svg)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
    assert len(ids) == len(set(ids)) and ids and all(i.startswith("gap-") for i in ids)
    assert set(used) <= set(ids)


def test_svg_has_no_date_no_program_and_no_address(judgement):
    svg = figures.clean_svg(figures.render(all_figures(judgement)["effects"])["svg"].decode())
    assert not re.findall(r"https?://(?!www\.w3\.org)", svg)
    assert "atplotlib" not in svg and "metadata" not in svg


def test_figure_gives_the_same_bytes_twice(judgement):
    figure = all_figures(judgement)["gap"]
    assert figures.render(figure) == figures.render(figure)


def test_svg_alone_is_that_of_the_whole_figure(judgement, tmp_path):
    figure = all_figures(judgement)["effects"]
    (tmp_path / "svg").mkdir(), (tmp_path / "all").mkdir()
    assert figures.save_svg(figure, tmp_path / "svg") == figures.save_figure(figure, tmp_path / "all")
    written = {path.name: path.read_bytes() for path in (tmp_path / "svg").iterdir()}
    assert sorted(written) == ["effects.svg"]
    assert all((tmp_path / "all" / name).read_bytes() == content for name, content in written.items())


def test_dollar_signs_in_arm_names_are_text(judgement):
    svg = figures.render(all_figures(judgement)["effects"])["svg"].decode()
    assert ">a$b_{c}</text>" in svg


def test_nasty_arm_names_are_text_in_the_page(tmp_path):
    nasty = "<script>alert(1)</script>|50%"
    sweep = make_sweep(tmp_path, {"baseline": [0.8, 0.81], nasty: [0.7, 0.72]}, plan=None, epochs=2)
    svg = figures.save_figure(study_figures.forest(judge(load(sweep))), tmp_path)
    assert "<script" not in svg and svg.count("&lt;script&gt;alert(1)&lt;/script&gt;|50%") == 2


def test_every_figure_has_numbers_behind_it_and_a_sentence(judgement):
    for figure in all_figures(judgement).values():
        assert len(figure.table) > 0
        assert re.search(r"\d", figure.alt) and figure.alt.endswith(".")


def test_band_spans_the_seeds(judgement):
    band = band_over_seeds(judgement.selection.history).set_index(["arm", "metric", "epoch"])
    values = judgement.selection.history.query("arm == 'baseline' and epoch == 5")["val/accuracy"] * 100
    row = band.loc[("baseline", "val/accuracy", 5)]
    assert (row["low"], row["mean"], row["high"]) == pytest.approx((values.min(), values.mean(), values.max()))


def test_curves_and_gap_leave_out_runs_that_did_not_finish(tmp_path):
    make_sweep(tmp_path, {"baseline": [0.80, 0.81], "a": [0.7]}, epochs=5, plan=None)
    for arm in ("baseline", "a"):
        make_cell(tmp_path, make_record(arm, 2, 0.1, status="interrupted"), epochs=3)
    drawn = {f.name: f.table for f in study_figures.training_figures(judge(load(tmp_path)))}
    for name in ("curves", "curves-apart", "gap"):
        seeds = drawn[name].groupby("arm")["n"].unique().map(list).to_dict()
        assert seeds == {"baseline": [2], "a": [1]}, name


def test_forest_marks_lie_at_the_effects(judgement, ax):
    rows = judgement.effects.iloc[1:]
    draw_effects.draw_forest(rows, judgement.images, ax=ax, color=style.LIGHT, rope=0.5)
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert marks == pytest.approx(rows["delta"].tolist())


def test_forest_fills_only_significant_effects(judgement, ax):
    rows = judgement.effects.iloc[1:]
    draw_effects.draw_forest(rows, judgement.images, ax=ax, color=style.LIGHT, rope=0.5)
    filled = [line.get_markerfacecolor() != style.LIGHT["paper"] for line in ax.lines if line.get_marker() == "o"]
    assert filled == rows["verdict"].isin(["helps", "hurts"]).tolist() == [True, False, True, False]


def test_strip_has_a_mark_for_each_run(ax):
    values = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, np.nan]})
    styles = style.arm_styles(["a", "b"], "a", style.LIGHT)
    draw_effects.draw_strip(values, ax=ax, styles=styles, color=style.LIGHT)
    marks = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() not in ("None", "")]
    assert marks == [[1.0, 2.0], [3.0]]


def test_front_holds_what_nothing_cheaper_beats():
    frame = pd.DataFrame({"arm": list("abc"), "n": 3, "sd": 0.1, "mean": [80.0, 82.0, 81.0], "params": [1.0, 2.0, 3.0]})
    assert pareto_front(frame, "params")["front"].tolist() == [True, True, False]


def test_classes_write_each_difference_readably(ax):
    table = pd.DataFrame({"cat": [-5.0, 0.0], "dog": [2.5, 5.0]}, index=["a", "b"])
    draw_effects.draw_classes(table, ax=ax, color=style.LIGHT)
    cells = [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in ax.patches]
    assert [text.get_text() for text in ax.texts] == ["\u22125.0", "+2.5", "0.0", "+5.0"]
    assert all(style.contrast(t.get_color(), cell) >= 4.5 for t, cell in zip(ax.texts, cells, strict=True))


def test_levels_are_ordered_by_value_when_they_are_numbers():
    assert draw_effects.order_levels(["8", "16", "4", "8"]) == ["4", "8", "16"]
    assert draw_effects.order_levels(["none", "everywhere"]) == ["none", "everywhere"]


def test_many_arms_are_cut_to_the_largest_effects():
    arms = ["baseline", *(f"a{i}" for i in range(30))]
    effects = pd.DataFrame({"arm": arms, "delta": [math.nan, *range(30)]})
    kept = figures.arms_to_draw(arms, "baseline", effects)
    assert kept == ["baseline", *(f"a{i}" for i in range(19, 30))]


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Twenty arms, of which a figure shows twelve, with measures and predictions."""
    arms = {"baseline": [0.80, 0.81]} | {f"model={n}": [0.80 - n / 1000, 0.81 - n / 2000] for n in range(19)}
    loaded = load(make_sweep(tmp_path_factory.mktemp("crowded"), arms, epochs=2, images=100))
    for number, record in enumerate(loaded.cells["record"]):
        record.params = 1000 + number
    loaded.cells["params"] = [float(record.params) for record in loaded.cells["record"]]
    measures = loaded.cells[["cell"]].assign(**{name: 0.5 for name in COLUMNS})
    return judge(loaded, measures=measures)


NOTES = {
    "curves": "Named are the 11 arms with the largest effects; thin grey lines: 8 more, see the table.",
    "gap": "Named are the 11 arms with the largest effects; thin grey lines: 8 more, see the table.",
    "cost": "Named are the 11 arms with the largest effects; grey points: 8 more, see the table.",
    "curves-apart": "8 more arms are in the figure above only.",
}
"""Figure of twenty arms -> what its caption says of those without a color; the others have a row for each."""


def test_figure_of_many_arms_says_what_it_shows_and_its_table_has_all(crowded):
    made = all_figures(crowded) | {"measures": study_figures.measure_figure(crowded)}
    assert {"effects", "seeds", "classes", "measures", *NOTES} <= set(made)
    for name, figure in made.items():
        assert NOTES.get(name, "") in figure.caption and ("8 more" in figure.caption) == (name in NOTES), name
        compared = set(crowded.selection.arms) - ({"baseline"} if name in ("effects", "classes") else set())
        assert set(figure.table["arm"]) == compared, name


@pytest.mark.parametrize("name", ["effects", "cost", "gap"])
def test_every_arm_is_drawn_and_marked(crowded, name, tmp_path):
    figure = all_figures(crowded)[name]
    keys = set(re.findall(r'data-arm="(\w+)"', figures.save_svg(figure, tmp_path)))
    assert keys == {arm_key(arm) for arm in set(figure.table["arm"])}
    assert "mark|" not in (tmp_path / f"{name}.svg").read_text()


def test_marks_carry_the_numbers_that_a_reader_sees(judgement, tmp_path):
    row = judgement.effects.set_index("arm").loc["patch_size=8"]
    svg = figures.save_svg(all_figures(judgement)["effects"], tmp_path)
    ends = interval(row["ci_low"], row["ci_high"])
    tip = f"{signed(row['delta'])} points {ends}, 3 seeds, {row['verdict']}"
    assert f'data-arm="{arm_key("patch_size=8")}" data-tip="{tip}"' in svg


def test_path_of_lines_keeps_its_points():
    path = "M 1 2 \nL 3.04 -4 \nL 3 5.5 \nz\nM 0 0 \nL -1 1 \n"
    assert short_path(path) == "M1 2l2-6 0 9.5z" + "M0 0l-1 1"


def labels(canvas) -> dict:
    """Text of a drawn figure -> its box, pixels."""
    shown = [t for t in canvas.findobj(Text) if t.get_visible() and t.get_text().strip()]
    shown = [t for t in shown if t.axes is None or t.axes.axison]
    return {(t.get_text(), id(t)): t.get_window_extent() for t in shown}


@pytest.mark.parametrize("name", ["effects", "seeds", "cost", "gap", "classes"])
def test_no_label_is_cut_or_collides(long_names, name):
    figure = all_figures(long_names)[name]
    with style.theme("light") as color:
        canvas = Canvas(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(canvas)
        figure.draw(canvas, color)
        figures.lay_out(canvas)
        canvas.canvas.draw()
    ticks = [t for ax in canvas.axes for axis in (ax.xaxis, ax.yaxis) for t in seen_ticks(ax, axis)]
    of_ticks = canvas.findobj(lambda artist: isinstance(artist, Tick))
    hidden = {id(t) for tick in of_ticks for t in (tick.label1, tick.label2)} - set(map(id, ticks))
    boxes = {key: box for key, box in labels(canvas).items() if key[1] not in hidden}
    width, height = canvas.bbox.width, canvas.bbox.height
    cut = [key[0] for key, b in boxes.items() if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1]
    slanted = {id(t) for t in ticks if t.get_rotation()}  # their boxes are larger than they are
    upright = {key: box for key, box in boxes.items() if key[1] not in slanted}
    collide = [
        (a[0], b[0]) for (a, one), (b, other) in itertools.combinations(upright.items(), 2) if one.overlaps(other)
    ]
    assert cut == [] and collide == []


def seen_ticks(ax, axis) -> list:
    """Labels of the ticks within the axes' limits."""
    low, high = sorted(ax.get_xlim() if axis is ax.xaxis else ax.get_ylim())
    return [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """Four arms, two of them with names of 80 letters, of parameters whose ticks would collide."""
    names = [
        "baseline",
        "num_hidden_layers=2",
        "x" * 80,
        "dropout=none+hidden_size=384+patchify_method=convolutional_stem_3x3",
    ]
    arms = {name: [0.80 - n / 100, 0.81 - n / 100] for n, name in enumerate(names)}
    loaded = load(make_sweep(tmp_path_factory.mktemp("long"), arms, epochs=2, images=100, plan=None))
    loaded.cells["params"] = [1.2e6 * (1 + 0.35 * (n // 2) ** 2) for n in range(8)]
    return judge(loaded)


def test_figure_of_few_arms_needs_no_such_sentence(judgement):
    assert [figure.name for figure in all_figures(judgement).values() if "Shown are" in figure.caption] == []


def test_no_two_arms_of_a_figure_share_color_and_marker_or_color_and_line(crowded):
    # The arms with the largest effects are the last of the study, where styles would repeat.
    styles = study_figures._styles(crowded, style.LIGHT)
    shown = [styles[arm] for arm in study_figures._shown(crowded)]
    assert len(shown) == figures.MAX_ARMS
    for other in ("marker", "linestyle"):
        assert len({(look["color"], look[other]) for look in shown}) == len(shown)


def test_ten_levels_of_a_factor_look_different():
    looks = [style.numbered_style(number, style.LIGHT) for number in range(10)]
    assert len({(look["color"], look["marker"]) for look in looks}) == 10


def test_tidy_cuts_coordinates_and_leaves_words_alone():
    svg = '<svg><g id="a"><path d="M 1 1 Q 1.23456 7 8 9"/><text x="0.98765">0.9912</text></g></svg>'
    assert figures.clean_svg(svg) == '<svg><g><path d="M 1 1 Q 1.23 7 8 9"/><text x="0.98">0.9912</text></g></svg>\n'
