"""Fields added later: neutral ones leave hashes and files as they were, those of newer versions are kept."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from vitsweep.added_fields import added_field, from_values, neutral_values, to_values
from vitsweep.config.convert import config_hash, from_dict, to_dict
from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.schema import Config, DataConfig, RecipeConfig
from vitsweep.errors import RecordError
from vitsweep.study.plan import Cell, Plan, plan_hash, read_plan, write_plan
from vitsweep.study.record import Record, read_record, write_record

FIRST = Path(__file__).parent / "fixtures" / "reference" / "sweep"
"""Sweep directory of the version before fields could be added."""
FIRST_PLAN = json.loads((FIRST / "plan.json").read_text(encoding="utf-8"))
FIRST_RECORD = json.loads((FIRST / FIRST_PLAN["cells"][0]["id"] / "record.json").read_text(encoding="utf-8"))


@dataclass(kw_only=True)
class NewerModel(ModelConfig):
    """The network's settings of a later version."""

    pooling: str = added_field("class_token")


@dataclass(kw_only=True)
class NewerConfig(Config):
    """The settings of a later version."""

    model: NewerModel = dataclasses.field(default_factory=NewerModel)


def test_neutral_field_changes_neither_hash_nor_file():
    assert config_hash(NewerConfig()) == config_hash(Config())
    assert to_dict(NewerConfig()) == to_dict(Config())


def test_other_value_of_an_added_field_changes_the_hash():
    changed = NewerConfig(model=NewerModel(pooling="mean"))
    assert config_hash(changed) != config_hash(Config())
    assert to_dict(changed)["model"]["pooling"] == "mean"


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (ModelConfig, FIRST_RECORD["config"]["model"]),
        (DataConfig, FIRST_RECORD["config"]["data"]),
        (RecipeConfig, FIRST_RECORD["config"]["recipe"]),
        (Config, FIRST_RECORD["config"]),
        (Record, FIRST_RECORD),
        (Plan, FIRST_PLAN),
        (Cell, FIRST_PLAN["cells"][0]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_field_that_the_first_version_lacked_has_a_neutral_value(kind, first):
    assert {field.name for field in dataclasses.fields(kind)} - set(first) == set(neutral_values(kind))


def test_record_without_added_fields_is_read_and_written_as_it_was(tmp_path):
    source = FIRST / FIRST_PLAN["cells"][0]["id"]
    write_record(tmp_path, read_record(source))
    assert (tmp_path / "record.json").read_bytes() == (source / "record.json").read_bytes()


def test_plan_without_added_fields_is_read_and_written_as_it_was(tmp_path):
    write_plan(tmp_path, read_plan(FIRST))
    assert (tmp_path / "plan.json").read_bytes() == (FIRST / "plan.json").read_bytes()


def test_fields_of_a_newer_record_are_kept(tmp_path):
    (tmp_path / "record.json").write_text(json.dumps(FIRST_RECORD | {"energy_joules": 5.0}))
    write_record(tmp_path, read_record(tmp_path))
    assert json.loads((tmp_path / "record.json").read_text())["energy_joules"] == 5.0


def test_fields_of_a_newer_plan_and_its_cells_are_kept(tmp_path):
    cells = [cell | {"price": 3} for cell in FIRST_PLAN["cells"]]
    (tmp_path / "plan.json").write_text(json.dumps(FIRST_PLAN | {"owner": "a", "cells": cells}))
    plan = read_plan(tmp_path)
    write_plan(tmp_path, plan)
    written = json.loads((tmp_path / "plan.json").read_text())
    assert (written["owner"], written["cells"][0]["price"]) == ("a", 3)
    assert plan_hash(plan) == FIRST_PLAN["plan_hash"]


def test_record_that_lacks_a_first_field_is_refused(tmp_path):
    lacking = {key: value for key, value in FIRST_RECORD.items() if key != "metrics"}
    (tmp_path / "record.json").write_text(json.dumps(lacking))
    with pytest.raises(RecordError, match="is damaged: without metrics; move the directory away"):
        read_record(tmp_path)


def test_values_of_an_object_survive_the_way_to_a_file_and_back():
    record = Record(sweep_id="ab", newer={"energy_joules": 5.0})
    values = to_values(record)
    assert (values["sweep_id"], values["energy_joules"]) == ("ab", 5.0) and "newer" not in values
    assert Record(**from_values(Record, values)) == record


def test_configuration_of_an_older_plan_is_completed():
    config = from_dict(FIRST_RECORD["config"])
    assert config.data.fingerprint == "" and config_hash(config) == FIRST_RECORD["config_hash"]
