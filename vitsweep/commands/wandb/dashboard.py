"""`python -m vitsweep wandb dashboard study=NAME`: save a W&B workspace and a W&B report for a study.

The same command again updates both; their ids are in the study's directory. With --dry-run it sends nothing and prints
the specification, which is deterministic. Needs the extra `dashboards` (wandb-workspaces).
"""

import importlib
import importlib.util
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vitsweep.commands.command_arguments import make_composer, make_study_parser, parse_study_arguments
from vitsweep.config.messages import user_errors
from vitsweep.errors import UserError
from vitsweep.files import write_json
from vitsweep.paths import install_command
from vitsweep.study.plan import Plan
from vitsweep.study.plan_builder import plan_and_directory
from vitsweep.tracking.client import describe_error
from vitsweep.tracking.mode import NO_KEY, has_key, is_reachable, server_url
from vitsweep.tracking.pieces import tracker_config

if TYPE_CHECKING:
    from vitsweep.commands.wandb.panels import Subject

DASHBOARD_NAME = "dashboard.json"
REPORT = Path("report/report.md")
SECTIONS = ("Findings", "Claims", "Comparison")
TIMEOUT_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Save the workspace and the report, or print their specification.

    Raises:
        UserError: the extra is missing, the study cannot be planned, or the server does not accept them.
    """
    parser = make_study_parser("wandb dashboard", __doc__)
    parser.add_argument("--entity", help="W&B user or team; default: tracker.entity, else the account's own")
    parser.add_argument("--dry-run", action="store_true", help="print the specification and send nothing")
    options = parse_study_arguments(parser, arguments)
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError(f"wandb dashboard  needs wandb-workspaces; install it with: {install_command('dashboards')}")
    with user_errors(arguments):
        plan, directory = plan_and_directory(options.overrides, make_composer(options).loader, options.config_name)
    subject = make_subject(plan, directory)
    if options.dry_run:
        print(json.dumps(specification(subject), indent=1, sort_keys=True))
        return 0
    subject.entity = options.entity or tracker_config(plan.cells[0].config).entity or default_entity()
    for name, url in save(subject, directory).items():
        print(f"{name:9s} {url}")
    return 0


def make_subject(plan: Plan, directory: Path) -> "Subject":
    """Return the study that the dashboard shows, with the verdicts of its report, if it has one."""
    factors = list(dict.fromkeys(key for arm in plan.arms for key in arm["changes"]))
    project = tracker_config(plan.cells[0].config).project
    text = directory / REPORT
    verdicts = report_sections(text.read_text(encoding="utf-8")) if text.exists() else ""
    values = {"study": plan.study, "project": project, "factors": factors, "verdicts": verdicts}
    with fixed_ids(plan.study) as panels:
        return panels.Subject(num_cells=len(plan.cells), **values)


def report_sections(markdown: str) -> str:
    """Return the sections of our report that W&B can show: text and tables, without pictures, which are local files."""
    parts = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", markdown, flags=re.MULTILINE))
    return "\n\n".join(f"## {name}\n\n{without_pictures(parts[name])}" for name in SECTIONS if name in parts)


def without_pictures(markdown: str) -> str:
    """Return the text without its picture elements and the captions after them."""
    blocks = markdown.strip().split("\n\n")
    is_picture = [block.startswith(("<picture", "![")) for block in blocks]
    follows = [False, *is_picture[:-1]]
    return "\n\n".join(b for b, own, after in zip(blocks, is_picture, follows, strict=True) if not (own or after))


def specification(subject: "Subject") -> dict[str, Any]:
    """Return the workspace and the report as W&B stores them."""
    with fixed_ids(subject.study) as panels:
        made = {"workspace": panels.make_workspace(subject), "report": panels.make_report(subject)}
        specs = {name: page._to_model().spec for name, page in made.items()}
    stored = {name: json.loads(spec.model_dump_json(by_alias=True, exclude_none=True)) for name, spec in specs.items()}
    return {"project": subject.project} | stored


@contextmanager
def fixed_ids(seed: str) -> Iterator[ModuleType]:
    """Fix the panel ids, which wandb-workspaces draws from Python's `random`, and restore its state afterwards.

    Yields the module panels, whose first import draws too.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        panels = importlib.import_module("vitsweep.commands.wandb.panels")
        random.seed(seed)
        yield panels
    finally:
        random.setstate(before)


def default_entity() -> str:
    """Return the account's own user or team.

    Raises:
        UserError: no API key, or no answer.
    """
    require_server()
    import wandb

    try:
        entity = wandb.Api().default_entity
    except Exception as error:
        raise UserError(
            f"{server_url()}  did not return your W&B user ({describe_error(error)}); pass --entity"
        ) from error
    if entity is None:
        raise UserError(f"{server_url()}  did not return your W&B user (its account has no entity); pass --entity")
    return entity


def require_server() -> None:
    """Check for a key and a server; wandb-workspaces itself would retry for 19 seconds.

    Raises:
        UserError: no API key, or no answer.
    """
    if not has_key():
        raise UserError(NO_KEY)
    if not is_reachable(TIMEOUT_SECONDS):
        raise UserError(f"{server_url()}  does not answer; print the dashboard without it: --dry-run")


def save(subject: "Subject", directory: Path) -> dict[str, str]:
    """Save both in place of those of an earlier call; return their URLs.

    Raises:
        UserError: the server does not accept them.
    """
    require_server()
    place = f"{server_url()} {subject.entity}/{subject.project}"
    known = read_saved_ids(directory).get(place, {})
    try:
        with fixed_ids(subject.study) as panels:
            workspace, report = panels.make_workspace(subject), panels.make_report(subject)
        workspace._internal_name, workspace._internal_id = known.get("workspace", ["", ""])
        report.id = known.get("report", "")
        workspace.save()
        report.save()
    except Exception as error:
        raise UserError(
            f"{place}  did not accept the dashboard ({describe_error(error)}); check that the project has runs; remove "
            f"{directory / DASHBOARD_NAME} if the dashboard was deleted there"
        ) from error
    ids = {"workspace": [workspace._internal_name, workspace._internal_id], "report": report.id}
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / DASHBOARD_NAME, read_saved_ids(directory) | {place: ids})
    return {"workspace": workspace.url, "report": report.url}


def read_saved_ids(directory: Path) -> dict[str, Any]:
    """Return server and project -> ids of the workspace and report saved there."""
    try:
        return json.loads((directory / DASHBOARD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
