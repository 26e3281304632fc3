"""Runs that were deleted on W&B's pages: the cell gets a new, deterministic id; refuses with the right words."""

import pytest

from tests.support.wandb_cells import make_record, make_row, run_cell
from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.study.record import read_record
from vitsweep.tracking import sync as sync_module
from vitsweep.tracking.client import release_service
from vitsweep.tracking.deleted_runs import next_id, own_ids, read_deleted, usable_id
from vitsweep.tracking.run import run_id
from vitsweep.tracking.sync import sync

ROWS = [make_row(epoch) for epoch in (1, 2, 3)]
FIRST = run_id(make_record())


@pytest.fixture
def impatient(server, monkeypatch):
    """A `wandb sync` that repeats a request once."""
    environment = sync_module.sync_environment
    monkeypatch.setattr(
        sync_module, "sync_environment", lambda scratch: environment(scratch) | {"WANDB__GRAPHQL_RETRY_MAX": "1"}
    )
    return server


def test_a_deleted_run_is_sent_under_the_next_id_once(impatient, tmp_path, capsys):
    run_cell(tmp_path / "cell", make_record(), picture=True)
    release_service()
    impatient.answers.deleted.add(FIRST)
    assert sync(tmp_path) == 0
    (run,) = impatient.runs.values()
    assert (run.id, run.rows(), run.state) == (next_id(FIRST), ROWS, "finished")
    assert run.history[-1]["graph"]["captions"] == ["a pixel"]
    before = len(impatient.requests)
    assert sync(tmp_path) == 0 and len(impatient.requests) == before
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["sent", "there"]


@pytest.mark.slow
def test_a_cell_that_continues_logs_to_its_new_run(impatient, tmp_path):
    run_cell(tmp_path / "cell", make_record(), last=2, end="interrupted")
    release_service()
    impatient.answers.deleted.add(FIRST)
    sync(tmp_path)
    run_cell(tmp_path / "cell", make_record(), first=3)
    release_service()
    assert sync(tmp_path) == 0
    (run,) = impatient.runs.values()
    assert (run.id, run.rows(), run.state) == (next_id(FIRST), ROWS, "finished")


def test_an_online_cell_gets_a_new_run_at_once(server, tmp_path, caplog):
    server.answers.deleted.add(FIRST)
    run_cell(tmp_path / "cell", make_record(), mode="online")
    (run,) = server.runs.values()
    assert (run.id, run.rows()) == (next_id(FIRST), ROWS)
    assert f"the W&B run {FIRST} of this cell was deleted in W&B, so the cell gets a new run" in caplog.text
    record = read_record(tmp_path / "cell")
    assert [entry["id"] for entry in record.wandb] == [run.id]


@pytest.mark.slow
def test_ids_that_were_all_deleted_are_reported_and_the_next_call_tries_new_ones(impatient, tmp_path, capsys):
    run_cell(tmp_path / "cell", make_record())
    release_service()
    ids = [FIRST]
    while len(ids) < 3:
        ids.append(next_id(ids[-1]))
    impatient.answers.deleted.update(ids)
    assert sync(tmp_path) == 1
    assert "FAILED   cell  done  deleted in W&B under each id so far; run the command again for a new id" in (
        capsys.readouterr().out
    )
    assert read_deleted(tmp_path / "cell") == ids
    assert sync(tmp_path) == 0
    assert [(run.id, run.rows()) for run in impatient.runs.values()] == [(next_id(ids[-1]), ROWS)]


def test_a_deleted_run_without_a_record_is_left_to_the_user(impatient, tmp_path, capsys):
    run_cell(tmp_path / "cell", make_record())
    release_service()
    (tmp_path / "cell/record.json").unlink()
    impatient.answers.deleted.add(FIRST)
    assert sync(tmp_path) == 1
    assert "its run was deleted in W&B; use a new id: wandb sync --id NEW_ID " in capsys.readouterr().out


def test_a_list_of_deleted_ids_that_is_torn_is_empty(tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/deleted.json").write_text("[")
    assert (read_deleted(tmp_path), usable_id(tmp_path, FIRST)) == ([], FIRST)
    assert own_ids(tmp_path, make_record()) == {FIRST}
