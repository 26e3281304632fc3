"""Expected time of a plan's cells. Kinds: obeys properties (of spans and slots), agrees with hand-made records."""

import pytest

from tests.support.made_plans import made_plan
from vitsweep.run.slots import Slot
from vitsweep.run.timing import estimate
from vitsweep.run.timing.estimate import Span, describe_span, describe_time, estimate_time, makespan
from vitsweep.study.plan import new_record
from vitsweep.study.record import write_record
from vitsweep.study.status import CellStatus
from vitsweep.train.trial.result import ProbeResult


@pytest.fixture
def plan(tmp_path):
    return made_plan(tmp_path, ["a", "b"], [0, 1, 2])


def statuses(plan, status: str = "planned", epoch: int = 0) -> list[CellStatus]:
    """All cells with one status."""
    found = []
    for cell in plan.cells:
        record = new_record(plan, cell, None)
        record.epoch = epoch
        found.append(CellStatus(cell=cell, status=status, record=record))
    return found


def finished(plan, directory, number: int, seconds: float, cpu: str = "") -> None:
    """Write the record of a finished cell of this machine, or of one with another CPU."""
    record = new_record(plan, plan.cells[number], None)
    record.status, record.time_seconds, record.device, record.threads = "done", seconds, "cpu", 1
    record.environment = estimate.host() | ({"cpu": cpu} if cpu else {})
    (directory / plan.cells[number].id).mkdir(parents=True)
    write_record(directory / plan.cells[number].id, record)


ONE = [Slot(threads=1)]


@pytest.fixture(autouse=True)
def cpu_only(monkeypatch):
    monkeypatch.setattr(estimate, "gpu_names", tuple)


@pytest.mark.parametrize(("slots", "wanted"), [(1, 10.0), (2, 6.0), (3, 5.0), (9, 4.0)])
def test_cells_are_started_in_the_first_slot_that_is_free(slots, wanted):
    assert makespan([1.0, 2.0, 3.0, 4.0], slots) == wanted


def test_time_is_that_of_the_arms_own_cells(plan, tmp_path):
    finished(plan, tmp_path, 0, 100.0)
    finished(plan, tmp_path, 1, 300.0)
    found = estimate_time(plan, statuses(plan)[2:], ONE, tmp_path, 0.0)
    assert found.arms["a"].likely == 100.0 and found.arms["b"].likely == 300.0
    assert found.total.likely == 2 * (100.0 + 300.0) + estimate.START_OF_SWEEP
    assert describe_time(found).endswith("on this machine, from 2 finished cells here")


def test_span_covers_what_equal_cells_differed_by(plan, tmp_path):
    for number, seconds in ((0, 50.0), (2, 100.0), (4, 150.0), (1, 100.0)):
        finished(plan, tmp_path, number, seconds)
    span = estimate_time(plan, statuses(plan)[3:4], ONE, tmp_path, 0.0).arms["a"]
    assert (span.low, span.likely, span.high) == (50.0, 100.0, 150.0)


def test_cells_of_another_machine_say_nothing(plan, tmp_path):
    finished(plan, tmp_path, 0, 100.0, cpu="another")
    assert estimate_time(plan, statuses(plan), ONE, tmp_path, 0.0) is None


def test_interrupted_cell_takes_the_rest(plan, tmp_path):
    finished(plan, tmp_path, 0, 100.0)
    finished(plan, tmp_path, 1, 100.0)
    half = statuses(plan, "interrupted", epoch=1)[3:4]  # of two epochs
    found = estimate_time(plan, half, ONE, tmp_path, 0.0)
    assert found.total.likely == 50.0 + estimate.START_OF_SWEEP


def test_timed_steps_give_every_arm_a_time(plan, tmp_path):
    probed = {"a": ProbeResult(device="cpu", step_seconds=1.0, eval_seconds=0.0, num_steps=4)}
    found = estimate_time(plan, statuses(plan), ONE, tmp_path, 0.0, probed)
    assert found.arms["a"].low < found.arms["a"].likely < found.arms["a"].high
    assert found.arms["b"].high >= found.arms["a"].high  # scaled, so less certain
    assert "timed training steps" in found.source


def test_probe_that_fails_does_not_stop_a_sweep(plan, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("timing steps failed: no memory")

    monkeypatch.setattr(estimate, "measure_shapes", broken)
    assert estimate_time(plan, statuses(plan), ONE, tmp_path, 1.0) is None


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((60.0, 90.0, 240.0), "about 90 s (60 s to 4 min)"),
        ((900.0, 1500.0, 2400.0), "about 25 min (15 to 40 min)"),
        ((10.1, 10.2, 10.3), "about 10 s"),
    ],
)
def test_span_in_words(ends, words):
    assert describe_span(Span(low=ends[0], likely=ends[1], high=ends[2])) == words
