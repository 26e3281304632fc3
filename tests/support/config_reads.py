"""Syntax trees: fields of a configuration that code reads, and literals of test files."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

RULES = ("errors", "implied_values")
"""Methods of a configuration that read a field without honoring it."""


def fields_read(kind: type, group: str, paths: Iterable[Path]) -> set[str]:
    """Return the fields and properties of a configuration that files read, those that a read property reads included.

    An attribute counts if it is taken of a parameter annotated with the class, of a name assigned from `.<group>`, or
    of `<anything>.<group>`; and of `<anything>.config` where a file imports the class. Comments and strings do not.
    """
    read: set[str] = set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        read |= attributes_of(tree, {group} | ({"config"} if kind.__name__ in names_in(tree) else set()), kind, group)
    methods = methods_of(kind)
    open_names = [name for name in read if name in methods]
    while open_names:
        inner = self_reads(methods[open_names.pop()], kind) - read
        open_names += [name for name in inner if name in methods and name not in RULES]
        read |= inner
    return read


def names_in(tree: ast.AST) -> set[str]:
    """Return the names that a file uses."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def attributes_of(tree: ast.AST, owners: set[str], kind: type, group: str) -> set[str]:
    """Return the attributes that a file takes of a configuration.

    Args:
        owners: last names of the expressions whose attributes count, unless a plain name is of another class.
    """
    found: set[str] = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        local = typed_parameters(function, kind) | aliases(function, group)
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                of = node.value
                is_local = isinstance(of, ast.Name) and of.id in local
                if is_local or (isinstance(of, ast.Attribute) and of.attr in owners):
                    found.add(node.attr)
    return found


def typed_parameters(function: ast.FunctionDef, kind: type) -> set[str]:
    """Return the parameters of a function, and of functions in it, that are annotated with a class."""
    arguments = [node for node in ast.walk(function) if isinstance(node, ast.arg) and node.annotation]
    return {node.arg for node in arguments if kind.__name__ in re.findall(r"\w+", ast.unparse(node.annotation))}


def aliases(function: ast.FunctionDef, group: str) -> set[str]:
    """Return the names that are assigned from `<anything>.<group>`, alone or in a row of names."""
    found = set()
    for node in (node for node in ast.walk(function) if isinstance(node, ast.Assign)):
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Attribute) and value.attr == group:
                    found.add(name.id)
    return found


def methods_of(kind: type) -> dict[str, ast.FunctionDef]:
    """Return the methods and properties in a class's own source and in that of the classes above it."""
    found: dict[str, ast.FunctionDef] = {}
    for above in reversed(kind.__mro__[:-1]):
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(above)))
        found |= {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


def self_reads(method: ast.FunctionDef, kind: type) -> set[str]:
    """Return what a method takes of `self`, getattr with a text or a pattern of names included."""
    found, fields = set(), kind.__dataclass_fields__
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            pattern = "".join(
                re.escape(part.value) if isinstance(part, ast.Constant) else r"\w+"
                for part in getattr(node.args[1], "values", [node.args[1]])
            )
            found |= {name for name in fields if re.fullmatch(pattern, name)}
    return found


def literal_of(path: Path, name: str) -> Any:
    """Return the literal that a file assigns to a name."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)
    raise LookupError(f"{path}: no literal {name}")


def named_values(rows: Any) -> Iterator[tuple[str, Any]]:
    """Yield the innermost keys of nested dictionaries with their values."""
    for key, value in rows.items():
        yield from named_values(value) if isinstance(value, dict) else [(key, value)]


def constants_in(path: Path) -> Iterator[str]:
    """Yield the texts in a file's expressions, f-strings' plain parts included; docstrings are none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes:
            yield node.value
