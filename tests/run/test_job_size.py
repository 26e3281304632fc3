"""Limits of jobs by the study's finished cells: obeys (enough, less than twice the use), again with more, once."""

import pytest

from tests.support.fake_slurm import FakeSlurm, value
from tests.support.made_plans import made_plan, made_record
from vitsweep.config.schema import SweepConfig
from vitsweep.run.cluster import scheduler
from vitsweep.run.cluster.book import Book, Part, jobs_folder, read_book, write_book
from vitsweep.run.cluster.options import launcher_size, sbatch_options, with_size
from vitsweep.run.cluster.resize import is_news, limit, lower_pending, mark_interrupted, submit_with_more
from vitsweep.run.cluster.size import Need, arm_folder, arm_needs, job_size, stepped
from vitsweep.run.cluster.submit import parts_before, submit_waiting
from vitsweep.run.pool import KILLED
from vitsweep.study.record import read_record

OPTIONS = sbatch_options({"timeout_min": 240, "signal_delay_s": 120, "mem_gb": 8})
HOUR, MOST = 3600.0, (240, 8192)


@pytest.fixture
def slurm(monkeypatch) -> FakeSlurm:
    fake = FakeSlurm()
    monkeypatch.setattr(scheduler, "subprocess", fake)
    return fake


@pytest.fixture
def study(tmp_path):
    """Two arms of two seeds each, one epoch and two; the first cell has taken an hour and 2 GiB of a CPU's memory."""
    plan = made_plan(tmp_path, ["a", "b"], [0, 1])
    made_record(tmp_path, plan, plan.cells[0], "done", time_seconds=HOUR, peak_gib=2.0, device="cpu", finished="2026")
    book = Book(name="study.abc", options=OPTIONS, waiting=[[cell.id] for cell in plan.cells[1:]])
    jobs_folder(tmp_path).mkdir()
    return plan, book


def need(hours: float, gib: float | None = 1.0) -> Need:
    return Need(seconds=hours * HOUR, gib=gib, is_measured=True)


def test_limits_are_enough_for_another_seed_and_less_than_twice_its_use(tmp_path, study):
    plan, _ = study
    needs = arm_needs(tmp_path, plan)
    minutes, megabytes = job_size([needs[arm_folder(plan.cells[0].id)]], 1, MOST, warning_seconds=120)
    assert 1.3 * 60 + 2 <= minutes < 2 * 60
    assert 1.2 * 2048 <= megabytes < 2 * 2048


def test_an_arm_without_cells_is_sized_by_its_price(tmp_path, study):
    plan, _ = study
    needs = arm_needs(tmp_path, plan)
    first, second = (needs[arm_folder(cell.id)] for cell in plan.cells[:2])
    assert (first.is_measured, second.is_measured) == (True, False)
    assert second.seconds > 2 * first.seconds  # twice the epochs, and the factor of an estimate by operations
    assert second.gib == pytest.approx(2.0)


def test_cells_of_a_gpu_say_nothing_on_the_machines_memory(tmp_path):
    plan = made_plan(tmp_path, ["a"], [0, 1])
    made_record(tmp_path, plan, plan.cells[0], "done", time_seconds=HOUR, peak_gib=2.0, device="NVIDIA H200")
    (found,) = arm_needs(tmp_path, plan).values()
    assert found.gib is None
    assert job_size([found], 1, MOST)[1] == 8192


@pytest.mark.parametrize(
    ("needs", "at_a_time", "hours"), [([need(1)] * 4, 1, 4), ([need(1)] * 4, 2, 2), ([need(0.5)] * 2, 4, 0.5)]
)
def test_a_job_of_several_cells_has_the_time_of_all(needs, at_a_time, hours):
    minutes, megabytes = job_size(needs, at_a_time, (10_000, 100_000))
    assert 60 * 1.2 * hours < minutes < 60 * 1.4 * hours + 2
    assert megabytes > 1280 * min(at_a_time, len(needs))


@pytest.mark.parametrize("needs", [[None], [need(1), None], [need(9, None)]])
def test_what_is_not_known_or_too_long_has_the_launchers_limits(needs):
    assert job_size(needs, 1, MOST) == []


@pytest.mark.parametrize("value", [0.2, 1, 15.1, 17, 100, 1023, 5000])
def test_steps_round_up_by_an_eighth_at_most(value):
    assert value <= stepped(value) <= max(1, value + 1, value * 9 / 8)


def test_options_of_a_sized_job_are_warned_within_their_limit():
    assert with_size(OPTIONS, []) == OPTIONS
    options = with_size(OPTIONS, [4, 512])
    assert {"--time=4", "--mem=512M", "--signal=USR2@60"} < set(options)
    assert len(options) == len(OPTIONS)
    assert "--mem=8192M" in with_size(OPTIONS, [4, 0])


