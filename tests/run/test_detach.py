"""sweep.detach=true with Slurm's commands imitated: obeys (each cell in one job, limits, no job lost), refuses."""

import dataclasses
from pathlib import Path

import pytest
from hydra.types import RunMode

from tests.support.fake_slurm import FakeSlurm, value
from tests.support.made_plans import made_plan, made_record
from vitsweep.commands import cancel, status
from vitsweep.config.hydra import make_loader
from vitsweep.config.overrides import sweep_name
from vitsweep.config.schema import SweepConfig
from vitsweep.run.cluster import checks, last, scheduler
from vitsweep.run.cluster.book import Book, Part, jobs_folder, output_path, read_book, write_book
from vitsweep.run.cluster.checks import submission_errors, time_minutes, visibility_errors
from vitsweep.run.cluster.last import must_go_on
from vitsweep.run.cluster.options import sbatch_options
from vitsweep.run.cluster.scheduler import SlurmError, cancelled_for
from vitsweep.run.cluster.submit import grouped, submit_waiting
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.record import read_record

LAUNCHER = {"timeout_min": 60, "signal_delay_s": 120, "partition": "main", "mem_gb": 1.5, "cpus_per_task": 2}


@pytest.fixture
def slurm(monkeypatch) -> FakeSlurm:
    fake = FakeSlurm()
    monkeypatch.setattr(scheduler, "subprocess", fake)
    return fake


def made_book(directory: Path, num_cells: int, **settings) -> Book:
    """A book in which that many cells wait, one a job."""
    jobs_folder(directory).mkdir(parents=True, exist_ok=True)
    return Book(name="study.abc", waiting=[[f"a/seed={seed}"] for seed in range(num_cells)], **settings)


def cells_of(book: Book) -> list[str]:
    """Every cell of every part."""
    return [cell for part in book.parts for group in part.groups for cell in group]


def test_every_cell_is_in_one_job_and_no_array_is_above_the_limit(slurm, tmp_path):
    slurm.max_array = 50
    book = made_book(tmp_path, 120)
    assert submit_waiting(tmp_path, book) == 120
    assert [len(part.groups) for part in book.parts] == [50, 50, 20]
    assert sorted(cells_of(book)) == sorted(f"a/seed={seed}" for seed in range(120))
    assert value(slurm.submitted[-1], "--dependency") == "afterany:1:2:3"
    assert read_book(tmp_path) == book


@pytest.mark.parametrize("limit", ["max_queued", "stated"])
def test_next_part_follows_when_half_of_the_room_is_free(slurm, tmp_path, limit):
    book = made_book(tmp_path, 40, **({"max_queued": 11} if limit == "max_queued" else {}))
    slurm.stated_jobs = 11 if limit == "stated" else None
    assert submit_waiting(tmp_path, book) == 10
    slurm.end(*[f"1_{index}" for index in range(4)])
    assert submit_waiting(tmp_path, book, least=True) == 0
    slurm.end("1_4")
    assert submit_waiting(tmp_path, book, least=True) == 5
    assert len(slurm.queue) == 11
    assert len(set(cells_of(book))) == 15


def test_study_flows_through_a_small_queue_to_its_end(slurm, tmp_path):
    book = made_book(tmp_path, 23, max_queued=3)
    submit_waiting(tmp_path, book)
    for _ in range(100):
        tasks = [job for job in slurm.queue if "_" in job]
        if tasks:
            slurm.end(tasks[0])
            submit_waiting(tmp_path, book, least=True)
        elif book.waiting:
            slurm.end(*slurm.queue)
            submit_waiting(tmp_path, book, own_id=book.last_id)
    assert sorted(cells_of(book)) == sorted(f"a/seed={seed}" for seed in range(23))
    assert max(len(part.groups) for part in book.parts) <= 2


def test_full_queue_takes_a_smaller_part_and_the_rest_waits(slurm, tmp_path):
    slurm.max_jobs = 10
    book = made_book(tmp_path, 32)
    assert submit_waiting(tmp_path, book) == 9  # 8 and 1, where 32 and 16 were too many, and the last job
    assert [len(part.groups) for part in book.parts] == [8, 1] and book.last_id == "2"
    assert len(set(cells_of(book))) + len(book.waiting) == 32


