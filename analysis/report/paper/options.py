"""Choices about a table for a paper: columns, order, decimals, width, and their refusals."""

import difflib
import re
from dataclasses import dataclass

from vitsweep.errors import RecordError

DEFAULT_COLUMNS = ("arm", "factors", "mean", "difference", "p", "verdict")
MORE_COLUMNS = ("changes", "seeds", "training", "parameters", "flops", "time", "speed", "published", "family")
COLUMNS = DEFAULT_COLUMNS + MORE_COLUMNS
"""Names for `columns`; `factors` stands for a column a factor, whose names can be given as well."""
ORDERS = ("planned", "effect", "name")
MAX_DIGITS = 6
LENGTHS = {"pt": 1.0, "bp": 1.00375, "mm": 2.84528, "cm": 28.4528, "in": 72.27}
"""Unit of a text width -> its length in TeX's points."""
LEAST_WIDTH, LARGEST_WIDTH = 100.0, 2000.0


@dataclass(kw_only=True, frozen=True)
class PaperOptions:
    """Choices about the table."""

    columns: tuple[str, ...] | None = None
    """Names of COLUMNS or of factors, in their order; None: DEFAULT_COLUMNS, with `seeds` where arms differ in it."""
    sort: str = "planned"
    """Order of the arms below the baseline: planned, effect (largest first) or name."""
    digits: int | None = None
    """Decimals of means and differences; None: 2 for percent, 4 for other metrics."""
    width: float | None = None
    """Text width in points at a base size of 10 pt; None: that of an A4 article at 10, 11 or 12 pt."""

    def __post_init__(self) -> None:
        if self.sort not in ORDERS:
            raise RecordError(f"--sort={self.sort}  is unknown; allowed: {', '.join(ORDERS)}")
        if self.digits is not None and not 0 <= self.digits <= MAX_DIGITS:
            raise RecordError(f"--digits={self.digits}  is out of range; allowed: 0 to {MAX_DIGITS}")
        if self.width is not None and not LEAST_WIDTH <= self.width <= LARGEST_WIDTH:
            allowed = f"{LEAST_WIDTH:g} to {LARGEST_WIDTH:g} pt"
            raise RecordError(f"--width={self.width:g}pt  is out of range; allowed: {allowed}")
        if self.columns is not None:
            _check_repeated(self.columns)


def parse_columns(text: str) -> tuple[str, ...]:
    """Return the names of a list such as `arm,factors,mean`."""
    return tuple(name.strip() for name in text.split(","))


def parse_width(text: str) -> float:
    """Return a length such as 234pt, 8.3cm or 3.25in in TeX's points.

    Raises:
        RecordError: it is no length.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(pt|bp|mm|cm|in)", text.strip())
    if match is None:
        raise RecordError(f"--width={text}  is no length; allowed: a number with pt, mm, cm or in, such as 234pt")
    return float(match[1]) * LENGTHS[match[2]]


def chosen_columns(options: PaperOptions, factors: list[str]) -> list[str]:
    """Return the names of columns, `factors` replaced by those of the factors.

    Raises:
        RecordError: a name is none of a column or a factor, or stands there twice.
    """
    names = options.columns or DEFAULT_COLUMNS
    for name in names:
        if name not in COLUMNS and name not in factors:
            allowed = [*COLUMNS, *factors]
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
            raise RecordError(f"--columns={name}  is unknown; {hint}: {', '.join(allowed)}")
    named = [f for name in names for f in (factors if name == "factors" else [name])]
    _check_repeated(tuple(named))
    return named


def _check_repeated(names: tuple[str, ...]) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise RecordError(f"--columns={','.join(names)}  names {twice[0]} twice; name each column once")