def test_jobs_of_one_size_are_one_array_the_longest_first(slurm, tmp_path, study):
    plan, book = study
    book.needs = arm_needs(tmp_path, plan)
    assert submit_waiting(tmp_path, book) == 3
    assert [[arm_folder(group[0])[0] for group in part.groups] for part in book.parts] == [["b", "b"], ["a"]]
    assert [value(words, "--time") for words in slurm.submitted[:2]] == [str(part.size(0)[0]) for part in book.parts]
    assert value(slurm.submitted[-1], "--time") == "240"  # the last job, which writes the report
    assert read_book(tmp_path) == book


def test_launchers_limits_hold_before_the_first_cell_and_if_they_are_asked_for(slurm, tmp_path, study):
    plan, book = study
    submit_waiting(tmp_path, book)
    book.needs, book.size_jobs, book.waiting = arm_needs(tmp_path, plan), False, [[plan.cells[0].id]]
    submit_waiting(tmp_path, book)
    assert {value(words, "--time") for words in slurm.submitted} == {"240"}


def test_jobs_that_wait_are_lowered_after_an_arms_first_cell(slurm, tmp_path, study):
    plan, book = study
    done = plan.cells[0].id
    submit_waiting(tmp_path, book)
    slurm.queue["1_0"] = (*slurm.queue["1_0"][:2], "RUNNING")
    assert is_news(book, [done])
    assert lower_pending(tmp_path, book, arm_needs(tmp_path, plan)) == 2
    assert sorted(words[0] for words in slurm.updates) == ["JobId=1_[1]", "JobId=1_[2]"]  # of two arms
    assert book.parts[0].size(0) == [] and book.parts[0].size(1) != book.parts[0].size(2)
    assert not is_news(book, [done])
    assert lower_pending(tmp_path, book, arm_needs(tmp_path, plan)) == 0


def test_limits_are_noted_before_slurm_changes_them(slurm, tmp_path, study):
    """It may change some of the tasks and then report an error; too low a note costs a submission, too high a cell."""
    plan, book = study
    submit_waiting(tmp_path, book)
    slurm.refusal = "Job/step already completing or completed"
    assert lower_pending(tmp_path, book, arm_needs(tmp_path, plan)) == 0
    assert all(read_book(tmp_path).parts[0].sizes)


@pytest.mark.parametrize("what", ["time", "memory"])
def test_a_job_that_had_too_little_comes_once_more_with_the_launchers_limits(slurm, tmp_path, study, what, caplog):
    plan, book = study
    cell = plan.cells[2].id
    book.needs, book.waiting = arm_needs(tmp_path, plan), []
    book.parts = [Part(number=1, groups=[[cell]], job_id="1", sizes=[[90, 3072]])]
    write_book(tmp_path, book)
    assert submit_with_more(tmp_path, book.parts[0], 0, [cell], what)
    assert f"{'90 min of time' if what == 'time' else '3072 MB of memory'} did not suffice" in caplog.text
    part = read_book(tmp_path).parts[-1]
    assert (part.groups, part.sizes, part.retry, value(slurm.submitted[0], "--time")) == ([[cell]], [], False, "240")
    assert not submit_with_more(tmp_path, part, 0, [cell], what)


def test_a_job_whose_cells_are_all_done_submits_nothing(slurm, tmp_path, study):
    _, book = study
    book.parts = [Part(number=1, groups=[["a/seed=0"]], job_id="1", sizes=[[90, 3072]])]
    write_book(tmp_path, book)
    assert not submit_with_more(tmp_path, book.parts[0], 0, [], "time")
    assert slurm.submitted == []


@pytest.mark.parametrize(
    ("sizes", "wanted", "before"), [([40, 20], 30, 1), ([40, 20, 30], 20, 2), ([3], 3, 0), ([64], 1, 1)]
)
def test_parallel_limit_counts_the_tasks_of_arrays_of_any_size(sizes, wanted, before):
    active = [Part(number=i, groups=[["a"]] * size) for i, size in enumerate(sizes)]
    assert len(parts_before(Book(parallel=64), wanted, active)) == before


@pytest.mark.parametrize(
    ("size", "what", "had"),
    [([15, 0], "memory", ""), ([15, 8192], "memory", ""), ([15, 896], "memory", "896 MB"), ([240, 896], "time", "")],
)
def test_only_a_limit_that_was_lowered_can_have_been_too_low(study, size, what, had):
    assert limit(study[1], size, what) == had


@pytest.mark.parametrize(("text", "megabytes"), [("16G", 16384), ("1T", 1024**2), ("512", 512), ("half", None)])
def test_memory_is_read_in_the_units_of_sbatch(text, megabytes):
    assert launcher_size(["--time=60", f"--mem={text}"]) == (60, megabytes)


def test_a_killed_cell_goes_on_from_its_state(tmp_path, study):
    plan, _ = study
    made_record(tmp_path, plan, plan.cells[1], "failed", error={"type": "Died", "message": KILLED, "traceback": ""})
    mark_interrupted(tmp_path, plan.cells[1])
    record = read_record(tmp_path / plan.cells[1].id)
    assert (record.status, record.error) == ("interrupted", None)


def test_launchers_limits_alone_are_for_detached_jobs():
    (message,) = SweepConfig(size_jobs=False).errors()
    assert message == "sweep.size_jobs=false  is read by sweep.detach=true only; add it"
