"""W&B sweeps of studies: what the file says, which cell a point is, and the real agent that trains them.

Kinds: properties (no trap can be written, a point is its cell), refusals, agrees with a plain sweep.
"""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.fake_training import SWEEP
from tests.support.wandb_agents import agent_command, run_sweep
from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.__main__ import main as vitsweep
from vitsweep.commands.command_arguments import make_composer, make_study_parser
from vitsweep.commands.wandb.cell import find_cell, tuned_cell
from vitsweep.run.worker import train_cell
from vitsweep.study.plan import read_plan
from vitsweep.study.record import read_record
from vitsweep.tracking.client import release_service

TUNING = ["--method", "random", "recipe.lr=tag(log,interval(1e-4,1e-2))"]


@pytest.fixture
def call(monkeypatch, capsys):
    """`python -m vitsweep wandb ...` in this process: exit code, output, error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vitsweep", "wandb", *arguments])
        code = vitsweep()
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def quick(tiny) -> list[str]:
    """The tiny cell, tracked by W&B."""
    return [*(o for o in tiny if o != "tracker=none"), "tracker.pictures=null", "recipe.epochs=1"]


def content(call, *arguments: str) -> dict:
    code, _, err = call("sweep", *arguments)
    assert code == 0, err
    return yaml.safe_load(Path("sweep.yaml").read_text())


def test_a_plain_grid_is_dotted_leaves(call):
    found = content(call, "model.patch_size=4,8", "seed=0,1", "data=shapes", "sweep.check=false")
    assert found["parameters"] == {"model.patch_size": {"values": [4, 8]}, "seed": {"values": [0, 1]}}
    assert found["command"][:6] == ["${env}", "${interpreter}", "-m", "vitsweep", "wandb", "cell"]
    assert found["command"][6:] == [
        "model.patch_size=4,8",
        "seed=0,1",
        "data=shapes",
        "sweep.check=false",
        "--",
        "${args_no_hyphens}",
    ]


def test_a_study_is_one_parameter_of_planned_cells(call):
    found = content(call, "study=parts", "data=shapes", "sweep.check=false")
    (cells,) = (parameter["values"] for parameter in found["parameters"].values())
    assert list(found["parameters"]) == ["+study_cell"]
    assert [cell.replace(":", "=") for cell in cells] == [
        cell.id for cell in read_plan(Path("outputs/parts-shapes")).cells
    ]
    assert not any("=" in cell for cell in cells)  # Hydra takes no = in a value


@pytest.mark.parametrize("choice", ["model/dropout=none,mlp", "recipe=readme,quick", "model/patch_size=p4,p8"])
def test_a_choice_of_groups_is_never_a_parameter(call, choice):
    assert list(content(call, choice, "sweep.check=false")["parameters"]) == ["+study_cell"]


def test_overrides_may_have_hyphens(call):
    found = content(call, "--model.patch_size=4,8", "seed=0,1", "--data=shapes", "--sweep.check=false")
    assert found["command"][6:10] == ["model.patch_size=4,8", "seed=0,1", "data=shapes", "sweep.check=false"]
    words = ["model.patch_size=4,8", "seed=0,1", "data=shapes", "sweep.check=false"]
    assert call("cell", *words, "--", "--model.patch_size=16", "--seed=0")[2].startswith(
        "model.patch_size=16 seed=0  is not a cell of the study"
    )


@pytest.mark.parametrize("command", [["sweep"], ["cell", "--"], ["dashboard"]])
def test_an_unknown_option_is_one_sentence(call, command):
    code, out, err = call(command[0], "study=parts", "--confg-dir", *command[1:])
    assert (code, out) == (2, "") and err.startswith("--confg-dir  is no option") and len(err.splitlines()) == 1


def test_null_is_a_word(call):
    found = content(call, "data.train_limit=null,2000", "sweep.check=false")
    assert found["parameters"]["data.train_limit"] == {"values": ["null", 2000]}


def test_a_placebo_needs_names_of_cells(call, tmp_path):
    (tmp_path / "mine/study").mkdir(parents=True)
    text = "name: small\ndesign: grid\nfactors: {patch: [model.patch_size=8]}\nseeds: [0]\nplacebo: true\n"
    (tmp_path / "mine/study/small.yaml").write_text(text)
    found = content(call, "--config-dir", "mine", "study=small", "sweep.check=false")
    assert [cell.partition("-")[0] for cell in found["parameters"]["+study_cell"]["values"]] == [
        "baseline",
        "patch:8",
        "placebo",
    ]


def test_ranges_become_parameters_of_wandb(call):
    ranges = ["model.num_hidden_layers=range(2,9)", "model.hidden_dropout_prob=interval(0,0.3)"]
    found = content(call, *TUNING, *ranges, "model.patch_size=4,8", "seed=0,1", "--runs", "20")
    assert found["parameters"] == {
        "recipe.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "model.num_hidden_layers": {"distribution": "int_uniform", "min": 2, "max": 8},
        "model.hidden_dropout_prob": {"distribution": "uniform", "min": 0.0, "max": 0.3},
        "model.patch_size": {"values": [4, 8]},
        "seed": {"values": [0, 1]},
    }
    assert (found["metric"], found["run_cap"]) == ({"name": "val/accuracy", "goal": "maximize"}, 20)
    assert found["early_terminate"] == {"type": "hyperband", "s": 2, "eta": 3, "max_iter": 100}


def test_short_runs_are_not_stopped_early(call):
    assert "early_terminate" not in content(call, *TUNING, "recipe.epochs=8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study=parts", "tracker=none"], "tracker=none  sends W&B nothing"),
        (["seed=0,1", "tracker.mode=offline"], "tracker.mode=offline  sends W&B's sweep no results"),
        (["seed=0,1", "data.root=/jane/images"], "data.root=/jane/images  would send W&B a path"),
        (["seed=0,1", "--runs", "3"], "--runs=3  is for tuning"),
        (["--method", "bayes", "study=parts"], "study=parts  is a study, which has its own arms"),
        (["--method", "bayes", "recipe.lr=1e-3", "seed=0,1"], "--method=bayes  needs a range to search"),
        ([*TUNING, "precision=fp32,bf16"], "precision=fp32,bf16  does not affect the result"),
        ([*TUNING, "data.root=a,b"], "data.root=a,b  does not affect the result"),
        ([*TUNING, "model/dropout=none,mlp"], "model/dropout=none,mlp  chooses from a group"),
        ([*TUNING, "model.patch_size=5,8"], "model.patch_size=5  does not divide"),
        ([*TUNING, "recipe.batch_size=interval(0,64)"], "recipe.batch_size=0.0  must be an integer"),
        ([*TUNING, "recipe.weight_decay=tag(log,interval(0,0.1))"], "for log above 0"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused_in_words(call, arguments, words):
    code, _, err = call("sweep", *arguments)
    assert code == 2 and words in err
    assert not Path("sweep.yaml").exists() and not Path("outputs").exists()


def test_a_path_is_allowed_with_share_host(call, tmp_path):
    found = content(call, "seed=0,1", f"data.root={tmp_path}", "tracker.share_host=true", "data=shapes")
    assert f"data.root={tmp_path}" in found["command"]


def test_the_file_is_the_same_every_time(call):
    texts = []
    for _ in range(2):
        content(call, "study=parts", "data=shapes", "sweep.check=false")
        texts.append(Path("sweep.yaml").read_text())
    assert texts[0] == texts[1]


def test_every_point_of_the_file_is_its_cell(call):
    grid = content(call, "model.patch_size=4,8", "recipe.lr=1e-3,2e-05", "seed=0,1", "sweep.check=false")
    plan = read_plan(Path("outputs/patch_size+lr"))
    composer = make_composer(make_study_parser("wandb cell", "").parse_args([]))
    found = [
        find_cell(plan, [f"model.patch_size={patch}", f"recipe.lr={lr}", f"seed={seed}"], composer)
        for patch in grid["parameters"]["model.patch_size"]["values"]
        for lr in grid["parameters"]["recipe.lr"]["values"]
        for seed in grid["parameters"]["seed"]["values"]
    ]
    assert sorted(cell.id for cell in found) == sorted(cell.id for cell in plan.cells)
    assert all(f"seed={cell.seed}" in cell.overrides for cell in found)


def test_an_edited_study_file_changes_nothing_in_a_running_sweep(call, tmp_path, quick, server):
    file = tmp_path / "mine/study/small.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("name: small\nfactors: {bias: [[model.bias=false, recipe.label_smoothing=0.1]]}\nseeds: [0]\n")
    words = ["--config-dir", "mine", "study=small", *quick, "sweep.check=false"]
    cells = content(call, *words)["parameters"]["+study_cell"]["values"]
    file.write_text("name: small\nfactors: {bias: [model.hidden_size=32]}\nseeds: [0]\n")
    assert call("cell", *words, "--", f"+study_cell={cells[1]}")[0] == 0
    record = read_record(Path("outputs/small-shapes-ebe766") / cells[1].replace(":", "="))
    assert (record.status, record.config["model"]["bias"]) == ("done", False)


def test_a_point_that_is_no_cell_is_refused(call, quick):
    content(call, "model.patch_size=8,16", *quick[:3], "sweep.check=false")
    code, _, err = call("cell", "model.patch_size=8,16", *quick[:3], "--", "model.patch_size=4", "seed=0")
    assert code == 2 and "model.patch_size=4 seed=0  is not a cell of the study" in err


def test_a_tuned_point_joins_the_plan(call, quick, server):
    words = ["--tune", "recipe.lr=interval(1e-4,1e-2)", *quick]
    assert call("cell", *words, "--", "recipe.lr=0.005")[0] == 0
    assert call("cell", *words, "--", "recipe.lr=0.001")[0] == 0  # the baseline's own
    plan = read_plan(SWEEP)
    assert [(cell.arm, cell.seed) for cell in plan.cells] == [("baseline", 0), ("lr=0.005", 0)]
    assert {read_record(SWEEP / cell.id).status for cell in plan.cells} == {"done"}


@pytest.mark.parametrize(
    ("point", "arm"),
    [
        (["recipe.lr=0.005", "precision=fp32"], "lr=0.005"),
        (["recipe.lr=0.001", "precision=bf16"], "baseline"),
        (["model.head_dropout_prob=0.2"], "baseline"),  # what is in force where null stands
    ],
)
def test_a_tuned_point_is_the_cell_that_learns_the_same(call, tiny, point, arm):
    asked = make_study_parser("wandb cell", "").parse_args([o for o in tiny if not o.startswith("precision")])
    composer = make_composer(asked)
    cells = [tuned_cell(asked, composer, Path("outputs/search"), point) for _ in range(2)]
    assert [cell.arm for cell in cells] == [arm] * 2
    assert {cell.arm for cell in read_plan(Path("outputs/search")).cells} == {"baseline", arm}


def test_a_grids_point_is_the_cell_that_learns_the_same(call):
    content(call, "model.patch_size=4,8", "sweep.check=false")
    plan, composer = (
        read_plan(Path("outputs/patch_size")),
        make_composer(make_study_parser("wandb cell", "").parse_args([])),
    )
    point = ["model.patch_size=8", "seed=0", "precision=fp32", "model.head_dropout_prob=0.2"]
    assert find_cell(plan, point, composer).levels == {"patch_size": "8"}


def test_a_tuned_point_that_breaks_a_rule_ends_its_run_and_not_the_agent(call, quick, server, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep009")
    monkeypatch.setenv("WANDB_RUN_ID", "badpoint")
    words = ["--tune", "model.hidden_size=range(16,25)", *(o for o in quick if "hidden_size" not in o)]
    code, _, err = call("cell", *words, "--", "model.hidden_size=17")
    assert code == 0 and "model.hidden_size=17  is not divisible" in err
    run = server.runs["badpoint"]
    assert run.state == "failed" and "model.hidden_size=17" in run.summary["error"]
    assert not Path("outputs").exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # wandb leaves the file open that its agent hands over
def test_the_command_of_an_agent_trains_the_point_into_the_run_that_it_asked_for(call, quick, server, monkeypatch):
    found = content(call, *quick, "recipe.lr=1e30,1e-3", "sweep.check=false")
    words = agent_command(found, {"recipe.lr": 1e30, "seed": 0}, "agentrun", monkeypatch)
    assert words[:5] == ["/usr/bin/env", "python", "-m", "vitsweep", "wandb"]
    assert call(*words[5:])[0] == 0  # an agent leaves for good after three other codes
    (cell,) = (c for c in read_plan(SWEEP).cells if c.arm == "lr=1e+30")
    record, (run,) = read_record(SWEEP / cell.id), server.runs.values()
    assert (record.status, run.state, [entry["id"] for entry in record.wandb]) == ("diverged", "failed", [run.id])
    assert (run.id, run.job_type, run.sweep) == ("agentrun", "lr=1e+30", "sweep001")
    assert run.config["recipe"] == record.config["recipe"]


@pytest.mark.slow  # four processes that import wandb, two of which import torch: two minutes on a machine under load
def test_the_agent_trains_every_cell_into_the_study(call, quick, server, tmp_path):
    content(call, *quick, "recipe.lr=1e30,1e-3", "sweep.check=false")
    run_sweep("sweep.yaml", tmp_path, server)
    records = [read_record(SWEEP / cell.id) for cell in read_plan(SWEEP).cells]
    assert {record.arm: record.status for record in records} == {"baseline": "done", "lr=1e+30": "diverged"}
    runs = {run.job_type: run for run in server.runs.values()}
    assert {arm: run.state for arm, run in runs.items()} == {"baseline": "finished", "lr=1e+30": "failed"}
    for record in records:
        run = runs[record.arm]
        assert [entry["id"] for entry in record.wandb] == [run.id] and run.sweep == "sweep001"
        assert (run.config["model"], run.config["recipe"]) == (record.config["model"], record.config["recipe"])
    assert "val/accuracy" in runs["baseline"].summary
    assert str(tmp_path) not in server.answers.sweeps["sweep001"]["config"]


def test_a_finished_cell_is_logged_to_a_later_sweep_again(call, quick, server, monkeypatch):
    words = ["model.patch_size=8,16", *(o for o in quick if not o.startswith("model.patch_size")), "sweep.check=false"]
    content(call, *words)
    point = ["--", "model.patch_size=16", "seed=0"]
    assert call("cell", *words, *point)[0] == 0
    release_service()  # an agent starts a new process for each cell, and wandb reads the environment once
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep009")
    monkeypatch.setenv("WANDB_RUN_ID", "laterrun")
    assert call("cell", *words, *point)[0] == 0
    first, again = server.runs.values()
    assert again.id == "laterrun" and again.rows() == first.rows()
    numbers = {key: value for key, value in first.summary.items() if not key.startswith("_")}
    assert {key: again.summary.get(key) for key in numbers} == numbers
    (place,) = Path("outputs").iterdir()
    (cell,) = (c for c in read_plan(place).cells if c.arm != "baseline")
    record = json.loads((place / cell.id / "record.json").read_text())
    assert record["attempts"] == 1 and [run["id"] for run in record["wandb"]] == [first.id, "laterrun"]


def as_agent(monkeypatch, run_id: str) -> None:
    """Set the environment in which W&B's agent starts a run; each is a new process, so wandb reads it anew."""
    release_service()
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep009")
    monkeypatch.setenv("WANDB_RUN_ID", run_id)


