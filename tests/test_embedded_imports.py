"""Programs that are texts inside other programs import names that exist; no style checker sees them."""

import re
from importlib import import_module

from tests.support.imports import python_files

LINE = re.compile(r"^\s*(?:\"|')?from (vitsweep[\w.]*) import ([\w, ]+)", re.MULTILINE)


def test_imported_names_exist():
    lines = {line for path in python_files("tests", "docs") for line in LINE.findall(path.read_text(encoding="utf-8"))}
    assert len(lines) > 100
    for module, names in lines:
        for name in (part.split(" as ")[0].strip() for part in names.split(",") if part.strip()):
            assert hasattr(import_module(module), name) or import_module(f"{module}.{name}"), f"{module}.{name}"
