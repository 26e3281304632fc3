"""`python -m vitsweep COMMAND`: dispatch to the modules of the commands."""

import signal
import sys
from importlib import import_module

from vitsweep.errors import UserError, printable
from vitsweep.files import protect_output

COMMANDS = {
    "run": ("vitsweep.cli", "OVERRIDES ...", "train one cell or, with -m, a sweep (as `vitsweep` and run.py do)"),
    "plan": ("vitsweep.commands.plan", "study=NAME ...", "print a study's arms, cost and power without training"),
    "status": ("vitsweep.commands.status", "DIR", "print the status of every cell of a sweep, also during it"),
    "extend": ("vitsweep.commands.extend", "DIR seeds=10", "add seeds to a sweep"),
    "reset": ("vitsweep.commands.reset", "DIR --failed", "reset cells, so that the next run trains them again"),
    "prune": ("vitsweep.commands.prune", "DIR", "remove checkpoints of finished cells"),
    "reproduce": ("vitsweep.commands.reproduce", "CELL_DIR", "print the command that trains a cell again"),
    "wandb": ("vitsweep.__main__", "sync|sweep|dashboard", "send offline runs; create W&B sweeps and dashboards"),
    "cell": ("vitsweep.run.worker", "DIR CELL", "train one planned cell in this process"),
}
WANDB_COMMANDS = {
    "sync": "vitsweep.tracking.sync",
    "sweep": "vitsweep.commands.wandb.sweep",
    "cell": "vitsweep.commands.wandb.cell",
    "dashboard": "vitsweep.commands.wandb.dashboard",
}


def main() -> int:
    """Run one command and return its exit code: 2, with a one-line message, for an error in the input."""
    protect_output()
    name, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name not in COMMANDS:
        return usage(0 if name in ("-h", "--help") else 2)
    if name == "run":
        del sys.argv[1]
    try:
        if name == "wandb":
            return wandb(rest)
        command = import_module(COMMANDS[name][0])
        return command.main() if name == "run" else command.main(rest)
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


def wandb(arguments: list[str]) -> int:
    """Run a `wandb` command; `wandb cell` is for W&B's agents.

    Raises:
        UserError: there is no such command.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name not in WANDB_COMMANDS:
        raise UserError("usage: python -m vitsweep wandb sync DIR | sweep study=NAME ... | dashboard study=NAME ...")
    return import_module(WANDB_COMMANDS[name]).main(rest)


def usage(code: int) -> int:
    """Print the commands, to stderr for a non-zero exit code; return the code."""
    stream = sys.stdout if code == 0 else sys.stderr
    print("usage: python -m vitsweep COMMAND ...\n", file=stream)
    for name, (_, arguments, meaning) in COMMANDS.items():
        print(f"  {name + ' ' + arguments:26s} {meaning}", file=stream)
    return code


if __name__ == "__main__":
    sys.exit(main())