def test_a_cell_that_another_process_finished_meanwhile_is_logged_to_the_agents_run(call, quick, server, monkeypatch):
    words = ["model.patch_size=8,16", *(o for o in quick if not o.startswith("model.patch_size")), "sweep.check=false"]

    def elsewhere(*arguments, **options) -> str:
        status = train_cell(*arguments, **options)  # not the agent's: its variables are set afterwards
        as_agent(monkeypatch, "waitingrun")
        return status

    monkeypatch.setattr("vitsweep.commands.wandb.cell.train_cell", elsewhere)
    content(call, *words)
    assert call("cell", *words, "--", "model.patch_size=16", "seed=0")[0] == 0
    first, again = server.runs.values()
    assert again.id == "waitingrun" and again.summary["val/accuracy"] == first.summary["val/accuracy"]
    assert again.rows() == first.rows() and again.state == "finished"


def test_a_finished_run_that_an_agent_draws_through_run_py_is_logged_to_its_run(
    vitsweep_main, quick, server, monkeypatch
):
    assert vitsweep_main(*quick)[0] == 0
    (first,) = server.runs.values()
    as_agent(monkeypatch, "drawnagain")
    assert vitsweep_main(*quick)[0] == 0
    num_requests = len(server.requests)
    assert vitsweep_main(*quick)[0] == 0 and len(server.requests) == num_requests  # it has the result
    first, again = server.runs.values()
    assert (again.id, again.rows(), again.state) == ("drawnagain", first.rows(), "finished")
    assert again.summary["best/val/accuracy"] == first.summary["best/val/accuracy"]
    (path,) = Path("outputs/single").rglob("record.json")
    assert [run["id"] for run in read_record(path.parent).wandb] == [first.id, "drawnagain"]


