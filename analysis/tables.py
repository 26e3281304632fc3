"""One Table object -> CSV (raw numbers), Markdown, LaTeX (booktabs) and the cells that the HTML page shows.

Names of arms are the user's and reach four languages, so each writer escapes them; numbers in CSV are
unrounded, those shown are rounded to what ten thousand test images can tell. A column that says the same in
every row is hidden where it is shown and named in a note, never in the CSV.
"""

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from analysis.selection import Selection

MINUS = "\u2212"
PLUS_MINUS = "\u00b1"
ARROW = "\u2192"
NOTHING = "\u2013"
LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    PLUS_MINUS: r"$\pm$",
    MINUS: r"$-$",
    ARROW: r"$\rightarrow$",
    NOTHING: "--",
} | {c: "\\" + c for c in "{}$&#_%"}


@dataclass(kw_only=True)
class Column:
    """One shown column: `show` makes a cell's text from a row of the frame, `key` is the frame column it
    sorts by."""

    title: str
    show: Callable[[pd.Series], str]
    key: str
    numeric: bool = True
    keep: bool = False
    """Shown even when it says the same in every row."""


@dataclass(kw_only=True)
class Table:
    """A frame and how it is shown."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: list[Column]
    notes: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """For each row the runs that its numbers come from, as `1-5, 9` in the table of runs."""

    def shown(self) -> tuple[list[Column], list[str]]:
        """The columns worth a place, and a sentence for each that says the same in every row."""
        kept, notes = [], []
        for column in self.columns:
            texts = {column.show(row) for _, row in self.frame.iterrows()}
            if column.keep or len(texts) > 1:
                kept.append(column)
            elif texts - {NOTHING, ""}:
                notes.append(f"{column.title} is {texts.pop()} in every row.")
        return kept, notes

    def texts(self) -> list[list[str]]:
        """The shown cells, row by row, not escaped."""
        columns, _ = self.shown()
        return [[column.show(row) for column in columns] for _, row in self.frame.iterrows()]

    def sort_keys(self) -> list[list[str]]:
        """For each shown cell what it sorts by: a number, or its text; empty for a missing number."""
        columns, _ = self.shown()
        return [[_sort_key(row[column.key]) for column in columns] for _, row in self.frame.iterrows()]

    def csv(self) -> str:
        """Every column of the frame, unrounded (12 digits), empty where there is no value."""
        return frame_csv(self.frame)

    def markdown(self) -> str:
        """A GitHub table with its notes."""
        columns, notes = self.shown()
        lines = [_markdown_row([c.title for c in columns])]
        lines.append("|" + "|".join(" ---: " if c.numeric else " :--- " for c in columns) + "|")
        lines += [_markdown_row(row) for row in self.texts()]
        return (
            "\n".join([*lines, "", *(escape_markdown(note) for note in notes + self.notes)]).rstrip() + "\n"
        )

    def latex(self) -> str:
        """A table environment for the booktabs package; nothing else is needed to compile it."""
        columns, notes = self.shown()
        spec = "".join("r" if c.numeric else "l" for c in columns)
        body = [_latex_row([c.title for c in columns]), *(_latex_row(row) for row in self.texts())]
        caption = escape_latex(" ".join([self.caption, *notes, *self.notes]))
        lines = [r"\begin{table}", r"\centering", f"\\caption{{{caption}}}", f"\\label{{tab:{self.name}}}"]
        lines += [f"\\begin{{tabular}}{{{spec}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def frame_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV: 12 significant digits, empty for NaN, quotes where needed, `\\n` line ends."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.itertuples(index=False):
        writer.writerow([_plain(value) for value in row])
    return stream.getvalue()


def arm_table(frame: pd.DataFrame, selection: Selection, runs: dict[str, str]) -> Table:
    """The comparison table.

    Args:
        frame: what effects.arm_effects gives for the test accuracy.
        runs: arm -> its runs' numbers.
    """
    columns = [
        Column(title="arm", show=lambda r: r["arm"], key="arm", numeric=False, keep=True),
        Column(
            title="what changed", show=lambda r: arrows(r["changes"]) or NOTHING, key="changes", numeric=False
        ),
        Column(title="seeds", show=lambda r: whole(r["n"]), key="n", keep=True),
        Column(title="test accuracy, %", show=_accuracy, key="mean", keep=True),
        Column(title="effect, points [95 % interval]", show=_effect, key="delta", keep=len(frame) > 1),
        Column(title="Holm p", show=lambda r: p_value(r["p_holm"]), key="p_holm"),
        Column(title="sign-flip p", show=lambda r: p_value(r["p_signflip"]), key="p_signflip"),
        Column(
            title="verdict", show=lambda r: r["verdict"], key="verdict", numeric=False, keep=len(frame) > 1
        ),
        Column(title="seeds to decide", show=lambda r: whole(r["seeds_needed"]), key="seeds_needed"),
        Column(title="seeds better", show=lambda r: share(r["better"]), key="better"),
        Column(title="failed", show=lambda r: whole(r["failed"]), key="failed"),
        Column(title="parameters", show=lambda r: large(r["params"]), key="params"),
        Column(title="FLOPs per image", show=lambda r: large(r["flops_per_image"]), key="flops_per_image"),
        Column(title="time per run", show=lambda r: duration(r["time_seconds"]), key="time_seconds"),
        Column(title="images/s", show=lambda r: large(r["images_per_second"]), key="images_per_second"),
        Column(title="published, %", show=lambda r: decimals(r["published"]), key="published"),
        Column(title="family", show=lambda r: text(r["family"]), key="family", numeric=False),
    ]
    caption = (
        f"Every arm against {selection.baseline or 'the baseline'}: accuracy on the test set, last epoch."
    )
    return Table(
        name="arms",
        title="Comparison of the arms",
        caption=caption,
        frame=frame,
        columns=columns,
        runs=[runs.get(arm, "") for arm in frame["arm"]],
    )


def run_table(selection: Selection) -> Table:
    """Every cell with the number by which the other tables cite it."""
    frame = selection.cells.drop(columns="record").copy()
    frame.insert(0, "run", range(1, len(frame) + 1))
    frame["error"] = [(r.error or {}).get("type", "") for r in selection.cells["record"]]
    frame = frame.drop(columns="directory")
    columns = [
        Column(title="run", show=lambda r: whole(r["run"]), key="run", keep=True),
        Column(title="cell", show=lambda r: r["cell"], key="cell", numeric=False, keep=True),
        Column(title="status", show=lambda r: r["status"], key="status", numeric=False, keep=True),
        Column(title="epochs", show=lambda r: whole(r["epoch"]), key="epoch", keep=True),
        Column(
            title="test accuracy, last epoch, %",
            show=lambda r: decimals(100 * r["final/test/accuracy"]),
            key="final/test/accuracy",
            keep=True,
        ),
        Column(
            title="test accuracy, best epoch, %",
            show=lambda r: decimals(100 * r["best/test/accuracy"]),
            key="best/test/accuracy",
            keep=True,
        ),
        Column(title="best epoch", show=lambda r: whole(r["best/epoch"]), key="best/epoch"),
        Column(title="time", show=lambda r: duration(r["time_seconds"]), key="time_seconds"),
        Column(title="attempts", show=lambda r: whole(r["attempts"]), key="attempts"),
        Column(title="error", show=lambda r: r["error"] or NOTHING, key="error", numeric=False),
    ]
    caption = "Every run of the study. The numbers in the first column are cited by the other tables."
    return Table(name="runs", title="Runs", caption=caption, frame=frame, columns=columns)


def run_numbers(selection: Selection) -> dict[str, str]:
    """Arm -> the numbers of its runs in run_table, as ranges: `1-5, 9`."""
    numbers = pd.Series(range(1, len(selection.cells) + 1), index=selection.cells.index)
    return {arm: ranges(list(numbers[selection.cells["arm"] == arm])) for arm in selection.arms}


def ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 9] -> `1-3, 9`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def decimals(value: float, places: int = 2) -> str:
    """A number with a real minus sign, or a dash when there is none."""
    if value is None or math.isnan(value):
        return NOTHING
    rounded = f"{value:.{places}f}"
    if float(rounded) == 0:
        rounded = rounded.lstrip("-")
    return rounded.replace("-", MINUS)


def signed(value: float, places: int = 2) -> str:
    """As decimals, with a plus sign before what is above zero."""
    shown = decimals(value, places)
    return f"+{shown}" if shown[0].isdigit() and float(shown) > 0 else shown


def interval(low: float, high: float, places: int = 2) -> str:
    """`[-0.12, +0.30]`, or nothing when there is none."""
    return "" if math.isnan(low) else f"[{signed(low, places)}, {signed(high, places)}]"


def p_value(p: float) -> str:
    """Three digits, `< 0.001` below."""
    return NOTHING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def whole(value: float) -> str:
    """An integer with thousands separators; `> 100,000` for infinity."""
    if math.isnan(value):
        return NOTHING
    return "> 100,000" if math.isinf(value) else f"{int(value):,}"


def share(value: float) -> str:
    """A share of 1 as whole percent."""
    return NOTHING if math.isnan(value) else f"{100 * value:.0f} %"


def large(value: float) -> str:
    """Three digits and k, M or G: 4,249,354 -> 4.25 M."""
    if math.isnan(value):
        return NOTHING
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s` or `5 h 12 min`."""
    if math.isnan(seconds):
        return NOTHING
    whole_seconds = round(seconds)
    minutes, rest = divmod(whole_seconds, 60)
    if minutes == 0:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def text(value: object) -> str:
    """A string, a dash for a missing one."""
    return value if isinstance(value, str) and value else NOTHING


def arrows(changes: str) -> str:
    """ASCII arrows as real ones."""
    return changes.replace("->", ARROW)


def escape_markdown(value: str) -> str:
    """Text that means the same inside a Markdown table cell."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return re.sub(r"([\\|*_`\[\]$~])", r"\\\1", value)


def escape_latex(value: str) -> str:
    """Text that means the same inside a LaTeX table cell."""
    return "".join(LATEX.get(c, c) for c in value.replace("\n", " "))


def _accuracy(row: pd.Series) -> str:
    mean, sd = decimals(row["mean"]), row["sd"]
    return mean if math.isnan(sd) else f"{mean} {PLUS_MINUS} {decimals(sd)}"


def _effect(row: pd.Series) -> str:
    return f"{signed(row['delta'])} {interval(row['ci_low'], row['ci_high'])}".strip()


def _sort_key(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(float(value)) else f"{float(value):.12g}"


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.12g}"
    return "" if value is None else value


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"


def _latex_row(cells: list[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
