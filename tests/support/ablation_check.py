"""Parts that an added ablation lacks, one message each: `python -m tests.support.ablation_check`, in seconds.

Reads fields, syntax trees, conf/ and docs/; imports neither torch nor a test. A message names a file and what to write
there; docs/adding-an-ablation.md explains the parts.
"""

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.config_reads import constants_in, fields_read, literal_of, named_values
from vitsweep.added_fields import neutral_values
from vitsweep.config.model_schema import CHOICES
from vitsweep.config.overrides import yaml_text
from vitsweep.config.recipe.rules import TEXTS
from vitsweep.config.schema import ModelConfig, RecipeConfig

ROOT = Path(__file__).resolve().parents[2]
NOTE = ("why", "source", "command", "expected")
CODE = ("vitsweep/model", "vitsweep/train", "vitsweep/data")
PRICES = ("cost.py", "resnet_shapes.py", "trial")
"""Files and folders that price or compare settings: to read a field there is not to honor it."""
NOOP, NOOP_TEST = "vitsweep/train/trial/noop.py", "tests/train/test_noop.py"
BY_VALUE = {"rope_coords": "a parameter of pos_embed=rope2d"}
"""Field whose words need no option of their own -> the reason."""
Options = dict[str, dict[str, dict[str, Any]]]
"""Group -> option -> its values."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A group of the configuration, and the files that hold the parts of its ablations."""

    name: str
    kind: type
    words: Mapping[str, Sequence[str]]
    """Field -> its allowed words."""
    first: Sequence[str]
    """Fields of the first version, whose values are in every hash."""
    schema: str
    rows: tuple[str, str]
    """File with the test rows, and their name in it."""
    references: tuple[str, ...]
    """Tests against other libraries and oracles, as patterns of files."""
    page: str

    @property
    def defaults(self) -> dict[str, Any]:
        """Field -> its default."""
        return {field.name: field.default for field in dataclasses.fields(self.kind)}

    @property
    def added(self) -> list[str]:
        """Fields that the first version lacked."""
        return [name for name in self.defaults if name not in self.first]

    @property
    def choices(self) -> list[tuple[str, Any]]:
        """Each field with each of its words and switches that is not the default."""
        words = [(field, word) for field, allowed in self.words.items() for word in allowed]
        switches = [(name, not value) for name, value in self.defaults.items() if isinstance(value, bool)]
        return [(f, value) for f, value in words + switches if value != self.defaults[f]]


def first_fields(group: str, root: Path = ROOT) -> list[str]:
    """Return the fields that a group of the configuration had when they could not be added yet."""
    plan = json.loads((root / "tests/fixtures/reference/sweep/plan.json").read_text(encoding="utf-8"))
    return list(plan["cells"][0]["config"][group])


MODEL = Part(
    name="model",
    kind=ModelConfig,
    words=CHOICES,
    first=first_fields("model"),
    schema="vitsweep/config/model_schema.py",
    rows=("tests/support/model_options.py", "AXES"),
    references=("tests/model/test_*.py",),
    page="docs/axes.md",
)
RECIPE = Part(
    name="recipe",
    kind=RecipeConfig,
    words=TEXTS,
    first=first_fields("recipe"),
    schema="vitsweep/config/recipe/schema.py",
    rows=("tests/support/recipe_options.py", "RECIPES"),
    references=("tests/data/test_*.py", "tests/train/test_recipes.py", "tests/train/test_optim.py"),
    page="docs/recipes.md",
)


def missing_parts(root: Path = ROOT, parts: Iterable[Part] = (MODEL, RECIPE)) -> list[str]:
    """Return all messages."""
    checks = (
        not_neutral,
        unread_fields,
        without_option,
        without_row,
        without_noop_row,
        without_reference,
        without_docs,
    )
    return without_note(root) + [message for part in parts for find in checks for message in find(part, root)]


def not_neutral(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each field that earlier versions lacked and that has no neutral value."""
    return [
        f"{part.schema}: {part.name}.{name} would change the hashes of earlier studies; write `= added_field(DEFAULT)`"
        for name in part.added
        if name not in neutral_values(part.kind)
    ]


def unread_fields(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each field that no code honors."""
    paths = [path for folder in CODE for path in sorted((root / folder).rglob("*.py"))]
    read = fields_read(part.kind, part.name, [path for path in paths if not {*path.parts} & {*PRICES}])
    return [
        f"{part.schema}: nothing reads {part.name}.{name}; write its branch in {' or '.join(CODE)}"
        for name in part.defaults
        if name not in read
    ]


def without_note(root: Path = ROOT) -> list[str]:
    """Return a message for each part of a lab note that the head of a file in conf/ lacks or leaves empty."""
    found = []
    for path in sorted((root / "conf").rglob("*.yaml")):
        head = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
        missing = [word for word in NOTE if not re.search(rf"\b{word}: +\S", head)]
        found += [f"{path.relative_to(root)}: the head lacks `# {word}: ...`; write it" for word in missing]
    return found


def options_of(part: Part, root: Path = ROOT) -> Options:
    """Return the options of all groups, with the values of the options they begin with."""
    folders = sorted(path for path in (root / "conf" / part.name).glob("*") if path.is_dir())
    return {f.name: {path.stem: values_of(path) for path in sorted(f.glob("*.yaml"))} for f in folders}


def values_of(path: Path) -> dict[str, Any]:
    """Return the values that an option's file sets."""
    values, found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}, {}
    for entry in values.pop("defaults", []):
        if entry != "_self_":
            found |= values_of(path.parent / f"{entry.partition('@')[0]}.yaml")
    return found | values


