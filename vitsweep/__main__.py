"""`python -m vitsweep COMMAND`: what is done with studies and cells besides running them."""

import sys
from importlib import import_module

from vitsweep.errors import UserError

COMMANDS = {
    "reproduce": ("vitsweep.reproduce", "print the command that trains a cell again"),
    "run": ("vitsweep.cli", "what run.py and the command `vitsweep` do"),
}


def main() -> int:
    """Run one command; a user's fault is one sentence and exit code 2."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m vitsweep COMMAND ...\n", file=sys.stderr)
        for name, (_, meaning) in COMMANDS.items():
            print(f"  {name:10s} {meaning}", file=sys.stderr)
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 2
    module = import_module(COMMANDS[sys.argv[1]][0])
    if sys.argv[1] == "run":
        del sys.argv[1]
        return module.main()
    try:
        return module.main(sys.argv[2:])
    except UserError as fault:
        print(fault, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
