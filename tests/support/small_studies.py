"""Small studies of three factors, and the arms of a plan as plain values."""

from vitsweep.config.convert import from_dict
from vitsweep.config.schema import Config
from vitsweep.study.plan import Plan

THREE = {"bias": ["model.bias=false"], "depth": ["model.num_hidden_layers=4"], "patch": ["model.patch_size=8"]}
"""Factors of one level each."""


def arms(plan: Plan) -> dict[str, list[str]]:
    """Return the overrides of each arm."""
    return {row["arm"]: row["overrides"] for row in plan.arms}


def configs(plan: Plan) -> dict[str, Config]:
    """Return the configuration of each arm's last seed."""
    return {cell.arm: from_dict(cell.config) for cell in plan.cells}
