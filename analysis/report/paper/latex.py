"""Write a fitted table as LaTeX: booktabs, on one page or on several (longtable)."""

import re
from dataclasses import dataclass

from ...text import escape_latex, without_glyph
from .fit import Fitted, PaperColumn, pieces, stacked_parts

OTHER_CHARACTERS = (
    "The table has characters that pdfLaTeX does not know ({}). Compile with xelatex or lualatex, with a font that has "
    "them: \\usepackage{{fontspec}} and \\setmainfont{{NAME}}."
)
MAX_NAMED = 8
"""Unknown characters that the message names."""


@dataclass(kw_only=True)
class PaperTable:
    """Table for a paper with its caption, not escaped."""

    label: str
    title: str
    """Short caption, for the list of tables."""
    caption: str
    """Long caption, which begins with the title."""
    fitted: Fitted

    @property
    def columns(self) -> list[PaperColumn]:
        """Return the columns, as they are shown."""
        return self.fitted.columns

    def latex(self) -> str:
        """Return a table, or a longtable where the rows need more than a page; its first lines name the packages."""
        body = _long(self) if self.fitted.is_long else _floating(self)
        texts = [self.caption, *(text for c in self.columns for text in [c.head, *c.cells])]
        lines = [f"% Packages: {', '.join(_packages(self.fitted))}."]
        unknown = without_glyph("".join(texts))
        return "\n".join([*lines, *(_refusal(unknown) if unknown else []), *body]) + "\n"


def _packages(fitted: Fitted) -> list[str]:
    needed = {
        "booktabs": True,
        "array": any(fitted.shares),
        "graphicx": any(fitted.turned),
        "longtable": fitted.is_long,
    }
    return [name for name, is_needed in needed.items() if is_needed]


def _refusal(unknown: list[str]) -> list[str]:
    """Return lines by which pdfLaTeX stops with one sentence, in place of one error a character."""
    named = ", ".join(f"U+{ord(character):04X}" for character in unknown[:MAX_NAMED])
    sentence = OTHER_CHARACTERS.format(named + (", ..." if len(unknown) > MAX_NAMED else ""))
    in_error = sentence.replace("\\", "\\string\\")
    return [f"% {sentence}", rf"\ifdefined\Umathcode\else\errmessage{{{in_error}}}\expandafter\endinput\fi"]


def _floating(table: PaperTable) -> list[str]:
    fitted = table.fitted
    return [
        r"\begin{table}[tbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        _caption(table),
        rf"\{fitted.size}",
        rf"\setlength{{\tabcolsep}}{{{fitted.separation:g}pt}}",
        rf"\begin{{tabular}}{{{_specification(fitted)}}}",
        r"\toprule",
        _head(fitted),
        r"\midrule",
        *_rows(fitted),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _long(table: PaperTable) -> list[str]:
    fitted, number = table.fitted, len(table.columns)
    return [
        r"\begingroup",
        rf"\{fitted.size}",
        rf"\setlength{{\tabcolsep}}{{{fitted.separation:g}pt}}",
        r"\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{{_specification(fitted)}}}",
        rf"{_caption(table)} \\",
        *(r"\toprule", _head(fitted), r"\midrule", r"\endfirsthead"),
        *(r"\toprule", _head(fitted), r"\midrule", r"\endhead"),
        *(r"\midrule", rf"\multicolumn{{{number}}}{{r@{{}}}}{{continued on the next page}} \\", r"\endfoot"),
        *(r"\bottomrule", r"\endlastfoot"),
        *_rows(fitted),
        r"\end{longtable}",
        r"\endgroup",
    ]


def _caption(table: PaperTable) -> str:
    short, long = escape_latex(table.title), escape_latex(table.caption)
    return rf"\caption[{{{short}}}]{{{long}}}\label{{tab:{_label(table.label)}}}"


def _label(text: str) -> str:
    """Return a text as part of a label: letters, digits and hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "arms"


def _specification(fitted: Fitted) -> str:
    parts = []
    for column, share in zip(fitted.columns, fitted.shares, strict=True):
        plain = "r" if column.numeric else "l"
        parts.append(
            plain if share is None else rf">{{\raggedright\arraybackslash\hspace{{0pt}}}}p{{{share:g}\linewidth}}"
        )
    return "@{}" + "".join(parts) + "@{}"


def _head(fitted: Fitted) -> str:
    cells = []
    for column, lines, is_turned in zip(fitted.columns, fitted.heads, fitted.turned, strict=True):
        escaped = [escape_latex(line) for line in lines]
        if is_turned:
            cells.append(rf"\rotatebox{{90}}{{{escaped[0]}}}")
        elif len(lines) == 1:
            cells.append(escaped[0])
        else:
            cells.append(_stack(escaped, "b", "r" if column.numeric else "l"))
    return _row(cells)


def _rows(fitted: Fitted) -> list[str]:
    rows = zip(*(column.cells for column in fitted.columns), strict=True)
    styles = list(zip(fitted.shares, fitted.stacked, strict=True))
    return [_row([_cell(text, *style) for text, style in zip(row, styles, strict=True)]) for row in rows]


def _cell(text: str, share: float | None, is_stacked: bool) -> str:
    if share is not None:
        return r"\allowbreak{}".join(escape_latex(piece) for piece in pieces(text))
    parts = stacked_parts(text) if is_stacked else [text]
    return escape_latex(text) if len(parts) == 1 else _stack([escape_latex(part) for part in parts], "t", "r")


def _stack(lines: list[str], place: str, side: str) -> str:
    """Return escaped lines one below the other."""
    # A bracket after \\ would be read as its argument.
    text = r"\\".join(f"{{}}{line}" if line[:1] in "[*" else line for line in lines)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{text}\end{{tabular}}"


def _row(cells: list[str]) -> str:
    first = f"{{}}{cells[0]}" if cells[0][:1] in ("[", "*") else cells[0]
    return " & ".join([first, *cells[1:]]) + r" \\"
