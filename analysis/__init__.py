"""analysis: read records, judge, draw, write reports. The command is `python -m vitsweep.analysis`.

Everything imports it as vitsweep.analysis, so that a folder `analysis` of the user's cannot take its place.
"""

import importlib.util
import os

import vitsweep  # noqa: F401 - lets scripts of version 0.1 import analysis.load and others


def _ignore_absent_backend() -> None:
    """Remove an MPLBACKEND whose module is not installed here, such as a notebook's: matplotlib refuses to import."""
    name = os.environ.get("MPLBACKEND", "").partition("module://")[2]
    # The parent package first: find_spec of a submodule imports it.
    if name and not (importlib.util.find_spec(name.partition(".")[0]) and importlib.util.find_spec(name)):
        del os.environ["MPLBACKEND"]


_ignore_absent_backend()
