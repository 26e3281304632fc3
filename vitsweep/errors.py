"""Errors that a user can correct, and printable text; the module imports no other of vitsweep.

Each message has the form `key=value  rule  what is allowed  what to do`; the command line prints it without a
traceback and exits with code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches

UNPRINTABLE = (*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Code points that control a terminal or the direction of text."""
SURROGATES = range(0xD800, 0xE000)  # bytes of a file name that are not UTF-8
VISIBLE = {code: repr(chr(code))[1:-1] for code in (*UNPRINTABLE, *SURROGATES) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Return a text with its control characters, apart from newline and tab, as visible escapes such as `\\x1b`.

    Names of folders and messages of other programs may hold codes that a terminal would obey.
    """
    return text.translate(VISIBLE)


def did_you_mean(name: str, names: Iterable[str], most: int = 2, cutoff: float = 0.5) -> str:
    """Return `; did you mean A or B?` with the nearest of the names; empty if none is near."""
    near = get_close_matches(name, list(names), n=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""


class UserError(ValueError):
    """An error in the user's input; the message names the key and the remedy.

    >>> try:
    ...     vs.plan("model.hiden_size=64", data="shapes")
    ... except vs.UserError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    model.hiden_size  is unknown; did you mean model.hidden_size?...
    """

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


class ConfigError(UserError):
    """One or more invalid settings.

    Args:
        errors: one message for each, in the form given at the top of this file.
    """

    def __init__(self, errors: list[str]):
        super().__init__("\n".join(errors))
        self.errors = errors

    def __reduce__(self):
        return type(self), (self.errors,)


class DataError(UserError):
    """Images that are missing, damaged, or do not fit the model."""


class RecordError(UserError):
    """A record or plan on disk that is damaged, foreign, or part of another study."""


class LockLost(UserError):  # noqa: N818 - an event rather than a mistake
    """A cell that another process has taken over: this one stops and writes nothing more into its directory."""


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - an event of training rather than a mistake
    """A training loss that is not finite: the cell has diverged."""
