"""Names and sentences use the field's terms (docs/glossary.md, CONTRIBUTING.md rule 5)."""

import ast
import io
import re
import tokenize
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
TESTS = python_files("tests")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def documented(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and text of every docstring of a module, class or function."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, *DEFINITIONS))]
    return [(getattr(node, "lineno", 1), ast.get_docstring(node) or "") for node in nodes]


def words_of_a_test(text: str) -> list[tuple[int, str]]:
    """Return line and text of every name with its words apart, docstring and comment; strings are data there."""
    tree = ast.parse(text)
    names = [(n.lineno, n.name.replace("_", " ")) for n in ast.walk(tree) if isinstance(n, DEFINITIONS)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return names + documented(tree) + [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]


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


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_uses_the_fields_words(path: Path):
    assert not [(line, hit[0]) for line, text in words_of_a_test(path.read_text()) if (hit := WORD.search(text))]


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstring_names_the_thing_instead_of_paraphrasing_it(path: Path):
    found = [number for number, text in documented(ast.parse(path.read_text())) if OPENING.match(text)]
    assert not found


@pytest.mark.parametrize("sentence", ["the nursery of cells", "a Witness", "other people's faults"])
def test_a_banned_word_would_be_found(sentence):
    assert WORD.search(sentence)


@pytest.mark.parametrize(
    "text", ["def test_fault_is_told(): ...", "x = 1  # what nobody hears", 'def f():\n    """Tell a word."""']
)
def test_a_banned_word_of_a_test_would_be_found(text):
    assert any(WORD.search(words) for _, words in words_of_a_test(text))


def test_strings_of_a_test_are_data():
    assert not any(WORD.search(words) for _, words in words_of_a_test('word = "told apart"'))
