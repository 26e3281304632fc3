"""Formats of numbers and names: digits, signs, intervals, p values, and the escapes of Markdown and LaTeX."""

import math
import re
from typing import Any

from vitsweep.errors import printable

MINUS = "\u2212"
PLUS_MINUS = "\u00b1"
ARROW = "\u2192"
DASH = "\u2013"
NO_BREAK = "\u00a0"
FORMULA = "=+-@\t\n\r\uff1d\uff0b\uff0d\uff20"
"""First characters of a text that a spreadsheet reads as a formula; the last four are the full-width ones."""
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
    "∞": r"$\infty$",
    DASH: "--",
    NO_BREAK: "~",
} | {c: "\\" + c for c in "{}$&#_%"}
GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau "
    "upsilon varphi chi psi omega"
).split()
LATEX |= {chr(0x3B1 + place): rf"$\{name}$" for place, name in enumerate(GREEK) if name != "omicron"}
LATEX |= {c: rf"$\{n}$" for c, n in (("≤", "leq"), ("≥", "geq"), ("≈", "approx"), ("√", "surd"), ("Δ", "Delta"))}
LATEX_KNOWS = set(
    "¡¢£¤¥¦§¨©ª¬®¯°²³´µ¶·¸¹º¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖ×ØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõö÷øùúûüýÿ"
    "ĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĲĳĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽž"
    "‐‑‒–—―‖‘’“”†‡•…‰‱※‽⁄"
)
"""Characters beyond ASCII that pdfLaTeX of 2022 prints without a further package (tried one by one)."""
LIGATURES = ("--", "``", "''", "?`", "!`")
"""Pairs that TeX joins to another character."""


def format_ranges(numbers: list[int]) -> str:
    """Format [1, 2, 3, 9] as `1-3, 9`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def decimals(value: float, places: int = 2) -> str:
    """Format a number with a real minus sign; a dash for None or NaN."""
    if value is None or math.isnan(value):
        return DASH
    # Ties such as 2.975 are common among means of accuracies; the last bits of a machine must not decide them.
    rounded = f"{float(f'{value:.12g}'):.{places}f}"
    if float(rounded) == 0:
        rounded = rounded.lstrip("-")
    return rounded.replace("-", MINUS)


def signed(value: float, places: int = 2) -> str:
    """Format as `decimals`, with a plus sign before positive numbers."""
    shown = decimals(value, places)
    return f"+{shown}" if shown[0].isdigit() and float(shown) > 0 else shown


def interval(low: float, high: float, places: int = 2) -> str:
    """Format `[-0.12, +0.30]`; empty for NaN."""
    return "" if math.isnan(low) else f"[{signed(low, places)}, {signed(high, places)}]"


def epochs(mean: float, low: float, high: float, late: int) -> str:
    """Format a mean epoch with its interval; `> 87.0 [82.1, ∞)` where `late` runs have a later epoch than was seen."""
    ends = "" if math.isnan(low) else f" [{decimals(low, 1)}, {'∞)' if late else f'{decimals(high, 1)}]'}"
    return f"{'> ' if late else ''}{decimals(mean, 1)}{ends}"


def p_value(p: float) -> str:
    """Format a p value with three digits, `< 0.001` below."""
    return DASH if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def integer(value: float) -> str:
    """Format an integer with thousands separators; `> 100,000` for infinity."""
    if math.isnan(value):
        return DASH
    return "> 100,000" if math.isinf(value) else f"{int(value):,}"


def bounds(low: float, high: float, places: int = 2) -> str:
    """Format `[0.12, 0.30]`, of numbers without a sign; empty for NaN."""
    return "" if math.isnan(low) else f"[{decimals(low, places)}, {decimals(high, places)}]"


def seeds_text(row: Any) -> str:
    """Format the number of seeds to decide of a row with its interval: `12 [6, 60]`."""
    if math.isnan(row["seeds_needed"]):
        return DASH
    low, high = row.get("seeds_low", math.nan), row.get("seeds_high", math.nan)
    return integer(row["seeds_needed"]) + ("" if math.isnan(low) else f" [{integer(low)}, {integer(high)}]")


def percent(value: float) -> str:
    """Format a share of 1 as whole percent."""
    return DASH if math.isnan(value) else f"{100 * value:.0f} %"


def si_number(value: float) -> str:
    """Format with three digits and k, M or G: 4,249,354 -> 4.25 M."""
    if math.isnan(value):
        return DASH
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Format seconds as `42 s`, `3 min 20 s` or `5 h 12 min`."""
    if math.isnan(seconds):
        return DASH
    whole_seconds = round(seconds)
    minutes, rest = divmod(whole_seconds, 60)
    if minutes == 0:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def wrap_name(name: str, width: int) -> list[str]:
    """Return an arm's name in lines of at most `width` characters, broken after a +, else after a part of a word."""
    lines = [""]
    for part in re.split(r"(?<=\+)", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        pieces = [part] if len(part) <= width else re.findall(r"[^=_\-,:/ ]*[=_\-,:/ ]|[^=_\-,:/ ]+", part)
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append("")
            while len(piece) > width:
                lines[-1], piece = piece[:width], piece[width:]
                lines.append("")
            lines[-1] += piece
    return lines


def text_or_dash(value: object) -> str:
    """Return a non-empty string, else a dash."""
    return value if isinstance(value, str) and value else DASH


def unicode_arrows(changes: str) -> str:
    """Replace ASCII arrows by real ones."""
    return changes.replace("->", ARROW)


def csv_text(value: object) -> object:
    """Return a text for a cell of a CSV file that no spreadsheet computes as a formula; other values unchanged.

    Spreadsheets show the apostrophe in front as no part of the text.
    """
    if not isinstance(value, str):
        return value
    value = printable(value)
    return f"'{value}" if value[:1] in FORMULA and not _is_number(value) else value


def _is_number(value: str) -> bool:
    return value in ("", "-", "+") or re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value) is not None


def escape_markdown(value: str) -> str:
    """Escape text for a Markdown table cell."""
    value = printable(value)
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return re.sub(r"([\\|*_`\[\]$~])", r"\\\1", value)


def escape_latex(value: str) -> str:
    """Escape text for a LaTeX table cell."""
    text = printable(value).replace("\n", " ")
    before = " " + text
    return "".join(("{}" if before[place] + c in LIGATURES else "") + LATEX.get(c, c) for place, c in enumerate(text))


def without_glyph(text: str) -> list[str]:
    """Return the characters of a text, in their order, that pdfLaTeX does not print even when they are escaped."""
    known = {*LATEX, *LATEX_KNOWS, "\n"}
    return [c for c in dict.fromkeys(printable(text)) if ord(c) > 126 and c not in known]
