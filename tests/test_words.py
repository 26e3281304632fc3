"""Names and sentences use the field's terms (docs/glossary.md, CONTRIBUTING.md rule 5)."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.imports import ROOT, python_files

BANNED = (
    "nursery|standings?|at_rest|witness|mourn|last_word|bury|buried|standins|complaints?|misfits?|faults?|told|tells?|"
    "hears?|heard|wish(?:es)?|somebody|nobody|let_go|take_back|give_way|clear_away|conclude|kept_measures|afterwards_of|"
    "science|typed_config|counts_as_science|why_alone|with_company|say_packs|look_through|hindrance|turn_down"
)
KEPT = ("told apart", "cannot be told", "nothing tells whether", "for somebody who would have stopped")
"""Phrases of reports: published ones hold them word for word."""
WORD = re.compile(rf"\b(?:{BANNED})\b", re.IGNORECASE)
OPENING = re.compile(r"(?:What|Whether|Where|How|Which)\b")
SOURCES = python_files("vitsweep", "analysis")


def documented(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and text of every docstring of a module, class or function."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(getattr(node, "lineno", 1), ast.get_docstring(node) or "") for node in nodes]


def without_kept(line: str) -> str:
    """Return the line without the phrases of KEPT."""
    for phrase in KEPT:
        line = line.replace(phrase, "")
    return line


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_uses_the_fields_words(path: Path):
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {hit[0]}"
        for number, line in lines
        if (hit := WORD.search(without_kept(line)))
    ]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstring_names_the_thing_instead_of_paraphrasing_it(path: Path):
    found = [number for number, text in documented(ast.parse(path.read_text())) if OPENING.match(text)]
    assert not found


@pytest.mark.parametrize("sentence", ["the nursery of cells", "a Witness", "other people's faults"])
def test_a_banned_word_would_be_found(sentence):
    assert WORD.search(sentence)