def test_a_finished_run_that_is_not_tracked_is_not_logged_to_an_agents_run(vitsweep_main, tiny, server, monkeypatch):
    assert vitsweep_main(*tiny)[0] == 0
    as_agent(monkeypatch, "drawnagain")
    assert vitsweep_main(*tiny)[0] == 0
    assert server.runs == {}


@pytest.mark.slow  # as many processes as cells, each of which imports torch
def test_three_early_failures_do_not_end_the_agent(call, quick, server, tmp_path):
    content(call, *quick, "recipe.lr=1e30,2e30,3e30,4e30,1e-3", "sweep.check=false")
    run_sweep("sweep.yaml", tmp_path, server)
    statuses = [read_record(path.parent).status for path in Path("outputs").rglob("lr-*/**/record.json")]
    assert sorted(statuses) == ["diverged"] * 4 + ["done"]


@pytest.mark.slow  # as many processes as cells, each of which imports torch
def test_an_agent_runs_a_study_and_a_random_search(call, quick, server, tmp_path):
    words = [o for o in quick if not o.startswith("model.patch_size")] + ["sweep.check=false"]
    assert call("sweep", "study=parts", "seed=0", *words, "--out", "parts.yaml")[0] == 0
    assert call("sweep", *TUNING, *words, "--runs", "2", "--out", "tune.yaml")[0] == 0
    for file in ("parts.yaml", "tune.yaml"):
        run_sweep(file, tmp_path, server)
    for name, count in (("parts", 5), ("lr", 2)):
        statuses = [read_record(path.parent).status for path in Path("outputs").glob(f"{name}-*/**/record.json")]
        assert statuses == ["done"] * count
    (place,) = Path("outputs").glob("lr-*")
    assert {cell.role for cell in read_plan(place).cells} == {"baseline", "arm"}
