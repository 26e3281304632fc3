"""`python -m vitsweep drop DIR ARM ... | seeds=3,4`: take arms or seeds out of a study; keep their records aside.

The plan and the report say what was dropped, when, and whether its results could be seen. The cells lie in DIR/dropped;
a study file or command that asks for them again brings them back. An arm that was dropped after results of it could be
seen still counts in the correction for the number of arms.
"""

from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory, parse_seeds, refuse_published
from vitsweep.config.overrides import override_value
from vitsweep.errors import ConfigError, UserError, did_you_mean
from vitsweep.files import remove_temporaries
from vitsweep.study.changes.drop import dropped_cells, move_aside, without_arms, without_seeds
from vitsweep.study.locks import LivenessCheck, exclusive_access
from vitsweep.study.plan import TUNED_NAME, Plan, require_plan, write_plan
from vitsweep.study.record import PLAN_NAME
from vitsweep.study.status import cell_statuses

USAGE = "drop DIR ARM ... | seeds=3,4"


def main(arguments: list[str]) -> int:
    """Drop arms or seeds, also at the arms' own settings; return 0."""
    directory, words = parse_directory(arguments, USAGE)
    refuse_published(directory)
    if not words or any(word.startswith("-") for word in words):
        raise UserError(f"usage: vitsweep {USAGE}")
    places = [place for place in (directory, directory / TUNED_NAME) if place == directory or has_plan(place)]
    plans = [drop(place, words) for place in places]
    print(f"The report is made again by: python -m vitsweep report {directory}")
    return 0 if plans else 1


def has_plan(directory: Path) -> bool:
    """Return whether a directory is a sweep's."""
    return (directory / PLAN_NAME).exists()


def drop(directory: Path, words: list[str]) -> Plan:
    """Drop what the words name from the plan of a directory, and print what was dropped.

    Raises:
        UserError: they name nothing of the plan, the baseline, or cells that are being trained.
    """
    with exclusive_access(directory):
        remove_temporaries(directory)
        before = require_plan(directory)
        after = shrunk(before, words, directory)
        gone = dropped_cells(before, after.cells)
        if held := [now.cell.id for now in cell_statuses(directory, gone, LivenessCheck()) if now.status == "running"]:
            raise UserError(
                "\n".join(f"{id}  is being trained; stop that process, then run this command again" for id in held)
            )
        write_plan(directory, after)  # first: a move that is interrupted leaves cells that no plan has
        move_aside(directory, gone)
    entry = after.dropped[-1]
    print(
        f"{after.study}: dropped {', '.join(words)} ({len(gone)} runs, {entry['finished']} of them finished; "
        f"{entry['seen']} of the study's runs could be seen), records in {directory / 'dropped'}"
    )
    return after


def shrunk(plan: Plan, words: list[str], directory: Path) -> Plan:
    """Return a plan without what the words name.

    Raises:
        ConfigError: a word names nothing of the plan.
    """
    if words[0].startswith(("seeds=", "seed=")):
        if len(words) > 1:
            raise ConfigError([f"{' '.join(words[1:])}  cannot stand beside {words[0]}; drop seeds and arms in turn"])
        text = override_value(words[0])
        seeds = parse_seeds(text if "," in text or text.startswith("[") else f"[{text}]")
        if absent := [seed for seed in seeds if seed not in plan.seeds]:
            allowed = ",".join(map(str, plan.seeds))
            raise ConfigError([f"seeds={','.join(map(str, absent))}  are no seeds of this study; allowed: {allowed}"])
        return without_seeds(plan, seeds, directory)
    names = [row["arm"] for row in plan.arms]
    if unknown := [word for word in words if word not in names]:
        raise ConfigError(
            [
                f"{word}  is no arm of {plan.study}{did_you_mean(word, names)}; allowed: {', '.join(names)}"
                for word in unknown
            ]
        )
    return without_arms(plan, list(dict.fromkeys(words)), directory)
