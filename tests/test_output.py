"""Standard streams that the caller has closed: the work is done and written all the same.

Kinds: obeys a property.
"""

import os
import subprocess
import sys

import pytest

from vitsweep.run.workers import worker_environment

COMMAND = """
import os, subprocess, sys
from vitsweep.files import protect_output
protect_output()
for line in range(3):
    print("line", line, flush=True)
print("to stderr", file=sys.stderr)
subprocess.run([sys.executable, "-c", "import os; os.fstat(1), os.fstat(2)"], stdout=2, check=True)
sys.stdout.isatty()
open(sys.argv[1], "w").write("done")
"""


def close(*handles: int):
    """Return a function that closes the handles in a new process before its program starts."""
    return lambda: [os.close(handle) for handle in handles]


@pytest.mark.parametrize("handles", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_streams_end_nothing(tmp_path, handles):
    command = [sys.executable, "-c", COMMAND, str(tmp_path / "result")]
    assert subprocess.run(command, env=worker_environment(), preexec_fn=close(*handles)).returncode == 0
    assert (tmp_path / "result").read_text() == "done"


def test_reader_that_leaves_ends_nothing(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", COMMAND, str(tmp_path / "result")]
    done = subprocess.run(command, env=worker_environment(), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "to stderr\n")
    assert (tmp_path / "result").read_text() == "done"
