"""Process of vs.run: `python -m vitsweep.analysis.api.child FD WORDS ...`, the command line with its result sent back.

The process ends itself in an orderly way when the one that started it is gone, such as a notebook's kernel.
"""

import os
import sys
from multiprocessing.connection import Connection


def main() -> int:
    """Run the words; send exit code and error messages to the connection; return the exit code."""
    connection, words = Connection(int(sys.argv[1]), readable=False), sys.argv[2:]
    try:
        from vitsweep import cli
        from vitsweep.run.worker import watch_parent

        watch_parent(os.getppid())
        sys.argv = ["vitsweep", *words]
        code, messages = cli.start(words)
    except KeyboardInterrupt:
        code, messages = 130, ["stopped"]
    connection.send((code, messages))
    return code


if __name__ == "__main__":
    sys.exit(main())
