"""Back from W&B: one study read three ways (records, run files alone, the server) gives the same report.

Kinds: agrees with the records, properties (fragments, repeated runs, sweeps' dotted copies), refusals.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from vitsweep.analysis.__main__ import main as analysis
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.wandb_runs import parse_source, report_folder, to_cells
from vitsweep.analysis.report import report

from tests.support.make_records import make_cell, make_plan, make_record, with_hashes
from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import RecordError
from vitsweep.files import write_json
from vitsweep.study.record import Record, read_record
from vitsweep.tracking.client import release_service
from vitsweep.tracking.pieces import replay
from vitsweep.tracking.read_back import RemoteRun, read_runs, rebuild_plan, rebuild_record
from vitsweep.tracking.run import PLAN_KEY, run_config, run_summary

SOURCE = "wandb:local/shelf?group=study"
ERROR = {"type": "ValueError", "message": "no: really", "traceback": "..."}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three arms: one whole, one with a seed that was never started, one whose seeds failed and diverged."""
    accuracies = {
        "baseline": (0.80, 0.81, 0.82),
        "patch_size=8": (0.75, 0.77, None),
        "dropout=none": (0.79, None, None),
    }
    records = [make_record(arm, seed, a) for arm, values in accuracies.items() for seed, a in enumerate(values)]
    plan = with_hashes(make_plan(records) | {"published": {"baseline": 81.5}, "rope": 0.25})
    records[-2:] = [
        dataclasses.replace(records[-2], status="failed", metrics={}, error=ERROR),
        dataclasses.replace(records[-1], status="diverged", metrics={}, epoch=3),
    ]
    for record in records:
        if (record.arm, record.seed) != ("patch_size=8", 2):
            make_cell(tmp_path / "sweep", record, epochs=6)
    write_json(tmp_path / "sweep/plan.json", plan)
    return tmp_path / "sweep"


def log_all(sweep: Path, mode: str) -> None:
    """Log every cell to W&B."""
    for path in sorted(sweep.rglob("record.json")):
        replay(read_record(path.parent), path.parent, TrackerConfig(mode=mode, project="shelf"))
    release_service()  # a run file is whole when wandb's helper has ended


def without_records(sweep: Path, folder: Path) -> Path:
    """A copy of a sweep that has only the run files of W&B."""
    for path in sweep.rglob("wandb"):
        shutil.copytree(path, folder / path.relative_to(sweep), symlinks=True)
    return folder


def tables(folder: Path) -> dict[str, str]:
    """The report's tables and the numbers behind its figures."""
    return {path.name: path.read_text() for path in [*folder.glob("tables/*"), *folder.glob("figures/*.csv")]}


def results(folder: Path) -> dict:
    """results.json without the hashes of its inputs, which are the records."""
    found = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in found.items() if key not in ("inputs", "signature")}


def test_three_ways_to_read_a_study_give_one_report(sweep, server, tmp_path, monkeypatch):
    log_all(sweep, "offline")
    offline = without_records(sweep, tmp_path / "offline")
    log_all(sweep, "online")
    reports = {}
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")  # drawing takes most of the time
    for source in (sweep, offline, SOURCE):
        out = tmp_path / "reports" / Path(str(source)).name.partition("?")[0]
        assert analysis(["report", str(source), "--out", str(out), "--gallery", "none"]) == 0
        reports[str(source)] = out
    expected = reports.pop(str(sweep))
    assert "runs.csv" in tables(expected) and results(expected)["arms"][1]["pairs"] == 2
    for out in reports.values():
        assert tables(out) == tables(expected)
        assert results(out) == results(expected)
        page = (out / "report.md").read_text()
        assert "predictions of single images, checkpoints and tracebacks are not there" in page
    assert not {"History", "SampledHistory"} & set(server.answers.operations)


