"""Errors about names that a study has not, with the nearest ones, and messages of the command line for Python."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from vitsweep.errors import ConfigError, RecordError, UserError, did_you_mean

MAX_LISTED = 12


class UnknownNameError(RecordError, KeyError):
    """Name of an arm, seed, table or metric that a study has not; a ValueError, and a KeyError for `Study.get`."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show its repr


def refuse_name(key: str, name: object, known: Iterable[object]) -> NoReturn:
    """Raise UnknownNameError for a name, with the nearest known ones and the list of all.

    Args:
        key: what is named: arm, seed, table, ...
    """
    names = list(map(str, known))
    if str(name) in names:  # of another type
        name = repr(name)
    near = did_you_mean(str(name), names).removeprefix("; ")
    hint = f"{near} Allowed" if near else "allowed"
    listed = ", ".join(names[:MAX_LISTED]) + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
    raise UnknownNameError(f"{key}={name}  is not there; {hint}: {listed or 'none'}")


def relative(text: str) -> str:
    """Return a text in which paths below the working folder are shown from there, as they were given."""
    return text.replace(os.path.join(os.getcwd(), ""), "")


@contextmanager
def argument_errors() -> Iterator[None]:
    """Name arguments of Python in place of the command line's options: `--metric=x  is ...` as `metric=x  is ...`."""
    try:
        yield
    except UserError as error:
        text = re.sub(
            r"(?<!\S)--(metric|baseline|images|gallery|out|sort|columns|digits|width)[ =]", r"\1=", str(error)
        )
        # The same error in other words, unless it has several.
        raise error if isinstance(error, ConfigError) else type(error)(text) from None
