"""Packs: cells trained together as one program, chosen from plans and packs.json without torch.

Two cells can share a program if their tensors have the same shapes and their steps run in parallel: the same network
apart from its dropout rates and first weights, the same images, batch and epochs, the same device and precision.
Everything else is each cell's own: seed, learning rate, weight decay, optimizer, schedule, dropout rates, augmentation,
loss, clipping.
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
from vitsweep.study.arms import FINGERPRINT
from vitsweep.study.locks import exclusive_access
from vitsweep.study.plan import Cell

PACKS_NAME = "packs.json"
MAX_CELLS = 32
"""Largest pack where neither the user nor a measurement sets the size."""
MIN_STEPS = 1000
"""Training steps below which pack=auto packs nothing: measuring would take longer than packing can save."""
OWN_SETTINGS = ("model.drop_path_rate", "model.drop_path_schedule", "model.drop_key_rate")
FIRST_WEIGHTS = ("model.weight_init", "model.pos_embed_std")
SHARED_RECIPE = ("recipe.epochs", "recipe.batch_size")
SHARED_SETTINGS = ("device", "precision", "compile", "deterministic")


@dataclass(kw_only=True)
class PackMeasurement:
    """Result of pack=auto for one program on one device; kept in packs.json."""

    size: int
    """Most efficient number of cells in a pack."""
    device: str
    images_per_second: dict[str, float]
    """Number of cells -> training images of the whole pack per second."""
    reason: str
    """Reason against a larger pack."""
    is_limit: bool = True
    """False if a larger pack was not tried, for want of cells or memory at that time."""


def shared_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that all cells of a program share, as dotted key -> value.

    Args:
        config: a cell's resolved configuration, as a plan keeps it.
    """
    return {key: value for key, value in flatten(config).items() if is_shared(key)}


def is_shared(key: str) -> bool:
    """Return whether cells of a program must agree in a key of the configuration."""
    if key.startswith("model."):
        return not key.endswith("dropout_prob") and key not in OWN_SETTINGS + FIRST_WEIGHTS
    return key.startswith("data.") or key in SHARED_RECIPE + SHARED_SETTINGS


def program_key(config: dict[str, Any]) -> str:
    """Return the program's key in packs.json."""
    return hashlib.sha256(json.dumps(shared_settings(config), sort_keys=True).encode()).hexdigest()[:16]


