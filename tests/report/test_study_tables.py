"""The report's tables: what their headings and notes promise is what their numbers are.

Kinds: properties (one seed is never shown as more than two trained models), the right words.
"""

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report.study_figures import forest
from vitsweep.analysis.report.study_tables import arm_table, image_table, run_numbers
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_sweep

BASE, LESS = [0.80, 0.81, 0.80], [0.75, 0.76, 0.75]


@pytest.fixture
def of(tmp_path):
    """The judgement of a sweep with these accuracies."""
    return lambda arms, **options: judge(load(make_sweep(tmp_path, arms, epochs=2, **options)))


def effect_column(table) -> tuple[str, list[str]]:
    column = next(c for c in table.columns if c.key == "delta")
    return column.title, [column.show(row) for row in table.rows]


def test_interval_of_one_pair_is_called_one_for_these_models_only(of):
    table = image_table(of({"baseline": BASE[:1], "patch_size=8": LESS[:1]}, images=200))
    assert effect_column(table)[0] == "effect [95 % interval for new images, these models only]"
    assert (
        "McNemar's p compares the models, not the arms." in table.notes[0] and "seed" not in table.caption.split(",")[0]
    )


def test_interval_of_several_pairs_is_called_one_for_new_seeds_and_images(of):
    table = image_table(of({"baseline": BASE, "patch_size=8": LESS}, images=200))
    assert effect_column(table)[0] == "effect [95 % interval for new seeds and new images]"
    assert table.notes == [table.notes[0]] and table.notes[0].startswith("Between two seeds of the baseline ")


def test_one_pair_among_several_is_marked_in_its_row(of):
    table = image_table(of({"baseline": BASE, "patch_size=8": LESS, "dropout=none": LESS[:1]}, images=200))
    marked = {
        row["arm"]: text.endswith("(these models only)")
        for row, text in zip(table.rows, effect_column(table)[1], strict=True)
    }
    assert marked == {"patch_size=8": False, "dropout=none": True}


def test_forest_has_no_line_for_new_images_from_one_pair(of):
    figure = forest(of({"baseline": BASE[:1], "patch_size=8": LESS[:1]}, images=200))
    assert "image_low" not in figure.table and "grey line" not in figure.caption
    assert "filled" not in figure.caption and "one shared seed has none" in figure.caption


def test_forest_has_a_line_for_new_images_from_several_pairs(of):
    figure = forest(of({"baseline": BASE, "patch_size=8": LESS}, images=200))
    assert figure.table["image_low"].notna().all() and "grey line" in figure.caption


def test_arm_table_has_the_accuracy_on_training_images(of):
    judgement = of({"baseline": BASE, "patch_size=8": LESS})
    table = arm_table(judgement, run_numbers(judgement.selection))
    column = next(c for c in table.columns if c.key == "train_accuracy")
    # Records made for tests are eight points better on training images; the means are of all three seeds.
    assert [column.show(row) for row in table.rows] == ["88.33", "83.33"]
