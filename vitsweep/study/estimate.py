"""Cost of each arm of a plan. Nothing is run; no torch, and no scipy: a single run prints its time by it."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsweep.config.schema import DataConfig, ModelConfig, RecipeConfig
from vitsweep.data.counts import batch_and_steps, folder_sizes, split_sizes
from vitsweep.errors import RecordError
from vitsweep.model.cost import checkpoint_bytes, count_parameters, flops_per_image, num_tokens, training_bytes
from vitsweep.study.plan import CELLS_PATTERN, Plan
from vitsweep.study.record import RECORD_NAME, Record, read_record


@dataclass(kw_only=True)
class ArmCost:
    """Cost of an arm; all numbers are for one cell."""

    arm: str
    changes: dict[str, Any]
    """Dotted key -> value of the differences from the baseline."""
    cells: int
    """Number of this arm's cells in the plan."""
    params: int
    flops_per_image: int
    """Forward pass; a training step takes three times as many for each image."""
    tokens: int
    """Class token included; 0 for a resnet."""
    images: tuple[int, int, int] | None
    """Images of train, val and test; None for a folder that is not there."""
    batch_size: int
    steps: int | None
    """Steps in an epoch; None likewise."""
    epochs: int
    memory_bytes: int
    """Memory while training and scoring, in fp32; see cost.training_bytes."""
    disk_bytes: int
    """Size of the checkpoints of a finished cell."""
    state_bytes: int
    """Size of the state for resuming, on disk while the cell trains."""

    @property
    def training_flops(self) -> int | None:
        """Floating point operations of the training, a backward pass counted as two forward passes."""
        return None if self.steps is None else 3 * self.flops_per_image * self.batch_size * self.steps * self.epochs


def arm_costs(plan: Plan) -> list[ArmCost]:
    """Return the cost of each arm, in the plan's order."""
    cells = defaultdict(list)
    for cell in plan.cells:
        cells[cell.arm].append(cell)
    changes = {row["arm"]: row.get("changes", {}) for row in plan.arms}
    return [
        arm_cost(row["arm"], changes[row["arm"]], cells[row["arm"]][0].config, len(cells[row["arm"]]))
        for row in plan.arms
        if cells[row["arm"]]
    ]


def arm_cost(arm: str, changes: dict[str, Any], config: dict[str, Any], num_cells: int) -> ArmCost:
    """Return the cost of one arm.

    Args:
        config: resolved, as a plan keeps it.
    """
    model, recipe = ModelConfig(**config["model"]), RecipeConfig(**config["recipe"])
    data = DataConfig(**config["data"])
    images = folder_sizes(data) if data.name == "image_folder" else split_sizes(data)
    batch_size, steps = batch_and_steps(images[0], recipe.batch_size) if images else (recipe.batch_size, None)
    disk_bytes, state_bytes = checkpoint_bytes(model, recipe, config.get("checkpoint_every_epochs", 0))
    return ArmCost(
        arm=arm,
        changes=changes,
        cells=num_cells,
        params=count_parameters(model),
        flops_per_image=flops_per_image(model),
        tokens=num_tokens(model),
        images=images,
        batch_size=batch_size,
        steps=steps,
        epochs=recipe.epochs,
        memory_bytes=training_bytes(model, recipe, batch_size),
        disk_bytes=disk_bytes,
        state_bytes=state_bytes,
    )


def done_records(directory: Path) -> list[Record]:
    """Read the finished records of a sweep; unreadable ones are left out."""
    found = []
    for path in sorted(directory.glob(f"{CELLS_PATTERN}/{RECORD_NAME}")):
        try:
            record = read_record(path.parent)
        except (RecordError, OSError):
            continue
        if record.status == "done":
            found.append(record)
    return found
