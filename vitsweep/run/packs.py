"""Which cells can be trained as one program, and how many of them at a time; read from plans and packs.json, no torch.

Two cells can share a program if their tensors have the same shapes and their steps go on side by side: the same network
apart from its dropout rates, the same images, batch and epochs, the same device and precision. All else is each
cell's own: seed, learning rate, weight decay, optimizer, schedule, dropout rates, augmentation, loss, clipping.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from vitsweep.config.convert import flatten
from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import DataConfig
from vitsweep.data.counts import batch_and_steps, split_sizes
from vitsweep.errors import RecordError
from vitsweep.files import write_json
from vitsweep.study.locks import exclusive_access
from vitsweep.study.plan import Cell

PACKS_NAME = "packs.json"
MAX_CELLS = 32
"""Cells in one program where neither the user nor a measurement says otherwise."""
MIN_STEPS = 1000
"""Training steps below which pack=auto leaves a cell alone: measuring would take longer than packing can save."""
SHARED_RECIPE = ("recipe.epochs", "recipe.batch_size")
SHARED_SETTINGS = ("device", "precision", "compile", "deterministic")


@dataclass(kw_only=True)
class PackMeasurement:
    """What pack=auto found for one program on one device; kept in packs.json."""

    size: int
    """Cells at a time."""
    device: str
    images_per_second: dict[str, float]
    """Cells at a time -> training images of all of them in a second."""
    reason: str
    """Why not more."""
    is_limit: bool = True
    """Whether more were tried and found no better; else there were no more cells, or no room for more at that time."""


def shared_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of what all cells of one program have in common.

    Args:
        config: a cell's, resolved, as a plan keeps it.
    """
    return {key: value for key, value in flatten(config).items() if is_shared(key)}


def is_shared(key: str) -> bool:
    """Whether cells of one program must agree in a key of the configuration."""
    if key.startswith("model."):
        return not key.endswith("dropout_prob")
    return key.startswith("data.") or key in SHARED_RECIPE + SHARED_SETTINGS


def program_key(config: dict[str, Any]) -> str:
    """Names the program in packs.json."""
    return hashlib.sha256(json.dumps(shared_settings(config), sort_keys=True).encode()).hexdigest()[:16]


