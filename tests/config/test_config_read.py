"""Every field of the configuration is read somewhere that acts: by following types through the source, not by running.

A field that is declared, composed, hashed and reported but that nothing reads is the worst no-op of all. The checks of
config.py, the no-op detector and whoever only states prices do not count as reading. Obeys a property; made-up fields
prove that it can fail.
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "vitsweep"
TELLERS = {"noop", "effects", "standins", "price", "probe", "cost", "estimate"}
SOURCES = {path.stem: path.read_text() for path in sorted(ROOT.rglob("*.py")) if path.stem not in TELLERS}
CONFIGS = ("Config", "ModelConfig", "DataConfig", "RecipeConfig", "TrackerConfig", "SweepConfig", "StudyConfig")


def declared(sources: dict[str, str]) -> dict[str, dict[str, str]]:
    """Class -> field -> the configuration class that its type names; of configurations and of what holds them."""
    found = {}
    for node in (n for text in sources.values() for n in ast.walk(ast.parse(text))):
        if isinstance(node, ast.ClassDef):
            fields = {n.target.id: config_in(n.annotation) for n in node.body if isinstance(n, ast.AnnAssign)}
            if node.name in CONFIGS or any(fields.values()):
                found[node.name] = fields
    return found


def config_in(annotation: ast.expr | None, kinds: Iterable[str] = CONFIGS) -> str:
    """The configuration class that an annotation names: `Config`, `StudyConfig | None`, `configuration.Config`."""
    words = re.findall(r"\w+", ast.unparse(annotation)) if annotation else []
    return next((word for word in words if word in kinds), "")


class Reader(ast.NodeVisitor):
    """Follows values of configuration classes through one module and notes which fields are read."""

    def __init__(self, fields: dict[str, dict[str, str]]):
        self.fields, self.read = fields, set()
        self.names = {"composed": "Config"}  # what Hydra composed, before it is typed
        self.members: dict[str, str] = {}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.members = self.members, {}
        for part in ast.walk(node):  # fields of a dataclass, and `self.config = config` in __init__
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self.members[part.target.id] = config_in(part.annotation)
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                self.members |= {
                    argument.arg: config_in(argument.annotation, self.fields) for argument in arguments(part)
                }
        self.names["self"] = node.name if node.name in CONFIGS else ""
        self.generic_visit(node)
        self.members = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name == "faults":
            return
        outer = dict(self.names)
        self.names |= {
            argument.arg: config_in(argument.annotation, self.fields)
            for argument in arguments(node)
            if argument.annotation
        }
        self.generic_visit(node)
        self.names = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        for left, right in pairs:
            if isinstance(left, ast.Name) and left.id != "composed":
                self.names[left.id] = self.type_of(right)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self.type_of(node.value)
        if owner and isinstance(node.ctx, ast.Load):
            self.read.add((owner, node.attr))
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """A plan's or a record's configuration is a dictionary: `cell.config["sweep"]`."""
        if ast.unparse(node.value).endswith(".config") and isinstance(node.slice, ast.Constant):
            self.read.add(("Config", node.slice.value))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        is_getattr = isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if is_getattr and (owner := self.type_of(node.args[0])) and isinstance(node.args[1], ast.JoinedStr):
            parts = [re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in node.args[1].values]
            self.read |= {(owner, name) for name in self.fields[owner] if re.fullmatch("".join(parts), name)}
        self.generic_visit(node)

    def type_of(self, node: ast.expr) -> str:
        """The configuration class of an expression, or nothing."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            return name if name in CONFIGS else ""
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in self.members:
                return self.members[node.attr]
            return self.fields.get(self.type_of(node.value), {}).get(node.attr, "")
        return ""


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def unread(sources: dict[str, str]) -> list[str]:
    """Fields of all configuration classes that nothing reads."""
    fields, read = declared(sources), set()
    for text in sources.values():
        reader = Reader(fields)
        reader.visit(ast.parse(text))
        read |= reader.read
    return [f"{kind}.{name}" for kind in CONFIGS for name in fields[kind] if (kind, name) not in read]


def test_every_field_of_the_configuration_is_read():
    assert unread(SOURCES) == []


@pytest.mark.parametrize(
    "after, kind", [("    bias: bool = True\n", "ModelConfig"), ("    lr: float = 1e-3\n", "RecipeConfig")]
)
def test_field_that_nothing_reads_is_found(after, kind):
    config = SOURCES["config"].replace(after, f"{after}    made_up: int = 1\n")
    assert unread(SOURCES | {"config": config}) == [f"{kind}.made_up"]


@pytest.mark.parametrize(
    "module, reads, field",
    [
        ("step", "horizontal_flip=recipe.horizontal_flip", "RecipeConfig.horizontal_flip"),
        ("optim", "recipe.plateau_patience", "RecipeConfig.plateau_patience"),
        ("vit", "bias=config.bias", "ModelConfig.bias"),
        ("data", "config.val_fraction", "DataConfig.val_fraction"),
    ],
)
def test_field_whose_only_readers_are_gone_is_found(module, reads, field):
    assert reads in SOURCES[module]
    gone = re.sub(rf"(\w+)\.{field.partition('.')[2]}\b", "None", SOURCES[module])
    assert unread(SOURCES | {module: gone}) == [field]
