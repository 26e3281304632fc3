"""The row of a run: what it is, levels, settings that differ, measurements with their units, all other settings.

Kinds: agrees with the record, property (order of columns).
"""

import json

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.run_columns import run_columns
from vitsweep.analysis.records.selection import select

from tests.support.make_records import make_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    arms = {"baseline": [0.8, 0.81], "patch_size=8": [0.75, 0.7], "dropout=none": [0.7, 0.71]}
    return make_sweep(tmp_path_factory.mktemp("s"), arms, epochs=1)


@pytest.fixture(scope="module")
def rows(sweep):
    return run_columns(select(load(sweep)))


def test_levels_and_differing_settings_stand_first(rows):
    assert list(rows)[6:10] == ["level/patch_size", "level/dropout", "config/model.dropout", "config/model.patch_size"]
    assert rows["config/model.patch_size"].tolist() == [4, 4, 8, 8, 4, 4] == rows["level/patch_size"].tolist()


def test_settings_are_those_of_the_record(sweep, rows):
    row = rows.set_index("cell").to_dict("index")
    for path in sweep.glob("*/*/record.json"):
        config, own = json.loads(path.read_text())["config"], row[path.parent.relative_to(sweep).as_posix()]
        for key in ("model.num_hidden_layers", "recipe.lr", "recipe.batch_size", "data.val"):
            group, name = key.split(".")
            assert own[f"config/{key}"] == config[group][name]


def test_no_setting_is_a_path(rows):
    assert not [name for name in rows if name.startswith("config/data.root")] and "/somewhere" not in rows.to_csv()


def test_accuracies_are_percent_and_say_so(sweep, rows):
    assert rows["final/test/accuracy_percent"].tolist() == pytest.approx([80, 81, 75, 70, 70, 71])
    assert not [name for name in rows if name.endswith("accuracy")]
