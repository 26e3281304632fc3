"""Reports of studies that were changed, read against another arm, or compared with another; verify accepts them."""

import json
from pathlib import Path

import pytest
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.findings import findings
from vitsweep.analysis.report.sections import make_parts
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_sweep
from vitsweep.commands.change import drop, rename
from vitsweep.errors import RecordError
from vitsweep.study.plan import read_plan, write_plan

ARMS = {"baseline": [0.50, 0.60, 0.70], "a": [0.60, 0.71, 0.80], "b": [0.50, 0.52, 0.60]}
CLAIMS = [{"claim": "a is better", "arm": "a"}]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, whose drawing takes most of the time."""
    for name in ("report.report.save_figure", "verify.save_svg"):
        monkeypatch.setattr(f"vitsweep.analysis.{name}", lambda figure, folder: "<svg></svg>")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return make_sweep(tmp_path / "one", ARMS, epochs=2, plan={"claims": CLAIMS})


def test_arm_dropped_after_its_results_is_named_and_counts_in_the_family(sweep):
    drop.main([str(sweep), "b"])
    judged = judge(load(sweep))
    (sentence,) = (line for line in findings(judged) if line.startswith("Dropped on"))
    assert "arm b, whose results could be seen (3 of 3 runs had finished, 6 of the study's other runs had)" in sentence
    assert judged.selection.arms == ["baseline", "a"] and judged.selection.family() == ["a", "b"]


def test_arm_dropped_before_its_results_leaves_the_family(tmp_path):
    sweep = make_sweep(tmp_path / "one", ARMS | {"b": [None, None, None]}, epochs=2)
    for folder in sweep.glob("b-*/seed=*"):
        for path in folder.iterdir():
            path.unlink()
    assert select(load(sweep)).family() == ["a", "b"]
    drop.main([str(sweep), "b"])
    assert select(load(sweep)).family() == ["a"]
    assert not any(line.startswith("Interim") for line in findings(judge(load(sweep))))


def test_arm_that_no_start_asks_for_makes_no_report_interim(tmp_path):
    sweep = make_sweep(tmp_path / "one", ARMS, epochs=2)
    for path in (path for folder in sweep.glob("b-*/seed=*") for path in folder.iterdir()):
        path.unlink()
    plan = read_plan(sweep)
    assert any(line.startswith("Interim") for line in findings(judge(load(sweep))))
    plan.asked = {"arms": ["baseline", "a"], "seeds": plan.seeds}
    write_plan(sweep, plan)
    lines = findings(judge(load(sweep)))
    assert not any(line.startswith("Interim") for line in lines)
    assert any(line.startswith("In the plan, and not asked for by the last start: b;") for line in lines)


def test_claim_finds_a_renamed_arm(sweep):
    before = judge(load(sweep)).claims["evidence"][0]
    rename.main([str(sweep), "a", "wide"])
    assert judge(load(sweep)).claims["evidence"][0] == before.replace("a minus", "wide minus")


@pytest.mark.parametrize("words", [["drop", "b"], ["rename", "a", "wide"]])
def test_report_of_a_changed_study_verifies(sweep, undrawn, words, capsys):
    {"drop": drop, "rename": rename}[words[0]].main([str(sweep), *words[1:]])
    assert main(["report", str(sweep), "--gallery", "none"]) == 0
    assert main(["verify", str(sweep)]) == 0, capsys.readouterr().out


def test_verify_says_which_runs_were_dropped_after_the_report(sweep, undrawn, capsys):
    assert main(["report", str(sweep), "--gallery", "none"]) == 0
    drop.main([str(sweep), "b"])
    capsys.readouterr()
    assert main(["verify", str(sweep)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "Dropped from the plan since" in line)
    assert line.count("b-") == 3 and line.endswith("Make the report again, then verify it.")


def test_effects_against_another_arm_are_the_differences_to_it_and_exploratory(sweep):
    own, other = judge(load(sweep)), judge(load(sweep), baseline="a")
    effect = {judged.selection.baseline: judged.effects.set_index("arm")["delta"] for judged in (own, other)}
    assert effect["a"]["baseline"] == pytest.approx(-effect["baseline"]["a"])
    assert other.selection.family() == ["baseline", "b"] and other.claims.empty
    assert findings(other)[0].startswith("Exploratory: every arm is compared with a, in place of the study's baseline")


def test_report_against_another_arm_has_a_folder_of_its_own_and_verifies(sweep, undrawn, capsys):
    for words in ([], ["--baseline", "a"]):
        assert main(["report", str(sweep), "--gallery", "none", *words]) == 0
        assert main(["verify", str(sweep), *words]) == 0, capsys.readouterr().out
    results = [json.loads((sweep / name / "results.json").read_text()) for name in ("report", "report-baseline=a")]
    assert [found["baseline"] for found in results] == ["baseline", "a"]
    assert [found["options"].get("baseline") for found in results] == [None, "a"]


def test_unknown_baseline_is_refused_with_the_arms(sweep):
    with pytest.raises(RecordError, match="--baseline=aa  is no arm here.*allowed: baseline, a, b"):
        select(load(sweep), "aa")


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """A study of the same name with another baseline, as under another recipe."""
    place = make_sweep(
        tmp_path / "two", {arm: [x + 0.1 for x in v] for arm, v in ARMS.items()}, plan={"claims": CLAIMS}
    )
    for path in [place / "plan.json", *place.rglob("record.json")]:
        text = path.read_text()
        for row in json.loads((tmp_path / "one" / "plan.json").read_text())["arms"]:
            text = text.replace(row["config_hash"], row["config_hash"][::-1])
        path.write_text(text)
    return place


def test_studies_that_cannot_be_pooled_are_compared(sweep, another, capsys):
    assert main(["report", str(sweep), str(another), "--gallery", "none"]) == 0
    folder = sweep.parent / "one-and-two"
    assert str(folder / "index.html") in capsys.readouterr().out
    results = json.loads((folder / "results.json").read_text())
    assert list(results["studies"]) == ["one", "two"] and len(results["runs"]) == 18
    means = {row["arm"]: (row["one/mean"], row["two/mean"]) for row in results["arms"]}
    assert means["a"] == pytest.approx((100 * 2.11 / 3, 100 * 2.41 / 3))
    assert [claim["claim"] for claim in results["claims"]] == ["a is better"]


def test_comparison_is_verified_and_a_changed_number_is_found(sweep, another, capsys):
    main(["report", str(sweep), str(another), "--gallery", "none"])
    path = sweep.parent / "one-and-two" / "tables" / "arms.csv"
    path.write_text(path.read_text().replace("80.3333", "81.3333"))
    assert main(["verify", str(sweep), str(another)]) == 1
    assert "81.3333" in capsys.readouterr().out


def arm_tables(directory, long):
    """Return the comparison table and another of a study with an arm of a long name."""
    judged = judge(load(make_sweep(directory, {"baseline": [0.5, 0.6], long: [0.6, 0.8]}, epochs=2)))
    tables = {table.name: table for table in make_parts(judged, "planned", []).tables}
    return tables["arms"], tables["best-epoch"]


def test_long_name_of_an_arm_is_shown_in_the_table_with_few_columns_and_has_an_alias_in_others(tmp_path):
    long = "dropout=none+num_hidden_layers=2+num_attention_heads=2+bias=false"
    main, other = arm_tables(tmp_path / "one", long)
    assert [row[0] for row in main.texts] == ["baseline", long]
    assert [row[0] for row in other.texts] == ["baseline", "A1"] and f"A1: {long}." in other.all_notes


def test_very_long_name_of_an_arm_has_an_alias_with_a_legend_in_every_table_and_its_name_in_the_csv(tmp_path):
    long = "dropout=none+" + "num_hidden_layers=2+" * 3 + "bias=false"
    for table in arm_tables(tmp_path / "one", long):
        assert [row[0] for row in table.texts] == ["baseline", "A1"]
        assert f"A1: {long}." in table.all_notes and long in table.csv()