def test_refused_part_leaves_nothing_noted(slurm, tmp_path, monkeypatch):
    book = made_book(tmp_path, 3)
    monkeypatch.setattr(slurm, "sbatch", lambda *words: (1, "", "sbatch: error: Invalid account"))
    with pytest.raises(SlurmError, match="sbatch  failed: Invalid account"):
        submit_waiting(tmp_path, book)
    assert (book.parts, len(book.waiting), slurm.queue) == ([], 3, {})


def test_parallel_limit_holds_across_parts(slurm, tmp_path):
    slurm.max_array = 4
    book = made_book(tmp_path, 12, parallel=8)
    submit_waiting(tmp_path, book)
    assert [value(words, "--dependency") for words in slurm.submitted[:3]] == ["", "", "afterany:1"]
    book = made_book(tmp_path, 4, parallel=2)
    submit_waiting(tmp_path, book)
    assert "--array=0-3%2" in slurm.submitted[-2]


def test_cells_of_one_program_share_a_job(tmp_path):
    plan = made_plan(tmp_path, ["a", "b"], [0, 1, 2])
    ids = [cell.id for cell in plan.cells]
    assert grouped(plan.cells, Book(cells_per_job=4)) == [ids[:4], ids[4:]]
    assert grouped(plan.cells, Book(cells_per_job=3, pack="auto")) == [ids[::2], ids[1::2]]


def test_jobs_of_a_submission_that_was_killed_are_found_by_name(slurm, tmp_path):
    book = made_book(tmp_path, 2)
    submit_waiting(tmp_path, book)
    book.parts[0].job_id = ""  # killed before sbatch had answered
    assert set(book.cells_of(scheduler.queued_jobs(book.names))) == {"a/seed=0", "a/seed=1"}


def test_status_and_cancel_name_the_jobs(slurm, tmp_path, capsys):
    plan = made_plan(tmp_path, ["a"], [0, 1, 2])
    book = made_book(tmp_path, 0, max_queued=3)
    book.waiting = [[cell.id] for cell in plan.cells]
    submit_waiting(tmp_path, book)
    status.main([str(tmp_path)])
    text = capsys.readouterr().out
    assert "1 planned, 2 queued of 3 cells" in text and "waits for room" in text and "job 1_1 pending" in text
    assert cancel.main([str(tmp_path)]) == 0
    assert "cancelled 3 jobs" in capsys.readouterr().out
    assert not slurm.queue and read_book(tmp_path).is_cancelled
    status.main([str(tmp_path)])
    assert "cancelled before its start" in capsys.readouterr().out


LOST = {
    "JOB 5 ON n1 CANCELLED AT 2026-11-30T20:18:40 DUE TO TIME LIMIT": "TIME LIMIT",
    "JOB 5 ON n1 CANCELLED AT 2026-11-30T20:18:40 DUE TO PREEMPTION": "PREEMPTION",
    "JOB 5 ON n1 CANCELLED AT 2026-11-30T20:18:40": "",
    "STEP 5.0 ON n1 CANCELLED AT 2026-11-30T20:18:40": None,
    "\nslurmstepd-n1: error: Exceeded job memory limit\n": "OUT OF MEMORY",
    "\nslurmstepd: error: Detected 1 oom_kill event in StepId=5.0.\n": "OUT OF MEMORY",
    "": None,
}


@pytest.mark.parametrize("line", LOST)
def test_reason_for_which_slurm_ended_a_job_is_read_from_its_output(tmp_path, line):
    path = tmp_path / "0.out"
    path.write_text(
        f"begin\nslurmstepd: error: *** JOB 4 ON n1 CANCELLED AT x ***\nbegin\nslurmstepd-n1: error: *** {line} ***\n"
    )
    assert cancelled_for(path, "begin") == LOST[line]


