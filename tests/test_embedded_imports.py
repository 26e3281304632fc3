"""Programs that are texts inside other programs import names that exist; no style checker sees them."""

import re
from importlib import import_module

import pytest

from tests.support.imports import ROOT, python_files

LINE = re.compile(r"^\s*(?:\"|')?from (vitsweep[\w.]*) import ([\w, ]+)", re.MULTILINE)
FILES = [path for path in python_files("tests", "docs") if LINE.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imported_names_exist(path):
    for module, names in LINE.findall(path.read_text(encoding="utf-8")):
        for name in (part.split(" as ")[0].strip() for part in names.split(",") if part.strip()):
            found = import_module(module)
            assert hasattr(found, name) or import_module(f"{module}.{name}"), f"{module}.{name}"
