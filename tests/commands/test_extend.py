"""`vitsweep extend`: adds seeds beside the old cells, trains the missing cells; refuses other words."""

import signal
import sys
from pathlib import Path

import pytest

import vitsweep.__main__
from tests.support.made_plans import made_plan, made_record
from vitsweep.commands import extend
from vitsweep.errors import ConfigError
from vitsweep.run import workers
from vitsweep.study.plan import PLACEBO_SEED_OFFSET, read_plan, write_plan
from vitsweep.train.stop import Interrupted


def test_extend_freezes_more_replicates_beside_the_old_ones(study):
    directory, plan = study
    assert extend.main([str(directory), "seeds=3", "--plan"]) == 0
    longer = read_plan(directory)
    assert longer.cells[:4] == plan.cells
    assert [(cell.arm, cell.seed, cell.config["seed"]) for cell in longer.cells[4:]] == [("a", 2, 2), ("b", 2, 2)]
    assert (longer.seeds, longer.cells[4].overrides) == ([0, 1, 2], ["seed=2"])


def test_extend_notes_each_time_that_seeds_are_added_after_a_result(tmp_path, metrics):
    plan = made_plan(tmp_path, ["a", "b"], [0, 1])
    extend.main([str(tmp_path), "seeds=3", "--plan"])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=metrics)
    extend.main([str(tmp_path), "seeds=5", "--plan"])
    extend.main([str(tmp_path), "seeds=8", "--plan"])
    assert read_plan(tmp_path).seeds_before == [3, 5]


def test_extend_keeps_the_placebo_at_its_distance(tmp_path):
    plan = made_plan(tmp_path, ["a", "placebo"], [0])
    plan.cells[1].config["seed"] = PLACEBO_SEED_OFFSET
    write_plan(tmp_path, plan)
    extend.main([str(tmp_path), "seeds=[4]", "--plan"])
    assert [cell.config["seed"] for cell in read_plan(tmp_path).cells[2:]] == [4, 4 + PLACEBO_SEED_OFFSET]


def test_extend_by_nothing_changes_nothing(study):
    directory, _ = study
    before = (directory / "plan.json").read_bytes()
    extend.main([str(directory), "seeds=2", "--plan"])
    assert (directory / "plan.json").read_bytes() == before


def test_extend_trains_what_is_missing(tmp_path, monkeypatch, capsys, metrics):
    fake = Path(__file__).parents[1] / "support" / "fake_workers.py"
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, str(fake)))
    plan = made_plan(tmp_path, ["a", "b"], [0])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=metrics, params=1)
    assert extend.main([str(tmp_path), "seeds=2"]) == 0
    assert (tmp_path / "trained.txt").read_text().splitlines() == ["b 0 None", "a 1 None", "b 1 None"]


@pytest.mark.parametrize("word", ["seeds=", "seeds=two", "seeds=1.5", "seeds=-1"])
def test_extend_refuses_what_is_no_number_of_seeds(study, word):
    with pytest.raises(ConfigError, match="must be a number of seeds, or a list"):
        extend.main([str(study[0]), word, "--plan"])


def test_extend_with_nothing_to_train_prints_the_table(tmp_path, metrics, capsys):
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=metrics)
    assert extend.main([str(tmp_path), "seeds=1"]) == 0
    assert "0 cells added, 1 in all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Interrupted(signal.SIGTERM), 143, "stopped by SIGTERM; run the same command again"),
        (KeyboardInterrupt(), 130, "stopped; run the same command again"),
        (PermissionError(13, "Permission denied", "/study/plan.json"), 2, "/study/plan.json  Permission denied; check"),
        (OSError(30, "Read-only file system", "/study"), 2, "/study  Read-only file system; check"),
    ],
)
@pytest.mark.parametrize("command", ["extend", "status", "reset", "prune"])
def test_end_of_a_command_from_outside_is_one_sentence(monkeypatch, capsys, command, error, code, message):
    def end(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(f"vitsweep.commands.{command}.main", end)
    monkeypatch.setattr(sys, "argv", ["vitsweep", command, "study"])
    assert vitsweep.__main__.main() == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
