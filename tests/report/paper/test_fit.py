"""Fitting a table into a width: estimated widths, the order of attempts, pieces of names.

Kinds: agrees with TeX's own measure, properties (no text is lost, wider pages get larger letters), refusals.
"""

import re
import subprocess

import pytest
from vitsweep.analysis.report.paper.fit import (
    ARTICLE,
    SIZES,
    PaperColumn,
    TooWideError,
    fit,
    pieces,
    stacked_parts,
    text_width,
)
from vitsweep.analysis.text import escape_latex

from tests.support.latex import PDFLATEX, needs_pdflatex

TEXTS = [
    "num_hidden_layers=2",
    "+3.93 [\u22120.12, +16.75]",
    "28.62 \u00b1 1.37",
    "WAVE/mix|<0.001>",
    "caf\u00e9 {x}^~\\&#$%",
]
LONG = "a_rather_long_name_of_an_arm_that_says_everything=about+it.and;more"


def column(*cells: str, **options) -> PaperColumn:
    return PaperColumn(key="c", head="h", cells=list(cells), **options)


@needs_pdflatex
def test_widths_are_those_of_tex(tmp_path):
    lines = [r"\documentclass{article}\begin{document}\newlength{\w}"]
    for size in SIZES:
        lines += [rf"\{size}\settowidth{{\w}}{{{escape_latex(text)}}}\typeout{{W \the\w}}" for text in TEXTS]
    (tmp_path / "w.tex").write_text("\n".join([*lines, r"\end{document}"]))
    subprocess.run([PDFLATEX, "-interaction=nonstopmode", "w.tex"], cwd=tmp_path, capture_output=True, check=False)
    found = [float(width) for width in re.findall(r"^W ([\d.]+)pt", (tmp_path / "w.log").read_text("latin-1"), re.M)]
    estimated = [factor * text_width(text) for factor in ARTICLE[0][1] for text in TEXTS]
    assert found == pytest.approx(estimated, rel=0.03)


def test_short_table_has_the_usual_size_and_plain_headings():
    fitted = fit([column("a", "b", numeric=False), column("1.00", "2.00")])
    assert (fitted.size, fitted.shares, any(fitted.turned)) == ("normalsize", [None, None], False)


def test_wider_page_has_letters_at_least_as_large():
    columns = [column(LONG, numeric=False, wrap=True), *(column("28.62 \u00b1 1.37") for _ in range(4))]
    sizes = [SIZES.index(fit(columns, width).size) for width in (330, 400, 500, 700, 900)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_headings_are_turned_and_names_broken_only_where_needed():
    levels = [PaperColumn(key="f", head="learned positions", cells=["no"], turn=True) for _ in range(9)]
    fitted = fit([column(LONG, numeric=False, wrap=True), *levels])
    assert fitted.turned == [False] + [True] * 9 and fitted.shares[0] is not None and fitted.most_lines > 1


def test_columns_that_fit_nowhere_are_refused_with_their_width():
    with pytest.raises(TooWideError) as error:
        fit([column("1" * 200)])
    assert error.value.width == pytest.approx(200 * 5 * 0.797, rel=0.02)


@pytest.mark.parametrize("name", [LONG, "W" * 80, "", " ", "\u5b66\u4e60\u7387=\u5927", "a b_c"])
def test_pieces_are_the_whole_name_and_none_is_long(name):
    assert "".join(pieces(name)) == name and all(text_width(piece) <= 60 for piece in pieces(name))


def test_estimate_and_interval_are_stacked():
    assert stacked_parts("+0.30 [+0.10, +0.50]") == ["+0.30", "[+0.10, +0.50]"] and stacked_parts("-") == ["-"]
