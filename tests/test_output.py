"""Standard streams that the caller has closed: the work is done and written all the same.

Control characters of names and errors reach no terminal. Kinds: obeys a property.
"""

import logging
import os
import pickle
import subprocess
import sys

import pytest

from vitsweep.errors import DataError, printable
from vitsweep.files import PrintableLogRecord
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("bell\x07 \x9b2J\x7f\r", r"bell\x07 \x9b2J\x7f\r"),
        ("abc\u202ecba\u2066", r"abc\u202ecba\u2066"),
        ("not UTF-8: \udcff", r"not UTF-8: \udcff"),
        ("two\nlines\tand Umlaute äöü, 漢字, \u2212", "two\nlines\tand Umlaute äöü, 漢字, \u2212"),
    ],
)
def test_control_characters_are_visible(text, shown):
    assert printable(text) == shown


def test_message_of_an_error_has_no_control_characters_and_survives_another_process():
    error = pickle.loads(pickle.dumps(DataError("im/a\x1b[31m  is damaged")))
    assert str(error) == r"im/a\x1b[31m  is damaged"


def test_logged_message_has_no_control_characters():
    record = PrintableLogRecord("x", logging.INFO, "x.py", 1, "reading %s", ("a\x1b[31m",), None)
    assert record.getMessage() == r"reading a\x1b[31m"
