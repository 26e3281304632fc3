"""README and docs: every command is accepted, every key and option exists, every link leads somewhere.

A command that trains is composed and validated, with the first of its swept values; commands on results are parsed by
their own parsers. Kinds: agreement of documents with code.
"""

import dataclasses
import re
import tomllib
from functools import cache

import pytest

from tests.support import documents
from tests.support.documents import DOCUMENTS, Command, name_of
from tests.support.imports import ROOT
from vitsweep.__main__ import COMMANDS, split_name
from vitsweep.config.command_line import order_words
from vitsweep.config.composer import Composer
from vitsweep.config.convert import flatten
from vitsweep.config.hydra import make_loader
from vitsweep.config.schema import Config

NAMES = [name_of(path) for path in DOCUMENTS]
FLAGS = {"-m", "--multirun"}
OTHERS = {"pip", "wandb", "jupyter"}
MODULES = {"vitsweep", "pytest", "venv", "pip"}
"""Modules of others that a document may start with `python -m`, and ours without a command."""
COPIES = {"cluster=mysite": "cluster=example"}
"""Options of config groups in the reader's own directory, which a document makes by copying one of ours."""
ELSEWHERE = ("$", "<", "~", "...", "DIR", "mine", "my_study")


@cache
def composer() -> Composer:
    return Composer(make_loader(None), "config")


@cache
def known_keys() -> frozenset[str]:
    """Return every dotted key of a configuration, and the names of its groups."""
    return frozenset(flatten(dataclasses.asdict(Config()))) | frozenset({"model", "data", "recipe", "tracker", "study"})


def of_command(document) -> list[Command]:
    return documents.commands(ROOT / document)


def program(command: Command) -> tuple[str, list[str]]:
    """Return the vitsweep command and its words; an empty name for another program."""
    words = list(command.words)
    if words[0] == "vitsweep":
        return split_name(words[1:])
    if words[1:2] == ["run.py"]:
        return "run", words[2:]
    if words[1:2] == ["-m"] and words[3:] and words[2] in ("vitsweep", "vitsweep.analysis"):
        return split_name(words[3:])
    return "", words


def first_values(words: list[str]) -> list[str]:
    """Return the overrides with the first of the values that they sweep."""
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if word.startswith("-") or not equals or key in ("hydra.launcher.n_jobs", "sweep.on_end"):
            continue
        plain = "," in value and not value.startswith(("[", "{", "tag(", "interval("))
        found.append(f"{key}={value.split(',')[0]}" if plain else word)
    return found


TRAINING = [c for path in DOCUMENTS for c in documents.commands(path) if program(c)[0] in ("run", "plan")]


@pytest.mark.parametrize("command", TRAINING, ids=lambda command: command.place)
def test_training_commands_compose(command, monkeypatch):
    name, words = program(command)
    words = [word for word in order_words(words) if word not in FLAGS]
    studies = [word.partition("=")[2] for word in words if word.startswith("study=")]
    written = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    for study in studies:
        assert (ROOT / f"conf/study/{study}.yaml").exists() or f"name: {study}" in written or study in ELSEWHERE
    overrides = [w for w in first_values(words) if not w.startswith(("study=", "hydra", "seed=range"))]
    for copy, original in COPIES.items():
        if copy in overrides:
            assert f"cp conf/{original.replace('=', '/')}.yaml ~/vitsweep-conf/{copy.replace('=', '/')}.yaml" in written
    overrides = [COPIES.get(word, word) for word in overrides]
    if any(word.startswith("cluster=") for word in overrides):
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
    composer()(overrides)


@pytest.mark.parametrize("document", NAMES)
def test_commands_on_results_exist_with_their_options(document):
    for command in of_command(document):
        name, words = program(command)
        if name in ("run", "plan"):
            continue
        if not name:
            assert words[0] in OTHERS or is_there(words), command.place
            continue
        assert name in COMMANDS, command.place
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        wrong = options - options_of(name) if options else None
        assert not wrong, f"{command.place}: {wrong}"


def is_there(words: list[str]) -> bool:
    """Return True for a script or a module of this checkout, or a module of MODULES."""
    if words[1] != "-m":
        return (ROOT / words[1]).exists()
    return words[2] in MODULES or (ROOT / f"{words[2].replace('.', '/')}.py").exists()


@cache
def options_of(name: str) -> frozenset[str]:
    """Return the options that a command's module names; read as text, since some modules import torch."""
    path = COMMANDS[name].module.removeprefix("vitsweep.analysis.")
    own = f"analysis/{path}.py" if path != COMMANDS[name].module else path
    files = [own.removesuffix(".py").replace(".", "/") + ".py", "vitsweep/commands/command_arguments.py"]
    files += ["analysis/gallery/command.py"] if name == "gallery" else []
    text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    return frozenset(re.findall(r"--[a-z][\w-]*", text)) | {"--help"}


@pytest.mark.parametrize("document", NAMES)
def test_extras_that_are_installed_exist(document):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"pip install (?:-q )?(?:-e )?'(?:\.|vitsweep)\[([\w,]+)\]'", text)
    assert {extra for names in named for extra in names.split(",")} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("document", NAMES)
def test_keys_exist(document):
    keys = known_keys()
    wrong = []
    for span in documents.spans(ROOT / document):
        for key in re.findall(r"(?<![\w./+-])((?:model|data|recipe|sweep|tracker)\.[a-z]\w*)\b(?![\w.(/])", span):
            if key not in keys and not key.endswith(".yaml"):
                wrong.append(key)
        for group, options in re.findall(
            r"(?<![\w./])((?:model|recipe)(?:/\w+)?|data|tracker)=([a-z_]\w*(?:,\w+)*)", span
        ):
            wrong += [f"{group}={o}" for o in options.split(",") if not (ROOT / f"conf/{group}/{o}.yaml").exists()]
    assert wrong == []


@pytest.mark.parametrize("document", NAMES)
def test_links_lead_somewhere(document):
    path, broken = ROOT / document, []
    for link in documents.links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in documents.anchors(target)):
            broken.append(link)
    assert broken == []


def test_index_names_every_page():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(documents.links(ROOT / "docs/README.md"))


def test_unmarked_blocks_are_read():
    assert len(TRAINING) > 20 and all(command.words for command in TRAINING)