def test_a_killed_cell_is_merged_from_its_run_files(tmp_path, sweep):
    cell = next(sweep.glob("baseline-*/seed=0"))
    record = dataclasses.replace(read_record(cell), status="running", metrics={})
    for epochs in (2, 4):
        rows = (cell / "metrics.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "cell").mkdir(exist_ok=True)
        (tmp_path / "cell/metrics.jsonl").write_text("".join(rows[:epochs]))
        replay(dataclasses.replace(record, status="interrupted"), tmp_path / "cell", TrackerConfig(mode="offline"))
    release_service()
    newest = max((tmp_path / "cell").rglob("run-*.wandb"), key=lambda path: path.parent.name)
    newest.write_bytes(newest.read_bytes()[:7])  # as kill -9 in the first second leaves it
    (run,) = read_runs(tmp_path / "cell")
    assert [row["epoch"] for row in run.epochs] == [1, 2]
    assert rebuild_record(run).status == "interrupted"


def remote_run(record: Record, **changes) -> RemoteRun:
    """A run as the server has it."""
    values = {"id": "x", "config": run_config(record, False), "summary": run_summary(record, False), "rows": []}
    return RemoteRun(**values | changes)


def test_a_record_comes_back_as_it_was():
    record = make_record("patch_size=8", 1, 0.75, epoch=6)
    back = rebuild_record(remote_run(record))
    record.config["data"]["root"], record.config["seed"] = "<path>", 1  # kept back; the seed that it is paired by
    assert dataclasses.asdict(back) == dataclasses.asdict(record)


def test_what_a_sweep_adds_to_the_configuration_is_dropped():
    record = make_record("patch_size=8", 1, 0.75)
    config = run_config(record, False) | {"model.patch_size": 8, "+study_cell": "x", "_wandb": {}}
    assert rebuild_record(remote_run(record, config=config)).config == rebuild_record(remote_run(record)).config


def test_a_killed_run_has_the_outcome_of_its_epochs():
    record = make_record("baseline", 0, 0.8)
    rows = [{"epoch": epoch, "time_seconds": 1.5, "_step": epoch} for epoch in (1, 2)]
    back = rebuild_record(remote_run(record, summary={"time_seconds": 1.5, "epoch": 2}, rows=rows))
    assert (back.status, back.epoch, back.time_seconds, back.metrics) == ("interrupted", 2, 3.0, {})


def test_a_cell_logged_twice_counts_once(sweep, server):
    cell = next(sweep.glob("baseline-*/seed=0"))
    record = read_record(cell)
    replay(dataclasses.replace(record, status="interrupted", metrics={}), cell, TrackerConfig(project="shelf"), "first")
    replay(record, cell, TrackerConfig(project="shelf"))
    loaded = load(SOURCE)
    assert (loaded.cells["status"] == "done").sum() == 1
    assert "1 runs repeat a cell" in " ".join(loaded.problems)


def test_runs_of_another_persons_sweep_are_left_out():
    records = [make_record("baseline", seed, 0.8, sweep_id=who) for who, seed in (("a", 0), ("b", 0), ("b", 1))]
    cells = to_cells([remote_run(record, id=str(n)) for n, record in enumerate(records)], "W&B")
    assert [record.sweep_id for _, record, _ in cells.cells] == ["b", "b"]
    assert "2 sweeps have this name: 1 runs that are not of the largest are left out." in cells.problems


def test_parts_of_a_study_on_several_machines_are_kept():
    records = [make_record("baseline", seed, 0.8, sweep_id=who) for who, seed in (("a", 0), ("b", 1))]
    runs = [remote_run(record, id=str(n)) for n, record in enumerate(records)]
    assert len(to_cells(runs, "W&B").cells) == 2


def test_directories_with_records_are_read_as_ever(sweep):
    log_all(sweep, "offline")
    loaded = load(sweep)
    assert loaded.problems == [] and not loaded.is_copy


def test_foreign_runs_are_named_and_left_out(sweep, server, tmp_path):
    import wandb

    log_all(sweep, "online")
    with wandb.init(project="shelf", group="study", id="foreign", dir=tmp_path, settings=wandb.Settings(silent=True)):
        pass
    assert "Left out foreign" in " ".join(load(SOURCE).problems)


@pytest.mark.parametrize("source", ["wandb:", "wandb:a/b", "wandb:a/b?arm=x", "wandb:a/b/c?group=x", "wandb:?group=x"])
def test_a_source_of_another_form_is_refused(source):
    with pytest.raises(RecordError, match="must be wandb:ENTITY/PROJECT"):
        parse_source(source)


def test_a_source_names_project_group_and_folder():
    assert parse_source(SOURCE) == ("local/shelf", "study")
    assert report_folder(SOURCE) == Path("outputs/wandb/shelf/study/report")


@pytest.mark.parametrize("group", ["patch_size+lr", "patch_size%2Blr"])
def test_a_source_names_a_sweep_over_two_factors(group):
    assert parse_source(f"wandb:local/shelf?group={group}") == ("local/shelf", "patch_size+lr")


def test_a_group_without_runs_is_refused(server):
    with pytest.raises(RecordError, match="has no runs; the group is the study's name"):
        load("wandb:local/shelf?group=absent")


def test_a_missing_key_is_refused(no_account):  # noqa: F811
    with pytest.raises(RecordError, match="needs an API key"):
        load(SOURCE)


def test_a_server_that_refuses_is_reported(server, sweep):
    server.mood.statuses = [400] * 100
    with pytest.raises(RecordError, match="cannot be read from"):
        load(SOURCE)


def test_plan_is_taken_from_the_run_that_knows_most_of_its_history():
    older = {"arms": [], "seeds_of": {}, "claims": ["old"]}
    newer = {"arms": [], "seeds_of": {}, "claims": ["new"], "claims_before": {"h": ["old"]}}
    runs = [RemoteRun(id="a", config={PLAN_KEY: plan}, summary={}, rows=[]) for plan in (older, newer)]
    assert rebuild_plan(runs)["claims"] == ["new"]
