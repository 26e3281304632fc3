"""The command line `vitsweep COMMAND ...`, also `python -m vitsweep`: find the command and run its module.

A module is imported when its command runs, so `--help` and an unknown name cost no import of torch, numpy or Hydra.
Overrides without a command are those of `run`, as in version 0.1: `vitsweep -m model.patch_size=4,8`.
"""

import signal
import sys
from dataclasses import dataclass
from importlib import import_module

import vitsweep
from vitsweep.errors import UserError, did_you_mean, printable
from vitsweep.files import protect_output

HELP = ("-h", "--help", "help")
SYNONYMS = {"train": "run", "fit": "run", "sweep": "run", "start": "run", "list": "status", "compare": "diff"}
"""Word for a command elsewhere -> our name."""
NOT_ONE_WORD = set("=-+~")
"""Characters of an override or an option; a word without them names a command."""


@dataclass(frozen=True)
class Command:
    """Command and its line in the help."""

    module: str
    """Module with `main(arguments) -> exit code`, imported when the command runs."""
    usage: str
    meaning: str
    is_one_of_several: bool = False
    """True if `main` serves several commands and its first argument is the name."""


ANALYSIS = "vitsweep.analysis.__main__"
TASKS = {
    "Plan and train": {
        "plan": Command("vitsweep.commands.plan", "study=NAME ...", "print arms, cost and power; train nothing"),
        "run": Command("vitsweep.cli", "[-m] KEY=VALUE ...", "train one cell or, with -m or study=NAME, a sweep"),
        "status": Command("vitsweep.commands.status", "DIR", "print the status of every cell, also during a sweep"),
        "attach": Command("vitsweep.commands.attach", "DIR", "follow the jobs of sweep.detach=true"),
        "cancel": Command("vitsweep.commands.cancel", "DIR", "cancel the jobs of sweep.detach=true"),
        "extend": Command(
            "vitsweep.commands.extend", "DIR seeds=10", "add seeds; epochs=200: train finished cells longer"
        ),
        "drop": Command(
            "vitsweep.commands.change.drop", "DIR ARM | seeds=3", "take arms or seeds out; keep their records aside"
        ),
        "rename": Command("vitsweep.commands.change.rename", "DIR [ARM] NAME", "give a study, or an arm, another name"),
        "reset": Command("vitsweep.commands.reset", "DIR --failed", "delete results of cells, to train them again"),
        "prune": Command("vitsweep.commands.prune", "DIR", "remove checkpoints of finished cells"),
    },
    "Read the results": {
        "report": Command(ANALYSIS, "DIR ...", "judge a sweep; write the page, tables and figures", True),
        "table": Command("vitsweep.analysis.report.paper.command", "DIR", "print a table for a paper: LaTeX, Markdown"),
        "gallery": Command(ANALYSIS, "DIR ...", "draw attention rollouts of chosen cells and images", True),
        "diff": Command("vitsweep.analysis.report.difference.command", "A B", "compare two cells, arms or studies"),
        "verify": Command(ANALYSIS, "DIR ...", "recompute every number of a report", True),
        "publish": Command(ANALYSIS, "DIR DEST", "copy report and records, without checkpoints", True),
        "reproduce": Command(
            "vitsweep.commands.reproduce", "CELL", "print the command that trains a cell again, or check it"
        ),
    },
    "Trackers": {
        "track": Command("vitsweep.commands.track", "DIR tracker=mlflow", "write copies of cells trained before"),
        "wandb sync": Command("vitsweep.tracking.sync", "DIR", "send runs that were written offline"),
        "wandb sweep": Command("vitsweep.commands.wandb.sweep", "study=NAME ...", "write a sweep for W&B's agents"),
        "wandb dashboard": Command("vitsweep.commands.wandb.dashboard", "study=NAME", "save a workspace and a report"),
    },
}
"""Heading of the help -> name -> command. A new command is one line."""
INTERNAL = {
    "cell": Command("vitsweep.run.worker", "DIR CELL ...", "train planned cells in this process"),
    "slurm job": Command("vitsweep.run.cluster.job", "DIR part N", "train the cells of a Slurm job, or end a study"),
    "wandb cell": Command("vitsweep.commands.wandb.cell", "STUDY -- POINT", "train one cell for an agent of W&B"),
}
"""Commands that programs call; not in the help."""
COMMANDS = {name: command for group in TASKS.values() for name, command in group.items()} | INTERNAL