def without_option(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each field and word that no option sets, each key that a group's default does not set, and
    each group that the command line would not know.

    Of a recipe's fields those that stand in recipes alone need no option.
    """
    options = options_of(part, root)
    found = [message for group, values in options.items() for message in without_default(part, group, values)]
    chosen = yaml.safe_load((root / "conf/config.yaml").read_text(encoding="utf-8"))["defaults"]
    known = {key for entry in chosen if isinstance(entry, dict) for key in entry}
    found += [
        f"conf/config.yaml: the command line does not know {group}; write `- {group}: null` below defaults"
        for group in (f"{part.name}/{name}" for name in options)
        if group not in known
    ]
    if part.name == "recipe":
        return found
    where = "write conf/model/AXIS/OPTION.yaml"
    sets = [values for group in options.values() for values in group.values()]
    fields = [f for f in part.added if not any(f in values for values in sets)]
    found += [f"conf/model: no option sets {field}; {where}, one of them with the default" for field in fields]
    return found + [
        f"conf/model: no option sets {field}: {yaml_text(value)}; {where}"
        for field, value in part.choices
        if field in part.added and field not in (*fields, *BY_VALUE)
        if not any(values.get(field) == value for values in sets)
    ]


def without_default(part: Part, group: str, options: dict[str, dict[str, Any]]) -> list[str]:
    """Return a message if no option of a group is the default, or that leaves a key of its siblings as it is."""
    keys, where = set().union(*options.values()), f"conf/{part.name}/{group}"
    neutral = [option for option, values in options.items() if is_default(part, values)]
    if not neutral:
        return [f"{where}: no option is the default; write one that sets every key of the group to it"]
    option = max(neutral, key=lambda name: len(options[name]))
    missing = ", ".join(f"`{key}: {yaml_text(part.defaults[key])}`" for key in sorted(keys - set(options[option])))
    return [f"{where}/{option}.yaml: other options set what it leaves alone; write {missing}"] if missing else []


def is_default(part: Part, values: dict[str, Any]) -> bool:
    """Return True if all values are the defaults, or what a default of null stands for."""
    implied = getattr(part.kind(), "implied_values", dict)()
    return all(
        value == part.defaults.get(key) or (key in implied and value == implied[key]) for key, value in values.items()
    )


def without_row(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each added field, word and switch without a row of those that all tests of training take."""
    path, name = part.rows
    rows = list(named_values(literal_of(root / path, name)))
    fields = {field for field, _ in rows}
    found = [f'{path}: {name} lacks "{field}"; write a row with it' for field in part.added if field not in fields]
    return found + [
        f'{path}: {name} lacks "{field}": {json.dumps(value)}; write a row with it'
        for field, value in part.choices
        if field in (*part.added, *part.words) and (field, value) not in rows
        if field in fields or field not in part.added
    ]


def without_noop_row(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each field that the no-op check or its test does not know."""
    known = {word for text in constants_in(root / NOOP) for word in re.split(r"[ .]", text)}
    tried = " ".join(constants_in(root / NOOP_TEST))
    return [
        f"{NOOP}: EXPECTED lacks {part.name}.{name}; write which effects it may have"
        for name in part.added
        if name not in known
    ] + [
        f'{NOOP_TEST}: ACTING lacks {part.name}.{name}; write `"{part.name}.{name}=VALUE": {{EFFECTS}}`'
        for name in part.added
        if f"{part.name}.{name}=" not in tried
    ]


def without_reference(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each word, and each field of the model, that no test against a reference names."""
    paths = [path for pattern in part.references for path in sorted(root.glob(pattern))]
    words = {text for path in paths for text in constants_in(path)}
    names = {name for path in paths for name in keys_in(path)}
    missing = [name for name in part.added if part.name == "model" and name not in names]
    missing += [f"{f}={word}" for f, word in part.choices if isinstance(word, str) and word not in words]
    rule = "write one: equal to another library, or to an oracle of its own"
    return [f"{' or '.join(part.references)}: no test has {part.name}.{each}; {rule}" for each in missing]


def keys_in(path: Path) -> Iterator[str]:
    """Yield the names of keyword arguments and the text keys of dictionaries in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Dict):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant))


def without_docs(part: Part, root: Path = ROOT) -> list[str]:
    """Return a message for each field, group and option that the page of its axes does not name."""
    lines = (root / part.page).read_text(encoding="utf-8").splitlines()
    quoted = {word.removeprefix(f"{part.name}.") for line in lines for word in re.findall(r"`([\w.]+)`", line)}
    found = [f"{part.page}: no row has `{name}`; write it there" for name in part.added if name not in quoted]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
    for group, options in options_of(part, root).items():
        row = next((row for row in cells if {f"`{group}`", f"`{part.name}/{group}`"} & {*row[1].split(", ")}), None)
        if row is None:
            found.append(f"{part.page}: no row begins with `{group}`; write group, fields, options, reference")
        elif missing := sorted(set(options) - set(re.findall(r"\w+", row[3]))):
            found.append(f"{part.page}: the options of `{group}` lack {', '.join(missing)}; write them there")
    return found


if __name__ == "__main__":
    messages = missing_parts()
    print("\n".join(messages) or "nothing is missing")
    sys.exit(bool(messages))
