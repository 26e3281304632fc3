"""Training until decided: which runs a study gets at each look, with planted records in place of training.

Kinds: property, deterministic. The refusals of a study file are in tests/study/test_looks.py.
"""

from pathlib import Path

import numpy as np
import pytest
from vitsweep.analysis.callback import ReportAtTheEnd
from vitsweep.analysis.records.load import load
from vitsweep.analysis.statistics.judgement import Judgement, judge

from tests.support.make_records import cell_id, make_cell, make_plan, make_record, with_hashes
from vitsweep.commands.status import main as status
from vitsweep.errors import ConfigError
from vitsweep.files import write_json
from vitsweep.run.sweep import find_judge, run_looks
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Cell, read_plan
from vitsweep.study.record import Record
from vitsweep.study.status import CellStatus, cell_statuses, read_looks
from vitsweep.train.stop import Interrupted

SEEDS = range(6)
EFFECTS = {"baseline": 0.0, "patch_size=8": -0.20, "num_hidden_layers=4": 0.018, "dropout=none": 0.001}
"""Patch size is clearly worse; depth differs a little; dropout does not."""
CLEAR, SMALL, NONE = list(EFFECTS)[1:]


class Planted:
    """Training that writes a record of each cell that it is given.

    Args:
        directory: receives the plan.
        failed: cells that fail.
    """

    retry = False

    def __init__(self, directory: Path, failed: tuple[tuple[str, int], ...] = (), **entries: object):
        rng = np.random.default_rng(1)
        runs = [(arm, seed, effect) for seed in SEEDS for arm, effect in EFFECTS.items()]
        records = [make_record(arm, seed, 0.6 + effect + rng.normal(0, 0.01)) for arm, seed, effect in runs]
        sweep = {"until": "decided"} | entries.pop("sweep", {})
        for record in records:
            record.config["sweep"] = sweep
            if (record.arm, record.seed) in failed:
                record.status, record.metrics = "failed", {}
        plan = make_plan(records) | {"looks": [3, 4, 5, 6], "spending": "obrien_fleming", "error": "pooled"} | entries
        for cell in plan["cells"]:
            cell["config"] = records[0].config | cell["config"]
        self.directory, self.records = directory, {cell_id(record): record for record in records}
        directory.mkdir(parents=True, exist_ok=True)
        plan = with_hashes(plan)
        for record in records:
            record.claims_hash, record.plan_hash = plan["claims_hash"], plan["plan_hash"]
        write_json(directory / "plan.json", plan)
        self.ran: list[tuple[str, int]] = []
        self.killed_at: tuple[str, int] | None = None

    def statuses(self, directory: Path, cells: list[Cell]) -> list[CellStatus]:
        return cell_statuses(directory, cells, LivenessCheck())

    def __call__(self, directory: Path, plan: object, before: list[CellStatus]) -> list[CellStatus]:
        for now in before:
            record: Record = self.records[now.cell.id]
            if (record.arm, record.seed) == self.killed_at:
                self.killed_at = None
                raise Interrupted
            self.ran.append((record.arm, record.seed))
            make_cell(directory, record)
        return self.statuses(directory, [now.cell for now in before])

    def run(self) -> dict[str, int]:
        """Train until decided; return arm -> number of its seeds."""
        run_looks(self, self.directory, read_plan(self.directory), ReportAtTheEnd().judge_looks)
        return {arm: sum(name == arm for name, _ in self.ran) for arm in EFFECTS}

    def judgement(self) -> Judgement:
        return judge(load(self.directory))


def test_only_arms_that_are_open_get_more_seeds(tmp_path):
    seeds = Planted(tmp_path).run()
    assert seeds[CLEAR] == 3 and seeds[NONE] < 6
    assert seeds["baseline"] == max(seeds.values())


def test_first_look_is_trained_for_every_arm(tmp_path):
    training = Planted(tmp_path)
    training.run()
    assert training.ran[:12] == [(arm, seed) for seed in range(3) for arm in EFFECTS]


def test_report_judges_the_looks_that_the_sweep_made(tmp_path):
    training = Planted(tmp_path)
    training.run()
    judgement = training.judgement()
    assert judgement.selection.sequence.needed == read_looks(tmp_path).needed
    assert dict(zip(judgement.effects["arm"], judgement.effects["verdict"], strict=True))[CLEAR] == "hurts"


def test_runs_that_are_not_needed_are_neither_planned_nor_missing(tmp_path):
    training = Planted(tmp_path)
    training.run()
    cells = training.judgement().selection.cells
    assert set(cells["status"]) == {"done", "not needed"}


@pytest.mark.parametrize("killed", [("baseline", 1), (SMALL, 2), (SMALL, 3), ("baseline", 3)])
def test_kill_changes_neither_seeds_nor_verdicts(tmp_path, killed):
    whole, again = Planted(tmp_path / "whole"), Planted(tmp_path / "again")
    seeds = whole.run()
    again.killed_at = killed
    with pytest.raises(Interrupted):
        again.run()
    assert again.run() == seeds and len(set(again.ran)) == len(again.ran)
    assert again.judgement().effects.equals(whole.judgement().effects)


def test_same_command_again_trains_nothing(tmp_path):
    training = Planted(tmp_path)
    training.run()
    number = len(training.ran)
    training.run()
    assert len(training.ran) == number


def test_failed_cell_does_not_hold_up_the_looks(tmp_path):
    training = Planted(tmp_path, failed=((SMALL, 0),))
    training.run()
    assert training.ran.count((SMALL, 0)) == 1 and read_looks(tmp_path).is_over


def test_budget_ends_the_study(tmp_path):
    training = Planted(tmp_path, sweep={"budget_runs": 13})
    training.run()
    assert len(training.ran) == 12
    assert f"{SMALL} budget" in read_looks(tmp_path).lines[0]


def test_claims_are_the_questions_where_there_are_any(tmp_path):
    training = Planted(tmp_path, claims=[{"claim": "patches of 8 are worse", "arm": CLEAR, "direction": "lower"}])
    assert set(training.run().values()) == {3}
    assert list(training.judgement().claims["verdict"]) == ["supported"]


def test_status_says_what_is_not_needed(tmp_path, capsys):
    Planted(tmp_path).run()
    assert status([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "not needed" in shown and "look at 3 of 6 seeds" in shown


def test_sweep_without_its_judge_is_refused():
    class Context:
        callbacks = type("Callbacks", (), {"callbacks": []})

    with pytest.raises(ConfigError, match="needs the callback that judges the looks"):
        find_judge(Context())