@pytest.fixture
def lost(slurm, tmp_path, monkeypatch):
    """A study of one interrupted cell whose job has left the queue; returns its plan and book."""
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "interrupted")
    book = made_book(tmp_path, 0, last_number=1, last_id="99")
    book.parts = [Part(number=1, groups=[[plan.cells[0].id]], job_id="1")]
    output_path(tmp_path, book.parts[0], 0).parent.mkdir(parents=True)
    return plan, book


def test_cell_that_lost_its_job_gets_another_until_it_has_failed_three_times(slurm, tmp_path, lost):
    plan, book = lost
    for number in (1, 2):
        output_path(tmp_path, book.parts[-1], 0).parent.mkdir(exist_ok=True)
        output_path(tmp_path, book.parts[-1], 0).write_text("vitsweep job 1_0\n")
        assert must_go_on(tmp_path, plan, book, LivenessCheck(), [])
        assert len(book.parts) == number + 1
        slurm.queue.clear()
        book.last_id = "99"
    output_path(tmp_path, book.parts[-1], 0).write_text("vitsweep job 3_0\n")
    assert not must_go_on(tmp_path, plan, book, LivenessCheck(), [])
    record = read_record(tmp_path / plan.cells[0].id)
    assert record.status == "failed" and "its jobs were lost 3 times" in record.error["message"]


@pytest.mark.parametrize(
    ("why", "is_unsized"), [("", True), ("DUE TO TIME LIMIT ", True), ("DUE TO PREEMPTION ", False)]
)
def test_lost_job_that_had_asked_for_little_comes_again_with_the_launchers_limits(
    slurm, tmp_path, lost, why, is_unsized
):
    plan, book = lost
    book.parts[0].sizes = [[5, 512]]
    ended = f"*** JOB 1_0 ON n1 CANCELLED AT now {why}***\n" if why else ""
    output_path(tmp_path, book.parts[0], 0).write_text(f"vitsweep job 1_0\n{ended}")
    assert must_go_on(tmp_path, plan, book, LivenessCheck(), [])
    assert book.unsized == ([plan.cells[0].id] if is_unsized else [])


@pytest.mark.parametrize("output", [None, "vitsweep job 1_0\n*** JOB 1 ON n1 CANCELLED AT now ***\n"])
def test_cancelled_job_is_not_submitted_again(slurm, tmp_path, lost, output):
    plan, book = lost
    if output is not None:
        output_path(tmp_path, book.parts[0], 0).write_text(output)
    assert not must_go_on(tmp_path, plan, book, LivenessCheck(), [])
    assert slurm.submitted == []


def test_cell_that_another_process_trains_is_waited_for(slurm, tmp_path, lost):
    plan, book = lost
    with CellLock(tmp_path / plan.cells[0].id) as lock:
        assert lock.acquire()
        assert must_go_on(tmp_path, plan, book, LivenessCheck(), [plan.cells[0].id])
    assert [value(words, "--begin") for words in slurm.submitted] == [last.LATER]


def test_options_come_from_the_launchers_settings():
    options = sbatch_options(LAUNCHER | {"account": "lab", "additional_parameters": {"mail-type": "END", "hold": True}})
    assert options == [
        *("--partition=main", "--account=lab", "--cpus-per-task=2", "--mem=1536M", "--time=60", "--signal=USR2@120"),
        *("--nodes=1", "--ntasks=1", "--mail-type=END", "--hold"),
    ]
    assert "--signal=USR2@15" in sbatch_options(LAUNCHER | {"timeout_min": 1})