def group_by_program(cells: list[Cell]) -> list[list[Cell]]:
    """Group the cells that can share a program, in the order of the groups' first cells."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(program_key(cell.config), []).append(cell)
    return list(found.values())


def differing_settings(cells: list[Cell]) -> dict[str, list[Any]]:
    """Return the settings that keep the cells from sharing a program, as dotted key -> values."""
    programs = [shared_settings(group[0].config) for group in group_by_program(cells)]
    keys = dict.fromkeys(key for program in programs for key in program)
    values = {key: list({yaml_text(program.get(key)): None for program in programs}) for key in keys}
    differing = {key: found for key, found in values.items() if len(found) > 1}
    if len(differing) > 1:
        differing.pop(FINGERPRINT, None)  # follows from the others
    return differing


def unpacked_reason(config: dict[str, Any], pack: str) -> str:
    """Return why a cell can be in no pack, or an empty string."""
    if pack == "off":
        return "pack=off"
    if config["model"]["name"] == "resnet":
        return "a resnet's running statistics belong to one model"
    if config["model"].get("patchify_method") == "conv_stem":
        return "the running statistics of patchify_method=conv_stem belong to one model"
    if config["model"].get("patch_drop_rate"):
        return "patch_drop_rate draws its patches inside the forward pass"
    if config["recipe"].get("gradient_accumulation_steps", 1) > 1:
        return "gradient accumulation is for cells that do not fit into memory"
    if pack == "auto" and not is_long(config):
        return f"fewer than {MIN_STEPS:,} steps"
    return ""


def packing_note(cells: list[Cell], pack: str) -> str:
    """Return a sentence on how these cells are packed; empty without packing or with one cell."""
    if pack == "off" or len(cells) < 2:
        return ""
    reasons = [(cell, unpacked_reason(cell.config, pack)) for cell in cells]
    counts = Counter(reason for _, reason in reasons if reason)
    parts = [f"trained apart: {count} of {len(cells)} cells ({reason})" for reason, count in counts.items()]
    packable = [cell for cell, reason in reasons if not reason]
    parts += [describe_groups(packable, is_rest=bool(parts))] if len(packable) > 1 else []
    return f"pack={pack}: {'; '.join(parts)}"


def describe_groups(cells: list[Cell], is_rest: bool) -> str:
    """Return how many programs these cells form, and which settings separate them."""
    groups = group_by_program(cells)
    if len(groups) == 1:
        return f"all {len(cells)} cells{' left' * is_rest} can be one program"
    settings = "; ".join(f"{key} ({', '.join(values)})" for key, values in differing_settings(cells).items())
    sizes = " + ".join(str(len(group)) for group in groups)
    return (
        f"the cells differ in what one program must share: {settings}; so {len(cells)} cells are "
        f"{len(groups)} programs ({sizes} cells), trained apart"
    )


class Packs:
    """Choice of the cells that are trained together, and of the largest pack for each program.

    Args:
        directory: the sweep's, with packs.json.
        pack: auto, off or a number, as configured.
        num_slots: number of jobs at a time; the cells of a program are divided among them.
    """

    def __init__(self, directory: Path, pack: str, num_slots: int = 1):
        self.directory, self.pack, self.num_slots = directory, pack, num_slots
        self.bounds: dict[str, int] = {}  # of programs whose process crashed, perhaps out of memory
        self.keys: dict[str, str] = {}  # cell id -> program_key; recomputing thousands of hashes is slow

    def group_with(
        self, cell: Cell, others: Iterable[Cell], is_free: Callable[[Cell], bool] = lambda other: True
    ) -> list[Cell]:
        """Return the pack to start now: the cell and free ones of `others` that share its program."""
        size = self.size(cell)
        if size == 1:
            return [cell]
        alike = [other for other in others if other.id != cell.id and self.key(other) == self.key(cell)]
        size = min(size, ceil((1 + len(alike)) / self.num_slots))
        return [cell, *islice(filter(is_free, alike), size - 1)]

    def key(self, cell: Cell) -> str:
        """Return the cell's program_key from a cache."""
        return self.keys.get(cell.id) or self.keys.setdefault(cell.id, program_key(cell.config))

    def size(self, cell: Cell) -> int:
        """Return the largest pack for the cell's program, as far as known before a measurement."""
        if unpacked_reason(cell.config, self.pack):
            return 1
        key = self.key(cell)
        bound = self.bounds.get(key, MAX_CELLS if self.pack == "auto" else int(self.pack))
        if self.pack != "auto":
            return bound
        found = read_packs(self.directory).get(key)
        return min(bound, found.size) if found is not None and found.is_limit else bound

    def halve(self, cell: Cell, num_together: int) -> None:
        """Halve the largest pack of the cell's program, after the process of `num_together` cells crashed."""
        key = self.key(cell)
        self.bounds[key] = min(self.bounds.get(key, num_together), ceil(num_together / 2))

    def restore(self, cell: Cell) -> None:
        """Lift the bound of the cell's program: this cell crashes alone, so the size was not the cause."""
        self.bounds.pop(self.key(cell), None)


def is_long(config: dict[str, Any]) -> bool:
    """Return whether a cell has at least MIN_STEPS steps; true for image folders, whose images are not counted."""
    images = split_sizes(DataConfig(**config["data"]))
    if images is None:
        return True
    _, steps = batch_and_steps(images[0], config["recipe"]["batch_size"])
    return steps * config["recipe"]["epochs"] >= MIN_STEPS


def read_packs(directory: Path) -> dict[str, PackMeasurement]:
    """Return the measurements in a sweep directory by program_key.

    Raises:
        RecordError: packs.json is damaged.
    """
    try:
        values = json.loads((directory / PACKS_NAME).read_text(encoding="utf-8"))
        return {key: PackMeasurement(**found) for key, found in values.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(f"{directory / PACKS_NAME}  is damaged ({error}); delete it") from error


def save_measurement(directory: Path, config: dict[str, Any], found: PackMeasurement) -> None:
    """Add a measurement to packs.json, under a lock, since jobs with other programs may do so at the same time."""
    with exclusive_access(directory):
        values = {key: vars(other) for key, other in read_packs(directory).items()}
        write_json(directory / PACKS_NAME, values | {program_key(config): vars(found)})
