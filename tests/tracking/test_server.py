"""The fake W&B server: agrees with the real client's own reading, sweeps and saved views."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_wandb_server import FakeWandb
from tests.support.wandb_cells import make_record, make_row, run_cell
from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401


def test_wandb_api_reads_back_what_the_tracker_wrote(server, tmp_path):
    import wandb

    for seed in (0, 1):
        run_cell(tmp_path / str(seed), make_record(seed), mode="online", last=4)
    run_cell(tmp_path / "other", make_record(2, study="other"), mode="online")
    runs = wandb.Api().runs("local/shelf", filters={"group": "tiny"})
    assert sorted(run.config["seed"] for run in runs) == [0, 1]
    (first,) = [run for run in runs if run.config["seed"] == 0]
    rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in first.scan_history()]
    assert [row for row in rows if "epoch" in row] == [make_row(epoch) for epoch in (1, 2, 3, 4)]
    assert (first.state, first.group, first.job_type, first.tags) == (
        "finished",
        "tiny",
        "patch_size=8",
        ["patch_size=8"],
    )
    assert (first.summary["status"], first.summary["best/epoch"]) == ("done", 1)


def test_the_client_asks_for_nothing_that_is_unknown(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_cell(tmp_path / "cell", make_record(), mode="online", picture=True, artifacts=True, end="interrupted")
    run_cell(tmp_path / "cell", make_record(), mode="online", picture=True, artifacts=True, first=3)
    assert set(server.answers.unknown) <= {"OrganizationCoreWeaveOrganizationID"}  # its answer may be empty


def test_a_stopped_server_refuses_connections():
    import urllib.error
    import urllib.request

    with FakeWandb() as running:
        url = running.url
        urllib.request.urlopen(url).close()
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(url)


@pytest.mark.slow  # the agent asks for work every five seconds
def test_an_agent_runs_every_point_of_a_sweep(server, tmp_path):
    script = tmp_path / "program.py"
    script.write_text("import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config['depth']})\n")
    (tmp_path / "sweep.yaml").write_text(
        "program: program.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\n"
        "parameters: {depth: {values: [2, 4]}}\n"
    )
    command = [sys.executable, "-m", "wandb"]
    made = subprocess.run([*command, "sweep", "sweep.yaml"], cwd=tmp_path, capture_output=True, text=True, check=True)
    (sweep_id,) = server.answers.sweeps
    assert sweep_id in made.stderr
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    agent = [*command, "agent", f"local/uncategorized/{sweep_id}"]
    subprocess.run(agent, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)
    assert sorted(run.config["depth"] for run in server.runs.values()) == [2, 4]
    assert {run.sweep for run in server.runs.values()} == {sweep_id}
