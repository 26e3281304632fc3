"""Progress of a report: lines without a terminal, silent unless shown. Kind: obeys a property."""

import time

from vitsweep.analysis.progress import shown, stage, steps


def test_lines_are_some_seconds_apart(monkeypatch):
    clock, lines = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with shown("report", lines.append):
        stage("records")  # at once: a short report says nothing
        for _ in steps(["a", "b", "c", "d"], "figures"):
            clock[0] += 3.0
    assert lines == ["report: figures 3/4"]


def test_nothing_is_said_unless_it_is_shown(capsys):
    stage("records")
    assert list(steps(iter("ab"), "figures")) == ["a", "b"] and capsys.readouterr() == ("", "")