REFUSED = {
    "partition=nix": "hydra.launcher.partition=nix  has no partition nix; allowed: main, long",
    "partition=closed": "hydra.launcher.partition=closed  is DOWN and starts no jobs; allowed: main, long",
    "timeout_min=61": "hydra.launcher.timeout_min=61  is above the limit of partition main, 60 min",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_impossible_partition_is_refused(slurm, setting):
    slurm.partitions = (
        "PartitionName=main Default=YES MaxTime=01:00:00 State=UP\nPartitionName=long MaxTime=UNLIMITED State=UP\n"
        "PartitionName=closed MaxTime=UNLIMITED State=DOWN\n"
    )
    key, _, text = setting.partition("=")
    options = sbatch_options(LAUNCHER | {key: int(text) if text.isdigit() else text})
    assert submission_errors(options) == [REFUSED[setting]]


def test_what_sbatch_refuses_is_one_sentence(slurm):
    slurm.refusal = "Invalid account or account/partition combination specified"
    (message,) = submission_errors(sbatch_options(LAUNCHER))
    assert message.startswith("hydra.launcher  asks for what Slurm refuses: Invalid account or account/partition")
    assert slurm.submitted == []


def test_jobs_that_must_wait_for_drained_nodes_are_allowed(slurm):
    slurm.warning = "Requested node configuration is not available"
    assert submission_errors(sbatch_options(LAUNCHER)) == []
    assert "--begin=now+30days" in slurm.submitted[0] and not slurm.queue  # the trial is cancelled


@pytest.mark.parametrize(("kind", "sees", "count"), [("ext4", False, 1), ("ext4", True, 0), ("nfs4", False, 0)])
def test_directory_that_nodes_do_not_see_is_refused(slurm, tmp_path, monkeypatch, kind, sees, count):
    slurm.sees_directory = sees
    monkeypatch.setattr(checks, "disk_type", lambda directory: kind)
    errors = visibility_errors(tmp_path, ["--partition=main"])
    assert len(errors) == count
    assert all("that a node does not see; use hydra.sweep.dir=" in error for error in errors)


@pytest.mark.parametrize(("text", "minutes"), [("1-02:30:00", 1590), ("00:30:00", 30), ("UNLIMITED", None)])
def test_times_of_slurm(text, minutes):
    assert time_minutes(text) == minutes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"detach": True, "until": "decided"}, "sweep.detach=true  cannot judge looks"),
        ({"detach": True, "isolate": "none"}, "sweep.detach=true  trains each cell in a process"),
        ({"cells_per_job": 5}, "sweep.cells_per_job=5  is read by sweep.detach=true only"),
        ({"detach": True, "jobs": "2"}, "sweep.jobs=2  needs several cells in a job; add sweep.cells_per_job=N"),
        ({"max_queued": 5}, "sweep.max_queued=5  is read by sweep.detach=true only"),
        ({"detach": True, "max_queued": 2}, "must be at least 3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    assert [error for error in dataclasses.replace(SweepConfig(), **settings).errors() if words in error]


def test_other_launchers_are_refused(vitsweep_main, small):
    code, _, err = vitsweep_main("-m", *small, "seed=0,1", "sweep.detach=true")
    assert code == 2 and "add hydra/launcher=submitit_slurm" in err and "Traceback" not in err


def test_single_run_is_refused(vitsweep_main, small):
    code, _, err = vitsweep_main(*small, "sweep.detach=true")
    assert code == 2 and "sweep.detach=true  submits the cells of a sweep; add -m" in err


def test_wrong_type_of_a_launchers_setting_is_one_message(vitsweep_main, small):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=main", "hydra.launcher.mem_gb=0.2"]
    code, _, err = vitsweep_main("-m", *small, "seed=0,1", *words)
    assert code == 2 and err.count("\n") == 1 and "hydra.launcher.mem_gb" in err


SITE = """
# @package _global_
defaults:
  - override /hydra/launcher: submitit_slurm
sweep:
  detach: true
hydra:
  launcher:
    partition: gpu
    timeout_min: 240
"""


def test_site_file_sets_the_jobs_and_the_command_line_beats_it(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "mysite.yaml").write_text(SITE.lstrip())
    overrides = ["cluster=mysite", "hydra.launcher.timeout_min=30"]
    config = make_loader(str(tmp_path)).load_configuration("config", overrides, run_mode=RunMode.MULTIRUN)
    found = (config.hydra.launcher.partition, config.hydra.launcher.timeout_min, config.sweep.detach)
    assert found == ("gpu", 30, True)
    assert sweep_name(["cluster=mysite", "seed=0,1"]) == sweep_name(["seed=0,1"])


def test_fields_of_a_newer_version_are_kept(tmp_path):
    book = made_book(tmp_path, 1, newer={"colour": "blue"})
    write_book(tmp_path, book)
    assert read_book(tmp_path) == book
