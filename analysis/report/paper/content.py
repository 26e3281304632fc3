"""Rows and columns of a study's table for a paper, from its Judgement."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from vitsweep.errors import RecordError

from ...records.selection import DEFAULT_METRIC, Selection
from ...statistics.effects import decimal_places, display_scale, metric_text
from ...statistics.judgement import Judgement
from ...text import (
    DASH,
    NO_BREAK,
    decimals,
    duration,
    escape_markdown,
    integer,
    p_value,
    si_number,
    text_or_dash,
    unicode_arrows,
)
from ..study_tables import estimate, mean_and_sd, train_accuracy
from ..tables import markdown_row
from .caption import caption, p_title, title
from .fit import Fitted, PaperColumn, TooWideError, fit
from .latex import PaperTable
from .levels import factor_levels, without_repetition
from .options import COLUMNS, PaperOptions, chosen_columns

WRAPPED = ("arm", "changes")
MAX_LINES = 2
"""Lines of a row above which the names of arms are left out where their levels identify them."""
WITHOUT_ARMS = "The first row is the baseline; arms are known by their levels."
WITHOUT_FACTORS = "Too many factors for the width: the arms' names have them."


def paper_table(judgement: Judgement, options: PaperOptions | None = None) -> PaperTable:
    """Return the table of a judged study, fitted into the text width.

    Without `options.columns` the names of arms, or else the columns of factors, are left out with a note where both
    do not fit.

    Raises:
        RecordError: a column is unknown, or the columns asked for do not fit.
    """
    options = options or PaperOptions()
    frame, columns = paper_columns(judgement, options)
    choices = [(columns, [])] if options.columns is not None else _choices(columns, judgement.selection)
    fitted, notes = _best_fit(choices, options)
    text = caption(judgement, frame, fitted.columns, notes)
    return PaperTable(label=judgement.selection.study, title=title(judgement), caption=text, fitted=fitted)


def _choices(columns: list[PaperColumn], selection: Selection) -> list[tuple[list[PaperColumn], list[str]]]:
    """Return the sets of columns to try in their order, each with notes about what it leaves out."""
    choices: list[tuple[list[PaperColumn], list[str]]] = [(columns, [])]
    if any(column.turn for column in columns):
        levels = factor_levels(selection).values()
        if len({tuple(of[arm] for of in levels) for arm in selection.arms}) == len(selection.arms):
            choices.append(([column for column in columns if column.key != "arm"], [WITHOUT_ARMS]))
        choices.append(([column for column in columns if not column.turn], [WITHOUT_FACTORS]))
    return choices


def _best_fit(choices: list[tuple[list[PaperColumn], list[str]]], options: PaperOptions) -> tuple[Fitted, list[str]]:
    """Return the first choice that fits with rows of at most MAX_LINES lines, else the first that fits."""
    fitting = []
    for columns, notes in choices:
        try:
            fitting.append((fit(columns, options.width), notes))
        except TooWideError as error:
            narrowest = _refusal(options, columns, error)
    low = [choice for choice in fitting if choice[0].most_lines <= MAX_LINES]
    if not fitting:
        raise narrowest
    return (low or fitting)[0]


def paper_markdown(judgement: Judgement, options: PaperOptions | None = None) -> str:
    """Return the table as GitHub Markdown, below its caption; `options.width` has no effect.

    Raises:
        RecordError: a column is unknown.
    """
    frame, columns = paper_columns(judgement, options or PaperOptions())
    lines = [caption(judgement, frame, columns, []), ""]
    lines = [escape_markdown(line) for line in lines]
    lines.append(markdown_row([column.head.replace(NO_BREAK, " ") for column in columns]))
    lines.append("|" + "|".join(" ---: " if column.numeric else " :--- " for column in columns) + "|")
    lines += [markdown_row(list(row)) for row in zip(*(column.cells for column in columns), strict=True)]
    return "\n".join(lines) + "\n"


def paper_columns(judgement: Judgement, options: PaperOptions) -> tuple[pd.DataFrame, list[PaperColumn]]:
    """Return the effects in their order and the table's columns; those of factors may be turned.

    Raises:
        RecordError: a column is unknown.
    """
    levels = factor_levels(judgement.selection) if judgement.selection.arms else {}
    names = chosen_columns(options, list(levels))
    frame = ordered(judgement, options.sort)
    if options.columns is None and frame["n"].nunique() > 1:
        names.insert(names.index("mean"), "seeds")
    columns = [_column(name, judgement, frame, levels, options) for name in names]
    return frame, columns


def ordered(judgement: Judgement, sort: str) -> pd.DataFrame:
    """Return the effects with the baseline on top and the other arms in the order asked for."""
    frame = judgement.effects
    rest = frame.iloc[1:]
    if sort == "effect":
        rest = rest.sort_values("delta", ascending=False, kind="stable", na_position="last")
    if sort == "name":
        rest = rest.sort_values("arm", kind="stable")
    return pd.concat([frame.iloc[:1], rest]) if sort != "planned" else frame


def _refusal(options: PaperOptions, columns: list[PaperColumn], error: TooWideError) -> RecordError:
    room = "an A4 article's text" if options.width is None else f"--width={options.width:g}pt"
    return RecordError(
        f"--columns={','.join(column.key for column in columns)}  needs {error.width:.0f} pt at the smallest size, "
        f"more than {room}; name fewer columns, or give a larger --width"
    )


def _column(
    name: str, judgement: Judgement, frame: pd.DataFrame, levels: dict[str, dict[str, str]], options: PaperOptions
) -> PaperColumn:
    rows = frame.to_dict("records")
    if name in levels and name not in COLUMNS:
        return _factor_column(name, judgement, rows, levels[name])
    head, show = _describe(name, judgement, options)
    cells = [show(row) for row in rows]
    is_text = name in ("arm", "changes", "verdict", "family")
    return PaperColumn(
        key=name, head=head, cells=cells, numeric=not is_text, wrap=name in WRAPPED, stack=name == "difference"
    )


def _factor_column(name: str, judgement: Judgement, rows: list[dict], levels: dict[str, str]) -> PaperColumn:
    shown = without_repetition(levels, judgement.selection)
    cells = [shown[row["arm"]] for row in rows]
    numeric = all(_is_number(cell) for cell in cells if cell)
    return PaperColumn(key=name, head=name.replace("_", " "), cells=cells, numeric=numeric, turn=True)


def _describe(name: str, judgement: Judgement, options: PaperOptions) -> tuple[str, Callable[[dict[str, Any]], str]]:
    """Return a column's heading and its text of a row of the effects."""
    metric = judgement.metric
    places = decimal_places(metric) if options.digits is None else options.digits
    is_accuracy = display_scale(metric) == 100.0
    accuracies = 2 if options.digits is None else options.digits
    points = ", points" if is_accuracy else ""
    described: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
        "arm": ("arm", lambda r: r["arm"]),
        "changes": ("what changed", lambda r: unicode_arrows(r["changes"]) or DASH),
        "seeds": ("seeds", lambda r: integer(r["n"])),
        "mean": (metric_text(metric) + (", %" if is_accuracy else ""), lambda r: mean_and_sd(r, places)),
        "difference": (
            f"difference{points} [95{NO_BREAK}%{NO_BREAK}interval]",
            lambda r: estimate(r["delta"], r["ci_low"], r["ci_high"], places),
        ),
        "p": (p_title(judgement), lambda r: p_value(r["p_holm"])),
        "verdict": ("verdict", lambda r: DASH if r["verdict"] == "baseline" else r["verdict"]),
        "training": (
            f"{'' if metric == DEFAULT_METRIC else 'accuracy '}on training images, %",
            lambda r: decimals(train_accuracy(judgement.selection, r["arm"]), accuracies),
        ),
        "parameters": ("parameters", lambda r: si_number(r["params"])),
        "flops": ("FLOPs per image", lambda r: si_number(r["flops_per_image"])),
        "time": ("time per run", lambda r: duration(r["time_seconds"])),
        "speed": ("images/s", lambda r: si_number(r["images_per_second"])),
        "published": ("published, %", lambda r: decimals(r["published"], accuracies)),
        "family": ("family", lambda r: text_or_dash(r["family"])),
    }
    return described[name]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
