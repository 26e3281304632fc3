"""The table for a paper: it compiles without an overfull box, and its columns, order, digits and caption are as asked.

Kinds: agrees with TeX, properties by eye on small studies, refusals.
"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.paper.content import paper_markdown, paper_table
from vitsweep.analysis.report.paper.levels import factor_levels, without_repetition
from vitsweep.analysis.report.paper.options import PaperOptions, parse_width
from vitsweep.analysis.statistics.judgement import judge
from vitsweep.analysis.text import escape_latex, without_glyph

from tests.support.latex import compile_table, needs_pdflatex, needs_xelatex
from tests.support.make_records import make_sweep
from vitsweep.errors import RecordError

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
NASTY = "[x]*&%$#_{}~^\\|<>\"'`--?`\u03b2\u2264\u00f8"
LONG = "a_rather_long_name_of_an_arm_that_says_everything_about_what_it_changes_and_by_how_much="


def shown(judgement, **options) -> list[list[str]]:
    """Return the rows of the Markdown table."""
    lines = paper_markdown(judgement, PaperOptions(**options)).splitlines()[4:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def judged_names(tmp_path, names):
    return judge(load(make_sweep(tmp_path, {"baseline": [0.8, 0.81]} | {n: [0.7, 0.72] for n in names}, epochs=1)))


@needs_pdflatex
@pytest.mark.parametrize("arms", [3, 14, 40])
def test_table_fits_an_article_of_10_points(judged, tmp_path, arms):
    assert compile_table(paper_table(judged(arms)).latex(), tmp_path) == []


@needs_pdflatex
@pytest.mark.slow  # seven more runs of TeX
@pytest.mark.parametrize("base", [11, 12])
@pytest.mark.parametrize("arms", [3, 14, 40])
def test_table_fits_articles_of_larger_letters(judged, tmp_path, arms, base):
    assert compile_table(paper_table(judged(arms)).latex(), tmp_path, base) == []


@needs_pdflatex
def test_narrow_column_holds_its_table(judged, tmp_path):
    table = paper_table(judged(14), PaperOptions(width=parse_width("8.3cm"))).latex()
    assert compile_table(table, tmp_path, preamble=r"\setlength{\textwidth}{8.3cm}") == []


@needs_pdflatex
def test_names_of_special_characters_and_of_many_compile(tmp_path):
    judgement = judged_names(tmp_path / "s", [NASTY, "*", "W" * 80, *(f"{LONG}{i}" for i in range(3))])
    assert compile_table(paper_table(judgement).latex(), tmp_path / "tex") == []


@needs_pdflatex
def test_pdflatex_says_in_one_sentence_that_it_lacks_characters(tmp_path):
    table = paper_table(judged_names(tmp_path / "s", ["\u5b66\u4e60\u7387=\u5927"])).latex()
    first, *rest = compile_table(table, tmp_path / "tex")
    assert first.startswith(
        "! The table has characters that pdfLaTeX does not know (U+5B66, U+4E60, U+7387, U+5927). Compile with xelatex"
    )
    assert [line for line in rest if not line.startswith("!  ==>")] == []


@needs_xelatex
def test_xelatex_compiles_names_in_other_scripts(tmp_path):
    if b"DejaVu" not in subprocess.run([shutil.which("fc-list") or "true"], capture_output=True, check=False).stdout:
        pytest.skip("needs fc-list and the font DejaVu Sans")
    table = paper_table(judged_names(tmp_path / "s", ["\u0433\u043b\u0443\u0431\u0438\u043d\u0430=2"])).latex()
    font = r"\usepackage{fontspec}\setmainfont{DejaVu Sans}"
    found = compile_table(table, tmp_path / "tex", program="xelatex", preamble=font)
    assert [line for line in found if not line.startswith("Overfull")] == []  # this font is wider than LaTeX's own


def test_arms_have_a_column_a_factor(judged):
    head = paper_markdown(judged(3)).splitlines()[2]
    assert head == (
        "| arm | patch size | dropout | test accuracy, % | difference, points \\[95 % interval\\] | Holm p | verdict |"
    )
    assert [row[:3] for row in shown(judged(3))] == [
        ["baseline", "4", "everywhere"],
        ["patch\\_size=8", "8", ""],
        ["dropout=none", "", "none"],
    ]


def test_columns_order_and_digits_are_as_asked(judged):
    rows = shown(judged(3), columns=("seeds", "mean", "arm"), digits=1, sort="effect")
    means = [float(row[1].partition(" ")[0]) for row in rows]
    assert rows[0][2] == "baseline" and means[1:] == sorted(means[1:], reverse=True)
    assert all(len(row[1].partition(" ")[0].partition(".")[2]) == 1 and row[0] == "3" for row in rows)


def test_order_by_name_keeps_the_baseline_on_top(judged):
    names = [row[0] for row in shown(judged(14), columns=("arm",), sort="name")]
    assert names[0] == "baseline" and names[1:] == sorted(names[1:]) and len(names) == 14


def test_numbers_are_those_of_the_judgement(judged):
    effects = judged(3).effects.iloc[1]
    (row,) = shown(judged(3), columns=("mean", "difference", "p", "verdict"))[1:2]
    wanted = [effects["mean"], effects["delta"], effects["p_holm"]]
    found = [row[0].partition(" ")[0], row[1].partition(" ")[0].replace("\u2212", "-"), row[2]]
    assert [float(text) for text in found] == pytest.approx(wanted, abs=0.005) and row[3] == effects["verdict"]


def test_caption_states_seeds_error_and_family(judged):
    caption = paper_markdown(judged(3)).splitlines()[0]
    assert "over 3 seeds" in caption and "paired t interval" in caption
    assert "adjusted by Holm's procedure over the 2 arms of the plan" in caption


def test_caption_says_that_runs_are_missing(tmp_path):
    made = make_sweep(tmp_path, {"baseline": [0.8, 0.81], "a": [0.7, 0.72], "b": [None, 0.7]}, epochs=1)
    found = paper_markdown(judge(load(made)))
    assert "| seeds |" in found and "1 to 2 seeds" in found


def test_levels_are_the_values_of_the_one_setting_that_a_factor_is():
    selection = select(load(RESULTS / "tuned_small"))
    found = factor_levels(selection)
    assert found["batch"] == dict.fromkeys(selection.arms, "64") | {"batch_size=256": "256"}, found
    assert found["dropout"] == dict.fromkeys(selection.arms, "") | {"dropout=none": "none"}
    assert without_repetition(found["batch"], replace(selection, design="grid")) == found["batch"]


def test_arms_that_differ_in_nothing_but_a_name_keep_it(judged):
    judgement = judged(14)
    narrow = PaperOptions(width=240.0)
    table = paper_table(judgement, narrow)
    assert len({tuple(row) for row in zip(*(column.cells for column in table.columns[:5]), strict=True)}) == 14


def test_pairs_that_tex_would_join_are_kept_apart():
    assert escape_latex("a--b ''") == "a-{}-b '{}'"


def test_characters_without_a_glyph_are_named_once():
    assert without_glyph("caf\u00e9 \u03b2 \u00b1 \u5b66\u5b66") == ["\u5b66"]


REFUSED = {
    "unknown column": (
        {"columns": ("arm", "verdct")},
        r"^--columns=verdct  is unknown; did you mean verdict\? Allowed: arm, ",
    ),
    "column twice": ({"columns": ("patch_size", "factors")}, r"names patch_size twice; name each column once$"),
    "order": ({"sort": "size"}, r"^--sort=size  is unknown; allowed: planned, effect, name$"),
    "digits": ({"digits": 7}, r"^--digits=7  is out of range; allowed: 0 to 6$"),
    "width": ({"width": 50.0}, r"^--width=50pt  is out of range; allowed: 100 to 2000 pt$"),
    "too wide": (
        {"columns": ("arm", "mean", "difference", "changes", "flops", "time"), "width": 150.0},
        r"needs \d+ pt at the smallest size, more than --width=150pt; name fewer columns, or give a larger --width$",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_options_are_refused(judged, name):
    options, words = REFUSED[name]
    with pytest.raises(RecordError, match=words):
        paper_table(judged(3), PaperOptions(**options))


@pytest.mark.parametrize(("text", "points"), [("234pt", 234), ("1 in", 72.27), ("2.54cm", 72.27), ("25.4mm", 72.27)])
def test_lengths_are_read(text, points):
    assert parse_width(text) == pytest.approx(points, rel=1e-4)


@pytest.mark.parametrize("text", ["5", "wide", "-3pt", "3em"])
def test_other_lengths_are_refused(text):
    with pytest.raises(RecordError, match=r"is no length; allowed: a number with pt, mm, cm or in, such as 234pt$"):
        parse_width(text)
