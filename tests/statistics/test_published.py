"""Published values beside a study's own: the sign is judged by the arm's corrected test, and small versions say so."""

import pandas as pd
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.statistics.effects import arm_effects
from vitsweep.analysis.statistics.published import published_effects, published_sentences

from tests.support.make_records import make_sweep

ARMS = {
    "baseline": [0.800, 0.805, 0.799, 0.803, 0.802],
    "better": [0.850, 0.856, 0.848, 0.853, 0.851],
    "worse": [0.750, 0.756, 0.748, 0.753, 0.751],
    "open": [0.79, 0.82, 0.77, 0.80, 0.83],
}
PUBLISHED = {
    "baseline": {"value": 86.5, "n": "1 run", "source": "a table"},
    "better": 88.0,
    "worse": 87.0,
    "open": 86.0,
}


def found(path, published):
    selection = select(load(make_sweep(path, ARMS, epochs=1, plan={"published": published})))
    return published_effects(arm_effects(selection), selection)


def test_published_sign_holds_is_opposite_or_undecided(tmp_path):
    rows = found(tmp_path, PUBLISHED).set_index("arm")
    assert rows["holds"].to_dict() == {"baseline": "", "better": "holds", "worse": "opposite", "open": "undecided"}
    assert rows["published_effect"].tolist()[1:] == pytest.approx([1.5, 0.5, -0.5])
    assert tuple(rows.loc["baseline", ["published_n", "source"]]) == ("1 run", "a table")


def test_without_a_published_baseline_there_is_no_sign(tmp_path):
    rows = found(tmp_path, {"better": 88.0, "worse": 87.0})
    assert set(rows["holds"]) == {""} and not published_sentences(rows, "")


def test_sentence_names_the_arms_of_each_answer_in_the_right_number():
    rows = pd.DataFrame({"arm": ["a", "b", "c"], "holds": ["holds", "opposite", "opposite"]})
    assert published_sentences(rows, "") == ["Of 3 published signs: 1 holds (a); 2 are opposite here (b, c)."]


def test_one_published_value_makes_no_table(tmp_path):
    assert found(tmp_path, {"baseline": 76.12}).empty


def test_report_marks_a_small_version_and_its_published_signs(tmp_path):
    plan = {"published": PUBLISHED, "scale": {"epochs": [10, 200]}}
    make_report(make_sweep(tmp_path / "study", ARMS, epochs=1, plan=plan), gallery="none")
    text = (tmp_path / "study/report/report.md").read_text()
    assert text.count("a small version: 10 epochs instead of 200") == 3  # under the title, table, sentence
    assert "Of 3 published signs at this scale" in text
