"""`python -m vitsweep wandb sweep study=NAME --out sweep.yaml`: write a file for W&B's `wandb sweep` and `wandb agent`.

Avoids the usual problems of W&B sweeps of Hydra programs: a parameter is a dotted leaf with plain values, or the single
one `+study_cell` that names planned cells; never a config group, whose name would lock that part of the run's
configuration. null is the text "null". Failed cells exit with 0, since three early failures end an agent.
"""

import itertools
from pathlib import Path
from typing import Any

import yaml

from vitsweep.commands.command_arguments import (
    make_composer,
    make_study_parser,
    parse_study_arguments,
    refuse_search,
    reject_private_paths,
    require_wandb,
)
from vitsweep.commands.wandb.search_space import (
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
from vitsweep.study.plan_builder import freeze_plan, plan_and_directory
from vitsweep.tracking.pieces import tracker_config

METHODS = ("grid", "bayes", "random")
METRIC = {"name": "val/accuracy", "goal": "maximize"}  # never test accuracy: the sweep selects by this metric
HEADER = """\
# A W&B sweep of {study}: {size}.
# why: agents on any machines train the cells; they land in {directory}, beside those of a local run
# command: wandb sweep {out}      then, as often as there are devices, the `wandb agent ...` that it prints
# expected: a run a cell; afterwards: python -m vitsweep.analysis report {directory}
"""


def main(arguments: list[str]) -> int:
    """Write the sweep file and, for a planned study, its plan.json.

    Raises:
        UserError: the study cannot be planned, or W&B cannot run it.
    """
    parser = make_study_parser("wandb sweep", __doc__)
    parser.add_argument("--out", default="sweep.yaml", help="file to write (default: sweep.yaml)")
    parser.add_argument("--method", choices=METHODS, default="grid", help="grid: every planned cell; else tuning")
    parser.add_argument("--runs", type=int, help="for tuning: number of runs; default: until you stop it")
    options = parse_study_arguments(parser, arguments)
    with user_errors(arguments):
        composer = make_composer(options)
        make_sweep = planned_sweep if options.method == "grid" else tuning_sweep
        content, size, directory = make_sweep(options, composer)
    place = relative_to_cwd(directory)
    text = HEADER.format(study=content["name"], size=size, directory=place, out=options.out)
    Path(options.out).write_text(text + yaml.safe_dump(content, sort_keys=False, width=110), encoding="utf-8")
    print(f"{options.out}: {size}, in {place}; next: wandb sweep {options.out}")
    return 0


def planned_sweep(options: Any, composer: Composer) -> tuple[dict[str, Any], str, Path]:
    """Write the plan of a study or plain sweep; return the sweep file's content, the size and the directory.

    Raises:
        ConfigError: the tracker is off, the file would contain a private path, or --runs is given.
        RecordError: the directory has a study with another baseline.
    """
    plan, directory = plan_and_directory(options.overrides, composer.loader, options.config_name)
    refuse_search(plan)
    tracker = tracker_config(plan.cells[0].config)
    command = agent_command(options, tune=False)
    require_wandb(tracker)
    reject_private_paths([*command, plan.study], tracker)
    if options.runs is not None:
        raise ConfigError(
            [f"--runs={options.runs}  is for tuning, and a grid has one run per cell; drop it or use --method=bayes"]
        )
    if plan.cells[0].config["sweep"].get("until", "all") != "all":
        raise ConfigError(
            ["sweep.until=decided  is not for W&B's agents, which take every cell; use python run.py -m, or until=all"]
        )
    parameters = grid_parameters(plan) or {CELL_KEY: {"values": [encode_cell_id(cell) for cell in plan.cells]}}
    content = sweep_content(plan.study, tracker, "grid", parameters, command)
    if plan.cells[0].config["sweep"]["check"]:
        from vitsweep.train.trial.noop import refuse_noops  # late: it imports torch

        refuse_noops(plan, {cell.arm for cell in plan.cells if cell.role == "arm"})
    freeze_plan(directory, plan)
    return content, f"{len(plan.cells)} cells", directory


def tuning_sweep(options: Any, composer: Composer) -> tuple[dict[str, Any], str, Path]:
    """Return content, size and directory of a sweep in which W&B chooses the values.

    Raises:
        ConfigError: no range, an invalid bound, the tracker is off, or the file would contain a private path.
    """
    space, fixed = build_search_space(options.overrides, composer, options.method)
    config = composer(fixed)
    command = agent_command(options, tune=True)
    require_wandb(config.tracker)
    reject_private_paths(command, config.tracker)
    content = sweep_content(sweep_name(options.overrides), config.tracker, options.method, space, command)
    content |= stopping_rule(space, config.recipe.epochs)
    content |= {"run_cap": options.runs} if options.runs is not None else {}
    size = f"{options.method} search over {len(space)} parameters"
    return content, size, compose_sweep_directory(options, composer)


def sweep_content(
    name: str, tracker: Any, method: str, parameters: dict[str, Any], command: list[str]
) -> dict[str, Any]:
    """Return the content of a sweep file; the keys are W&B's."""
    home = {"project": tracker.project} | ({"entity": tracker.entity} if tracker.entity else {})
    rest = {"program": "vitsweep", "method": method, "metric": METRIC, "parameters": parameters, "command": command}
    return {"name": name} | home | rest


def agent_command(options: Any, tune: bool) -> list[str]:
    """Return the command that an agent runs for each cell: the study's words, then W&B's choice as key=value.

    The interpreter is the `python` of the agent's PATH: this one's path is private and may not exist there.
    """
    words = ["--tune"] if tune else []
    words += ["--config-dir", options.config_dir] if options.config_dir is not None else []
    words += ["--config-name", options.config_name] if options.config_name != "config" else []
    head = ["${env}", "${interpreter}", "-m", "vitsweep", "wandb", "cell"]
    return [*head, *words, *options.overrides, "--", "${args_no_hyphens}"]


def grid_parameters(plan: Plan) -> dict[str, Any] | None:
    """Return dotted key -> values if the cells are exactly all combinations of plain values, else None."""
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
    """Return the directory relative to the working folder; its name alone if it lies elsewhere: paths are private."""
    here = Path.cwd()
    return str(directory.relative_to(here)) if directory.is_relative_to(here) else directory.name
