"""Progress of a report: log lines without a terminal, silent unless shown. Kind: obeys a property."""

import logging

from vitsweep.analysis.progress import shown, stage, steps


def test_stages_are_logged_and_steps_at_most_every_few_seconds(caplog):
    caplog.set_level(logging.INFO)
    with shown("report"):
        stage("records")
        assert list(steps(["a", "b", "c"], "figures")) == ["a", "b", "c"]
    assert caplog.messages == ["report: records", "report: figures 1/3"]


def test_nothing_is_logged_unless_it_is_shown(caplog):
    caplog.set_level(logging.INFO)
    stage("records")
    assert list(steps(iter("ab"), "figures")) == ["a", "b"] and not caplog.messages