def main() -> int:
    """Run the command that sys.argv names and return its exit code: 2, with a one-line message, for a wrong input."""
    protect_output()
    words = sys.argv[1:]
    if not words or words[0] in HELP or words == ["wandb", words[-1]] and words[-1] in HELP:
        return usage(0 if words else 2)
    if words[0] == "--version":
        print(f"vitsweep {vitsweep.__version__}")
        return 0
    try:
        return run_command(words)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as event:  # Interrupted, too
        print(f"\n{str(event) or 'stopped'}; run the same command again to continue", file=sys.stderr)
        return 128 + getattr(event, "signum", signal.SIGINT)
    except OSError as error:
        if error.filename is None:
            raise
        print(printable(f"{error.filename}  {error.strerror}; check that path and its permissions"), file=sys.stderr)
        return 2


def console() -> int:
    """Run the installed program `vitsweep`; without words it trains the starting configuration, as in version 0.1."""
    if len(sys.argv) == 1:
        sys.argv.append("run")
    return main()


def run_command(words: list[str]) -> int:
    """Run the command of a command line.

    Raises:
        UserError: there is no such command.
    """
    name, rest = split_name(words)
    command = COMMANDS[name]
    module = import_module(command.module)
    if name == "run":
        before, sys.argv = sys.argv, [sys.argv[0], *rest]  # Hydra reads them there
        try:
            return module.main()
        finally:
            sys.argv = before
    if rest[:1] in ([word] for word in HELP) and hasattr(module, "USAGE"):
        print(f"usage: vitsweep {module.USAGE}\n\n{module.__doc__}")
        return 0
    return module.main([name, *rest] if command.is_one_of_several else rest)


def split_name(words: list[str]) -> tuple[str, list[str]]:
    """Return the command's name, of one word or two, and the other words; `run` for overrides and Hydra's options.

    Raises:
        UserError: there is no such command.
    """
    if NOT_ONE_WORD & set(words[0]):
        return "run", words
    for length in (2, 1):
        if (name := " ".join(words[:length])) in COMMANDS:
            return name, words[length:]
    known = [name for group in TASKS.values() for name in group]
    below = [name for name in known if name.startswith(f"{words[0]} ")]
    given = " ".join(words[: 2 if below else 1])
    if given in SYNONYMS:
        near = f"; did you mean {SYNONYMS[given]}?"
    else:
        near = "" if given == "wandb" else did_you_mean(given, below or [*known, "wandb"], most=1, cutoff=0.6)
    hint = f"{near.removeprefix('; ')} " if near else f"allowed: {', '.join(below)}; " if below else ""
    raise UserError(
        f"{given}  is neither a command nor an override key=value; {hint}vitsweep --help lists the commands"
    )


def usage(code: int) -> int:
    """Print the commands by task, to stderr for a non-zero exit code; return the code."""
    stream = sys.stdout if code == 0 else sys.stderr
    print("usage: vitsweep COMMAND ...        (python -m vitsweep COMMAND ... is the same)", file=stream)
    for heading, commands in TASKS.items():
        print(f"\n{heading}", file=stream)
        for name, command in commands.items():
            print(f"  {name + ' ' + command.usage:30s} {command.meaning}", file=stream)
    print("\nvitsweep COMMAND --help explains a command; vitsweep run --cfg job prints all keys.", file=stream)
    return code


if __name__ == "__main__":
    sys.exit(main())
