"""`python -m vitsweep rename DIR NAME | DIR ARM NAME`: give a study, or one of its arms, another name.

Changes the plan, which keeps the earlier name, the records, and the directories of the arm's cells; of a study also its
own directory, if that has the study's name. Claims and published values find an arm by its earlier name, too. No hash
of a configuration depends on a name. Runs that W&B has already keep their names there.
"""

import os
from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory, refuse_published
from vitsweep.errors import ConfigError, UserError
from vitsweep.study.changes.rename import move_arms, rename_records, with_arm_named, with_study_named
from vitsweep.study.locks import LivenessCheck, exclusive_access
from vitsweep.study.plan import Plan, require_plan, write_plan
from vitsweep.study.status import cell_statuses

USAGE = "rename DIR NAME | DIR ARM NAME"


def main(arguments: list[str]) -> int:
    """Rename a study or an arm; return 0."""
    directory, words = parse_directory(arguments, USAGE)
    refuse_published(directory)
    if len(words) not in (1, 2) or any(word.startswith("-") for word in words):
        raise UserError(f"usage: vitsweep {USAGE}")
    with exclusive_access(directory):
        before = require_plan(directory)
        refuse_rename(before, directory)
        after = with_arm_named(before, *words) if len(words) == 2 else with_study_named(before, words[0])
        place = directory.with_name(after.study) if directory.name == before.study else directory
        if place != directory and place.exists():
            raise ConfigError([f"{place}  is there already; move that folder away, or choose another name"])
        move_arms(directory, before, after)
        count = rename_records(directory, after)
        write_plan(directory, after)
    if place != directory:
        os.rename(directory, place)
    print(f"{words[0] if len(words) == 2 else before.study} is {words[-1]} now, in {place} ({count} records changed)")
    print(f"The report is made again by: python -m vitsweep report {place}")
    return 0


def refuse_rename(plan: Plan, directory: Path) -> None:
    """Check that no cell is being trained, and that no search goes by the names.

    Raises:
        UserError: one is, or one does.
    """
    if plan.tune:
        raise ConfigError(["study.tune  keeps a journal by the arms' names; a study with a search keeps its names"])
    held = [now.cell.id for now in cell_statuses(directory, plan.cells, LivenessCheck()) if now.status == "running"]
    if held:
        raise UserError(
            "\n".join(f"{id}  is being trained; wait for its end, then run this command again" for id in held)
        )
