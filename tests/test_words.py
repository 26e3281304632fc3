"""Names and sentences use the field's terms (docs/glossary.md, CONTRIBUTING.md rule 5)."""

import ast
import io
import re
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.imports import ROOT, python_files

BANNED = (
    "nursery|standings?|at_rest|witness|mourn|last_word|bury|buried|standins|complaints?|misfits?|faults?|told|tells?|"
    "hears?|heard|wish(?:es)?|somebody|nobody|let_go|take_back|give_way|clear_away|conclude|kept_measures|afterwards_of|"
    "science|typed_config|counts_as_science|why_alone|with_company|say_packs|look_through|hindrance|turn_down"
)
KEPT = ("told apart", "cannot be told", "nothing tells whether", "for somebody who would have stopped", "study.tell(")
"""Phrases of reports, which published ones hold word for word, and a function of Optuna."""
WORD = re.compile(rf"\b(?:{BANNED})\b", re.IGNORECASE)
OPENING = re.compile(r"\A(?:What|Whether|Where|How|Which)\b")
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


def places(paths: list[Path], pattern: re.Pattern[str], pieces: Callable) -> list[str]:
    """Return `file:line: words` of every match in the pieces (line, text) of these files."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {hit[0]}"
        for path in paths
        for line, text in pieces(path.read_text(encoding="utf-8"))
        if (hit := pattern.search(text))
    ]


def test_sources_use_the_fields_words():
    assert not places(SOURCES, WORD, lambda text: enumerate(map(without_kept, text.splitlines()), start=1))


def test_tests_use_the_fields_words():
    assert not places(TESTS, WORD, words_of_a_test)


def test_docstrings_name_the_thing_instead_of_paraphrasing_it():
    assert not places(SOURCES + TESTS, OPENING, lambda text: documented(ast.parse(text)))


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
