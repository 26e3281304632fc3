"""`python -m vitsweep wandb sweep study=NAME --out sweep.yaml`: a file for W&B's own `wandb sweep` and `wandb agent`.

What usually breaks W&B sweeps of Hydra programs cannot be written here. A parameter is a dotted leaf with plain values,
or the single one `+study_cell` that names planned cells; never a config group, whose name would lock that part of the
run's configuration. null is the text "null". Cells that fail still end with 0, since three early failures end an agent.
"""

import itertools
from pathlib import Path
from typing import Any

import yaml

from vitsweep.commands.arguments import make_composer, make_study_parser, reject_private_paths, require_wandb
from vitsweep.commands.search_space import (
    CELL_KEY,
    build_search_space,
    compose_sweep_directory,
    encode_cell_id,
    is_plain,
    stopping_rule,
    to_yaml_value,
)
from vitsweep.config.composer import Composer
from vitsweep.config.convert import flatten
from vitsweep.config.messages import user_errors
from vitsweep.config.overrides import override_key, sweep_name
from vitsweep.errors import ConfigError
from vitsweep.study.plan import Plan
from vitsweep.study.planner import freeze_plan, plan_and_directory
from vitsweep.tracking.pieces import tracker_config

METHODS = ("grid", "bayes", "random")
METRIC = {"name": "val/accuracy", "goal": "maximize"}  # never the test accuracy: a sweep chooses by it
HEADER = """\
# A W&B sweep of {study}: {size}.
# why: agents on any machines train the cells; they land in {directory}, beside those of a local run
# command: wandb sweep {out}      then, as often as there are devices, the `wandb agent ...` that it prints
# expected: a run a cell; afterwards: python -m analysis report {directory}
"""


def main(arguments: list[str]) -> int:
    """Write the sweep file and, for a planned study, freeze its plan.

    Raises:
        UserError: the study cannot be planned, or W&B cannot run it.
    """
    ask = make_study_parser("sweep", __doc__)
    ask.add_argument("--out", default="sweep.yaml", help="file to write (default: sweep.yaml)")
    ask.add_argument("--method", choices=METHODS, default="grid", help="grid: every planned cell; else tuning")
    ask.add_argument("--runs", type=int, help="for tuning: how many runs; default: until you stop it")
    asked = ask.parse_intermixed_args(arguments)
    with user_errors(arguments):
        composer = make_composer(asked)
        make = planned_sweep if asked.method == "grid" else tuning_sweep
        content, size, directory = make(asked, composer)
    place = relative_to_cwd(directory)
    text = HEADER.format(study=content["name"], size=size, directory=place, out=asked.out)
    Path(asked.out).write_text(text + yaml.safe_dump(content, sort_keys=False, width=110), encoding="utf-8")
    print(f"{asked.out}: {size}, in {place}; next: wandb sweep {asked.out}")
    return 0


def planned_sweep(asked: Any, composer: Composer) -> tuple[dict[str, Any], str, Path]:
    """The sweep of a study's or a plain sweep's cells, whose plan is frozen; its content, size and directory.

    Raises:
        ConfigError: the cells tell W&B nothing, or the file would tell it too much.
        RecordError: the directory holds a study with another baseline.
    """
    plan, directory = plan_and_directory(asked.overrides, composer.loader, asked.config_name)
    tracker = tracker_config(plan.cells[0].config)
    command = agent_command(asked, tune=False)
    require_wandb(tracker)
    reject_private_paths([*command, plan.study], tracker)
    if asked.runs is not None:
        raise ConfigError([f"--runs={asked.runs}  is for tuning; a grid has as many runs as it has cells"])
    parameters = grid_parameters(plan) or {CELL_KEY: {"values": [encode_cell_id(cell) for cell in plan.cells]}}
    content = sweep_content(plan.study, tracker, "grid", parameters, command)
    if plan.cells[0].config["sweep"]["check"]:
        from vitsweep.train.trial.noop import refuse_noops  # late: it imports torch

        refuse_noops(plan, {cell.arm for cell in plan.cells if cell.role == "arm"})
    freeze_plan(directory, plan)
    return content, f"{len(plan.cells)} cells", directory


def tuning_sweep(asked: Any, composer: Composer) -> tuple[dict[str, Any], str, Path]:
    """The sweep in which W&B chooses the values; its content, size and directory.

    Raises:
        ConfigError: there is nothing to choose, a bound breaks a rule, or W&B would be told nothing or too much.
    """
    space, fixed = build_search_space(asked.overrides, composer, asked.method)
    config = composer(fixed)
    command = agent_command(asked, tune=True)
    require_wandb(config.tracker)
    reject_private_paths(command, config.tracker)
    content = sweep_content(sweep_name(asked.overrides), config.tracker, asked.method, space, command)
    content |= stopping_rule(space, config.recipe.epochs)
    content |= {"run_cap": asked.runs} if asked.runs is not None else {}
    size = f"{asked.method} search over {len(space)} parameters"
    return content, size, compose_sweep_directory(asked, composer)


def sweep_content(
    name: str, tracker: Any, method: str, parameters: dict[str, Any], command: list[str]
) -> dict[str, Any]:
    """What a sweep file holds; the keys are W&B's."""
    home = {"project": tracker.project} | ({"entity": tracker.entity} if tracker.entity else {})
    rest = {"program": "vitsweep", "method": method, "metric": METRIC, "parameters": parameters, "command": command}
    return {"name": name} | home | rest


def agent_command(asked: Any, tune: bool) -> list[str]:
    """What an agent runs for each cell: the study as it was given here, then W&B's choice as Hydra's key=value.

    The interpreter is the `python` of the agent's PATH: the path of this one is nobody's business and may not be there.
    """
    words = ["--tune"] if tune else []
    words += ["--config-dir", asked.config_dir] if asked.config_dir is not None else []
    words += ["--config-name", asked.config_name] if asked.config_name != "config" else []
    head = ["${env}", "${interpreter}", "-m", "vitsweep", "wandb", "cell"]
    return [*head, *words, *asked.overrides, "--", "${args_no_hyphens}"]


def grid_parameters(plan: Plan) -> dict[str, Any] | None:
    """Dotted key -> its values, if the cells are all combinations of plain values of dotted keys; else None."""
    keys = list(dict.fromkeys(override_key(o) for arm in plan.arms for o in arm["overrides"]))
    cells = [cell for cell in plan.cells if cell.role != "placebo"]
    settings = [flatten(cell.config) | {"seed": cell.seed} for cell in cells]
    if (
        len(cells) < len(plan.cells)
        or "seed" in keys
        or any(key not in setting for key in keys for setting in settings)
    ):
        return None
    points = [tuple(setting[key] for key in [*keys, "seed"]) for setting in settings]
    axes = [list(dict.fromkeys(axis)) for axis in zip(*points, strict=True)]
    is_grid = len(set(points)) == len(points) and set(points) == set(itertools.product(*axes))
    if not is_grid or not all(is_plain(value) for axis in axes for value in axis):
        return None
    return {key: {"values": [to_yaml_value(v) for v in axis]} for key, axis in zip([*keys, "seed"], axes, strict=True)}


def relative_to_cwd(directory: Path) -> str:
    """The directory as seen from here, if it is below: the file that names it may go to other machines."""
    here = Path.cwd()
    return str(directory.relative_to(here)) if directory.is_relative_to(here) else directory.name
