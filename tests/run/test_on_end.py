"""sweep.on_end: obeys (one summary a sweep, bounded, never an exit code, in no record)."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.make_records import make_record
from vitsweep.cli import split_on_end
from vitsweep.config.convert import config_hash, from_dict, to_dict
from vitsweep.config.schema import Config
from vitsweep.run.end.on_end import EndCommand, end_status, run_command
from vitsweep.study.status import LooksVerdict

COPY = "cat > stdin.json; cp $VITSWEEP_SUMMARY file.json"


def test_command_gets_the_summary_on_its_input_and_in_a_file(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    assert run_command(COPY, tmp_path / "summary.json") == ""
    assert Path("stdin.json").read_text() == Path("file.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("exit 3", "ended with code 3"),
        ("no_such_program", "ended with code 127"),
        ("sleep 60 & sleep 60", "did not end within 0.2 s and was killed"),
    ],
)
def test_problem_of_the_command_is_named(tmp_path, command, problem):
    (tmp_path / "summary.json").write_text("{}")
    assert run_command(command, tmp_path / "summary.json", seconds=0.2 if "sleep" in command else 30) == problem


def test_summary_has_cells_arms_and_errors(tmp_path):
    failed = make_record(
        "depth=6", 0, None, status="failed", error={"type": "OSError", "message": "no", "traceback": ""}
    )
    records = [make_record("baseline", 0, 0.5), make_record("baseline", 1, 0.7), failed]
    end = EndCommand("true")
    end.start("parts", tmp_path, lambda: [(f"{r.arm}/{r.seed}", r.status, r) for r in records])
    found = end.summary(1)
    assert (found["status"], found["cells"], found["num_cells"]) == ("failed", {"done": 2, "failed": 1}, 3)
    assert found["arms"][0]["seeds"] == [0, 1] and found["arms"][0]["test/accuracy"] == pytest.approx(0.6)
    assert found["errors"] == [{"cell": "depth=6/0", "error": "OSError: no"}]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("code", "counts", "is_judged", "status"),
    [
        (0, {"done": 2}, False, "done"),
        (1, {"done": 1, "failed": 1}, False, "failed"),
        (1, {"done": 1, "diverged": 1}, False, "failed"),
        (130, {"done": 1, "interrupted": 1}, False, "interrupted"),
        (0, {"done": 4, "planned": 2}, True, "stopped"),
        (2, {"done": 1, "planned": 1}, False, "incomplete"),
    ],
)
def test_status_says_how_the_sweep_ended(code, counts, is_judged, status):
    looks = LooksVerdict(needed={}, lines=[], is_over=True) if is_judged else None
    assert end_status(code, Counter(counts), looks) == status


def test_command_before_any_start_is_not_run():
    EndCommand("touch ran").run(0)
    assert not Path("ran").exists()


def test_command_is_taken_as_the_shell_gave_it():
    command = "curl -d @- 'https://chat.example/hook?a=1,2'"
    assert split_on_end(["-m", f"sweep.on_end={command}", "seed=0,1"]) == (["-m", "seed=0,1"], command)


def test_command_is_in_no_record_and_no_hash():
    config = Config()
    before = config_hash(config), to_dict(config)
    config.sweep.on_end = "curl https://chat.example/secret"
    assert (config_hash(config), to_dict(config)) == before
    assert from_dict(to_dict(config)).sweep.on_end == ""


def test_sweep_runs_the_command_once_and_keeps_its_exit_code(vitsweep_main, tiny):
    words = ["-m", *tiny, "recipe.epochs=1", "seed=0,1", "sweep.isolate=none", "sweep.check=false"]
    command = "cat >> ends.json; exit 3"
    code, out, err = vitsweep_main(*words, "~hydra.callbacks.report", f"sweep.on_end={command}")
    found = json.loads(Path("ends.json").read_text())
    assert (code, found["status"], found["cells"], found["exit_code"]) == (0, "done", {"done": 2}, 0)
    assert "sweep.on_end  ended with code 3; the sweep and its exit code are not affected" in out + err
    texts = [path.read_text() for path in Path("outputs").rglob("*.json")]
    assert texts and not any(command in text for text in texts)


def test_single_run_runs_the_command(vitsweep_main, tiny):
    vitsweep_main(*tiny, "recipe.epochs=1", f"sweep.on_end={COPY}")
    found = json.loads(Path("stdin.json").read_text())
    assert (found["study"], found["status"], found["cells"]) == ("single", "done", {"done": 1})


def test_refused_and_dry_runs_have_no_end(vitsweep_main, tiny):
    vitsweep_main("-m", *tiny, "seed=0,1", "sweep.dry_run=true", "sweep.on_end=touch ran")
    vitsweep_main(*tiny, "model.patch_size=5", "sweep.on_end=touch ran")
    assert not Path("ran").exists()