def group_by_program(cells: list[Cell]) -> list[list[Cell]]:
    """The cells in groups that can share a program, in the order of the groups' first cells."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(program_key(cell.config), []).append(cell)
    return list(found.values())


def differing_settings(cells: list[Cell]) -> dict[str, list[Any]]:
    """Dotted key -> the values, of what keeps the cells from being one program."""
    programs = [shared_settings(group[0].config) for group in group_by_program(cells)]
    keys = dict.fromkeys(key for program in programs for key in program)
    values = {key: list({yaml_text(program.get(key)): None for program in programs}) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}


def unpacked_reason(config: dict[str, Any], pack: str) -> str:
    """Why a cell is trained apart whatever the others are, or nothing."""
    if pack == "off":
        return "pack=off"
    if config["model"]["name"] == "resnet":
        return "a resnet's running statistics belong to one model"
    if pack == "auto" and not is_long(config):
        return f"fewer than {MIN_STEPS:,} steps"
    return ""


def packing_note(cells: list[Cell], pack: str) -> str:
    """What `pack=` means for these cells, in a sentence; nothing where there is nothing to say."""
    if pack == "off" or len(cells) < 2:
        return ""
    reasons = [(cell, unpacked_reason(cell.config, pack)) for cell in cells]
    counts = Counter(reason for _, reason in reasons if reason)
    said = [f"trained apart: {count} of {len(cells)} cells ({reason})" for reason, count in counts.items()]
    others = [cell for cell, reason in reasons if not reason]
    said += [describe_groups(others, is_rest=bool(said))] if len(others) > 1 else []
    return f"pack={pack}: {'; '.join(said)}"


def describe_groups(cells: list[Cell], is_rest: bool) -> str:
    """Into how many programs these cells fall, and for want of what they must share."""
    groups = group_by_program(cells)
    if len(groups) == 1:
        return f"all {len(cells)} cells{' left' * is_rest} can be one program"
    why = "; ".join(f"{key} ({', '.join(values)})" for key, values in differing_settings(cells).items())
    sizes = " + ".join(str(len(group)) for group in groups)
    return (
        f"the cells differ in what one program must share: {why}; so {len(cells)} cells are "
        f"{len(groups)} programs ({sizes} cells), trained apart"
    )


class Packs:
    """Chooses which cells go together.

    Args:
        directory: the sweep's, with packs.json.
        pack: auto, off or a number, as configured.
        num_slots: how many jobs there may be at a time; the cells of one program are divided among them.
    """

    def __init__(self, directory: Path, pack: str, num_slots: int = 1):
        self.directory, self.pack, self.num_slots = directory, pack, num_slots
        self.bounds: dict[str, int] = {}  # of programs whose process was killed, perhaps for want of memory
        self.keys: dict[str, str] = {}  # of a plan's cells by id; a thousand of them are asked for time and again

    def group_with(
        self, cell: Cell, others: Iterable[Cell], is_free: Callable[[Cell], bool] = lambda other: True
    ) -> list[Cell]:
        """The cell and those of `others` that are to be trained with it."""
        size = self.size(cell)
        if size == 1:
            return [cell]
        alike = [other for other in others if other.id != cell.id and self.key(other) == self.key(cell)]
        size = min(size, ceil((1 + len(alike)) / self.num_slots))
        return [cell, *islice(filter(is_free, alike), size - 1)]

    def key(self, cell: Cell) -> str:
        """program_key, remembered."""
        return self.keys.get(cell.id) or self.keys.setdefault(cell.id, program_key(cell.config))

    def size(self, cell: Cell) -> int:
        """Most cells in the cell's program, as far as is known before it has been measured."""
        if unpacked_reason(cell.config, self.pack):
            return 1
        key = self.key(cell)
        bound = self.bounds.get(key, MAX_CELLS if self.pack == "auto" else int(self.pack))
        if self.pack != "auto":
            return bound
        found = read_packs(self.directory).get(key)
        return min(bound, found.size) if found is not None and found.is_limit else bound

    def halve(self, cell: Cell, num_together: int) -> None:
        """The process of so many cells was killed: from now on half as many of the program at a time."""
        key = self.key(cell)
        self.bounds[key] = min(self.bounds.get(key, num_together), ceil(num_together / 2))

    def restore(self, cell: Cell) -> None:
        """The cell alone kills its process: it was not their number, so the others may go together again."""
        self.bounds.pop(self.key(cell), None)


def is_long(config: dict[str, Any]) -> bool:
    """Whether a cell is long enough for a measurement to pay; a folder's images are not counted, and taken for many."""
    images = split_sizes(DataConfig(**config["data"]))
    if images is None:
        return True
    _, steps = batch_and_steps(images[0], config["recipe"]["batch_size"])
    return steps * config["recipe"]["epochs"] >= MIN_STEPS


def read_packs(directory: Path) -> dict[str, PackMeasurement]:
    """program_key -> what was measured in this sweep directory."""
    try:
        values = json.loads((directory / PACKS_NAME).read_text(encoding="utf-8"))
        return {key: PackMeasurement(**found) for key, found in values.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as fault:
        raise RecordError(f"{directory / PACKS_NAME}  is damaged ({fault}); delete it") from fault


def save_measurement(directory: Path, config: dict[str, Any], found: PackMeasurement) -> None:
    """Write down what was measured; a job with another program may do so at the same time."""
    with exclusive_access(directory):
        values = {key: vars(other) for key, other in read_packs(directory).items()}
        write_json(directory / PACKS_NAME, values | {program_key(config): vars(found)})
