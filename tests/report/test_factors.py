"""Reports of factorial designs: the family is the main effects, arms are secondary, aliases stand in their own row.

Kinds: agreement (Holm over the effects by hand), properties (who speaks in Findings, other designs unchanged).
"""

import itertools

import numpy as np
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report.factors.tables import interaction_table, main_table
from vitsweep.analysis.report.findings import findings
from vitsweep.analysis.report.sections import make_parts
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_cell, make_record, make_sweep

CUBE = list(itertools.product((0, 1), repeat=3))
HALF = [bits for bits in CUBE if sum(bits) % 2 == 0]
"""2**(3-1) with c = ab: of resolution III."""


def judged(folder, arms=CUBE, design="grid", lost=(), effect=-0.03, **plan):
    """Return the judgement of a design in which a=1 changes the accuracy by `effect`."""
    rng, values = np.random.default_rng(3), {}
    for bits in arms:
        name = "+".join(f"{factor}=1" for factor, on in zip("abc", bits, strict=True) if on) or "baseline"
        values[name] = list(0.8 + effect * bits[0] + rng.normal(0, 0.004, 4))
    make_sweep(folder, values, epochs=1, plan={"design": design} | plan)
    for arm, seed in lost:
        make_cell(folder, make_record(arm, seed, None, status="diverged", metrics={}, claims_hash=""), epochs=0)
    return judge(load(folder))


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("grid"), interactions=[["a", "b"]])


def test_family_is_main_effects_and_named_interactions(grid):
    questions = grid.factorial.questions
    assert questions["arm"].tolist() == ["c=1", "b=1", "a=1", "b=1 x a=1"]
    assert questions["p_holm"].tolist() == pytest.approx(list(stats.holm(questions["p"].to_numpy())))
    assert set(questions["family"]) == {"main effects"} and set(grid.effects["family"].dropna()) == {"secondary"}


def test_other_interactions_are_a_family_of_their_own(grid):
    rows = grid.factorial.interactions.set_index("factors")
    assert rows["family"].to_dict() == {"c x b": "exploratory", "c x a": "exploratory", "b x a": "main effects"}
    own = rows[rows["family"] == "exploratory"]
    assert own["p_holm"].tolist() == pytest.approx(list(stats.holm(own["p"].to_numpy())))


def test_findings_speak_of_main_effects(grid):
    text = " ".join(findings(grid))
    assert "Worse than the baseline's level, averaged over the other factors: a=1 by " in text
    assert "Single arms are secondary, a family of their own (" in text and "a=1+b=1" not in text
    assert "among 4 effects (a single arm: " in text


def test_main_effects_come_before_the_comparison_of_arms(grid):
    names = [section.id for section in make_parts(grid, "planned", []).sections]
    assert names.index("factors") < names.index("comparison")


def test_tables_state_the_family(grid):
    assert "They are the study's family: Holm over 4 effects, 1 of them interactions" in main_table(grid).caption
    assert "Those that the study names are of the family of the main effects" in interaction_table(grid).caption


def test_aliases_of_a_main_effect_stand_in_its_row_and_in_its_finding(tmp_path):
    found = judged(tmp_path, HALF, "fraction")
    (texts,) = [row for row in main_table(found).texts if row[0].startswith("a ")]
    assert texts[0] == "a (or b=1 x c=1: not told apart)"
    assert any("a=1 (or b=1 x c=1: not told apart) by" in line for line in findings(found))


def test_pairs_have_main_effects_over_their_matched_arms(tmp_path):
    found = judged(tmp_path, [bits for bits in CUBE if sum(bits) < 3], "pairs")
    main = found.factorial.main.set_index("factor")
    assert main.loc["a", "verdict"] == "hurts" and len(found.factorial.questions) == 3


def test_other_designs_have_no_family_of_main_effects(tmp_path):
    found = judged(tmp_path, design="ofat")
    assert found.factorial.questions.empty and "verdict" not in found.factorial.main
    assert set(found.effects["family"].dropna()) == {"arms"}


def test_claim_about_a_main_effect_is_its_family(tmp_path):
    claim = {"claim": "a hurts", "main_effect": "a", "direction": "lower"}
    found = judged(tmp_path, claims=[claim])
    main = found.factorial.main.set_index("factor")
    assert main["family"].to_dict() == {"c": "exploratory", "b": "exploratory", "a": "claims"}
    assert main.loc["a", "p_holm"] == pytest.approx(main.loc["a", "p"])


def test_lost_run_of_the_better_level_takes_back_its_main_effect(tmp_path):
    found = judged(tmp_path / "one", effect=0.03, lost=[("a=1", 3)])
    row = found.factorial.main.set_index("factor").loc["a"]
    assert (row["verdict"], row["verdict_finished"], row["n"]) == ("undecided", "helps", 3)
    assert any("on 3 of 4 seeds: 1 run of a=1 diverged" in line for line in findings(found))
