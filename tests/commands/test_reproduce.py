"""The printed command composes the recorded configuration, also after YAML files and spellings have changed."""

import dataclasses

import pytest

from vitsweep.commands.reproduce import compose_config, quote_value, reproduce_command, with_default_root
from vitsweep.config.convert import config_hash, from_dict, to_dict, validate
from vitsweep.config.schema import Config
from vitsweep.study.record import Record, write_record
from vitsweep.tracking.privacy import without_paths


def record_of(config: Config, overrides: list[str]) -> Record:
    return Record(config=to_dict(config), config_hash=config_hash(config), overrides=overrides)


def test_command_has_the_records_overrides():
    overrides = ["data=shapes", "model.patch_size=8", "seed=3"]
    assert (
        reproduce_command(record_of(compose_config(overrides), overrides))
        == "vitsweep data=shapes model.patch_size=8 seed=3"
    )


def test_command_adds_what_the_overrides_no_longer_give():
    config = compose_config(["data=shapes", "recipe=quick"])
    before = dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, lr=0.002))
    assert reproduce_command(record_of(validate(before), ["data=shapes", "recipe=quick"])).endswith(
        "recipe=quick recipe.lr=0.002"
    )


def test_command_spells_all_values_when_an_option_is_gone():
    config = compose_config(["data=shapes", "recipe=quick"])
    command = reproduce_command(record_of(config, ["data=shapes", "recipe=gone"]))
    again = compose_config(command.split()[1:])
    assert config_hash(again) == config_hash(config)


def test_command_of_a_published_cell_reads_the_default_folder_of_images():
    config = compose_config(["data.root=/srv/images", "recipe=quick"])
    record = record_of(config, ["data.root=/srv/images", "recipe=quick"])
    published = Record(**without_paths(vars(record)))
    assert reproduce_command(with_default_root(published)) == "vitsweep recipe=quick"


@pytest.mark.parametrize("value, text", [("a b", "'a b'"), ("it's", "'it\\'s'"), (True, "true"), ("/a/b", "/a/b")])
def test_values_are_quoted_for_hydra(value, text):
    assert quote_value(value) == text


def test_reproduce_names_a_directory_without_a_record(tmp_path, monkeypatch, capsys):
    from vitsweep.__main__ import main

    monkeypatch.setattr("sys.argv", ["vitsweep", "reproduce", str(tmp_path)])
    assert main() == 2 and "has no record.json" in capsys.readouterr().err


def test_reproduce_prints_one_line_a_cell(tmp_path, monkeypatch, capsys):
    from vitsweep.__main__ import main

    config = compose_config(["data=shapes"])
    write_record(tmp_path, record_of(config, ["data=shapes"]))
    monkeypatch.setattr("sys.argv", ["vitsweep", "reproduce", str(tmp_path)])
    assert main() == 0 and capsys.readouterr().out == "vitsweep data=shapes\n"
    assert from_dict(to_dict(config)) == config
