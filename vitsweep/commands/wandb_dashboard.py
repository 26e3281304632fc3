"""`python -m vitsweep wandb dashboard study=NAME`: a saved workspace and a W&B report for a study.

The same command again brings both up to date: where they are is kept in the study's directory. With --dry-run nothing
is sent and the specification is printed, the same for the same study. Needs the extra `dashboards` (wandb-workspaces).
"""

import importlib
import importlib.util
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitsweep.commands.arguments import make_composer, make_study_parser
from vitsweep.commands.wandb_panels import Subject, make_report, make_workspace
from vitsweep.config.messages import user_errors
from vitsweep.errors import UserError
from vitsweep.files import write_json
from vitsweep.study.plan import Plan
from vitsweep.study.planner import plan_and_directory
from vitsweep.tracking.client import describe_error
from vitsweep.tracking.mode import has_key, is_reachable, server_url
from vitsweep.tracking.pieces import tracker_config

DASHBOARD_NAME = "dashboard.json"
REPORT = Path("report/report.md")
SECTIONS = ("Findings", "Claims", "Comparison")
TIMEOUT_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Save the workspace and the report, or print what they would be.

    Raises:
        UserError: the extra is missing, the study cannot be planned, or the server does not take it.
    """
    ask = make_study_parser("dashboard", __doc__)
    ask.add_argument("--entity", help="W&B user or team; default: tracker.entity, else the account's own")
    ask.add_argument("--dry-run", action="store_true", help="print the specification and send nothing")
    asked = ask.parse_intermixed_args(arguments)
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("wandb dashboard  needs wandb-workspaces; install it with: pip install 'vitsweep[dashboards]'")
    with user_errors(arguments):
        plan, directory = plan_and_directory(asked.overrides, make_composer(asked).loader, asked.config_name)
    subject = make_subject(plan, directory)
    if asked.dry_run:
        print(json.dumps(specification(subject), indent=1, sort_keys=True))
        return 0
    subject.entity = asked.entity or tracker_config(plan.cells[0].config).entity or default_entity()
    for name, url in save(subject, directory).items():
        print(f"{name:9s} {url}")
    return 0


def make_subject(plan: Plan, directory: Path) -> Subject:
    """What the dashboard is about, with the verdicts of the study's report if there is one."""
    factors = list(dict.fromkeys(key for arm in plan.arms for key in arm["changes"]))
    project = tracker_config(plan.cells[0].config).project
    text = directory / REPORT
    verdicts = report_sections(text.read_text(encoding="utf-8")) if text.exists() else ""
    return Subject(study=plan.study, project=project, num_cells=len(plan.cells), factors=factors, verdicts=verdicts)


def report_sections(markdown: str) -> str:
    """Those sections of our report that are words and numbers; its pictures are files that W&B does not have."""
    parts = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", markdown, flags=re.MULTILINE))
    chosen = [f"## {name}\n\n{without_pictures(parts[name])}" for name in SECTIONS if name in parts]
    return "\n\n".join(chosen)


def without_pictures(markdown: str) -> str:
    """The text without its picture elements and their captions, which come next."""
    blocks = markdown.strip().split("\n\n")
    is_picture = [block.startswith(("<picture", "![")) for block in blocks]
    follows = [False, *is_picture[:-1]]
    return "\n\n".join(b for b, own, after in zip(blocks, is_picture, follows, strict=True) if not (own or after))


def specification(subject: Subject) -> dict[str, Any]:
    """What would be saved, as W&B stores it."""
    return with_fixed_ids(
        lambda: {
            "project": subject.project,
            "workspace": json.loads(make_workspace(subject)._to_model().spec.model_dump_json(**JSON)),
            "report": json.loads(make_report(subject)._to_model().spec.model_dump_json(**JSON)),
        },
        subject.study,
    )


JSON = {"by_alias": True, "exclude_none": True}


def with_fixed_ids(make: Callable[[], Any], seed: str) -> Any:
    """What `make` returns, with the panels' ids (drawn from Python's own random numbers) the same every time."""
    before = random.getstate()
    random.seed(seed)
    try:
        importlib.import_module("wandb_workspaces.workspaces")  # draws too, the first time
        random.seed(seed)
        return make()
    finally:
        random.setstate(before)


def default_entity() -> str:
    """The account's own user or team.

    Raises:
        UserError: no key, or nobody answers.
    """
    require_server()
    import wandb

    try:
        return wandb.Api().default_entity
    except Exception as fault:
        raise UserError(f"{server_url()}  does not say who you are ({describe_error(fault)}); use --entity") from fault


def require_server() -> None:
    """wandb-workspaces itself would try for 19 seconds.

    Raises:
        UserError: no key, or nobody answers.
    """
    if not has_key():
        raise UserError("WANDB_API_KEY  is not set, and netrc has no key for the server; set it or run `wandb login`")
    if not is_reachable(TIMEOUT_SECONDS):
        raise UserError(f"{server_url()}  does not answer; --dry-run prints the dashboard without it")


def save(subject: Subject, directory: Path) -> dict[str, str]:
    """Save both, in place of what an earlier call has saved there; returns their addresses.

    Raises:
        UserError: the server does not take them.
    """
    require_server()
    place = f"{server_url()} {subject.entity}/{subject.project}"
    known = read_saved_ids(directory).get(place, {})
    try:
        workspace, report = with_fixed_ids(lambda: (make_workspace(subject), make_report(subject)), subject.study)
        workspace._internal_name, workspace._internal_id = known.get("workspace", ["", ""])
        report.id = known.get("report", "")
        workspace.save()
        report.save()
    except Exception as fault:
        raise UserError(
            f"{place}  did not accept the dashboard ({describe_error(fault)}); check that the project has runs; remove "
            f"{directory / DASHBOARD_NAME} if the dashboard was deleted there"
        ) from fault
    ids = {"workspace": [workspace._internal_name, workspace._internal_id], "report": report.id}
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / DASHBOARD_NAME, read_saved_ids(directory) | {place: ids})
    return {"workspace": workspace.url, "report": report.url}


def read_saved_ids(directory: Path) -> dict[str, Any]:
    """Server and project -> the ids of what was saved there."""
    try:
        return json.loads((directory / DASHBOARD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
