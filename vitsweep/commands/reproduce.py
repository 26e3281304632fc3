"""`vitsweep reproduce CELL ... [--env | --check]`: print the command that trains a cell again.

--env prints the commands that rebuild its code (git checkout, git apply) and its environment (pip install of the
recorded versions) first. --check trains the cell again in a scratch folder and compares its metrics with the recorded
ones: exit code 0 if they agree exactly or within the spread of the arm's seeds, 1 if not.
"""

import argparse
import dataclasses
import logging
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from rich.table import Table

from vitsweep.config.convert import config_hash, flatten, from_dict, from_omegaconf, to_dict
from vitsweep.config.hydra import VERSION_BASE, register
from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError, UserError
from vitsweep.paths import conf_dir
from vitsweep.run.progress_table import table_console
from vitsweep.study.comparison.sides import read_side
from vitsweep.study.provenance.rebuild import rebuild_commands
from vitsweep.study.record import Record, read_record
from vitsweep.tracking.privacy import HIDDEN

AGREES, DIFFERS = 0, 1


def main(arguments: list[str]) -> int:
    """Print the commands for each cell, or check each; return 0, or 1 if a check finds a difference."""
    parser = argparse.ArgumentParser(prog="vitsweep reproduce", description=__doc__)
    parser.add_argument("cell_dir", nargs="+", type=Path, help="a directory with a record.json, or SWEEP/ARM/seed=N")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--env", action="store_true", help="also print the commands that rebuild code and environment")
    form.add_argument("--check", action="store_true", help="train the cell again and compare its metrics")
    parser.add_argument("--data-root", help="with --check: folder of the images, if they lie elsewhere now")
    options = parser.parse_args(arguments)
    if options.data_root and not options.check:
        raise UserError("--data-root  is read by --check alone; add it, or leave --data-root out")
    code = AGREES
    for named in options.cell_dir:
        directory, record = find_cell(named)
        record = with_default_root(record)
        if options.check:
            code = max(code, check_cell(directory, record, options.data_root))
        elif options.env:
            print("\n".join(rebuild_commands(record, directory, reproduce_command(record))))
        else:
            print(reproduce_command(record))
    return code


def find_cell(named: Path) -> tuple[Path, Record]:
    """Return directory and record of a cell that is given by its directory or as SWEEP/ARM/seed=N.

    Raises:
        RecordError: there is no such cell.
    """
    try:
        return named, read_record(named)
    except FileNotFoundError as error:
        if not named.exists():
            side = read_side(str(named))
            if len(side.cells) == 1 and not side.is_study:
                return side.cells[0].directory, side.cells[0].record
        raise RecordError(f"{named}  has no record.json; name a cell's directory") from error


def with_default_root(record: Record) -> Record:
    """Return a record with the default folder of images if its own was hidden by publication.

    The folder of an image_folder has no default: that remains `<path>`.
    """
    data = record.config["data"]
    if data["root"] != HIDDEN or data["name"] == "image_folder":
        return record
    root = compose_config([f"data={data['name']}"]).data.root
    overrides = [override for override in record.overrides if override_key(override) != "data.root"]
    return dataclasses.replace(record, config=record.config | {"data": data | {"root": root}}, overrides=overrides)


def check_cell(directory: Path, record: Record, root: str | None) -> int:
    """Train a cell again, print the comparison and return the exit code."""
    from vitsweep.commands import rerun  # late: it imports scipy

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory(prefix="vitsweep-check-") as scratch:
        again = rerun.train_again(record, Path(scratch), root)
        if again.status != "done":
            reason = (again.error or {}).get("message", "")
            print(f"{directory}: does not agree: the cell is done, and {again.status} when trained again: {reason}")
            return DIFFERS
        changed = rerun.changed_facts(directory, record, Path(scratch), again)
    seeds = rerun.arm_records(directory, record)
    checks = rerun.check_metrics(record, again, seeds)
    found = rerun.verdict(checks)
    if found != rerun.EXACT:
        table_console().print(check_table(checks))
    for what, then, now in changed:
        print(f"{what}  {then} then, {now} now")
    if "cells" in record.pack:
        print(f"it was trained in a pack of {len(record.pack['cells'])} cells, which sums in another order than alone")
    sentences = {
        rerun.EXACT: f"agrees exactly: all {len(checks)} metrics are equal",
        rerun.WITHIN: f"agrees within the spread of the arm's {len(seeds)} seeds, not exactly",
        rerun.OUTSIDE: f"does not agree: metrics differ by more than the spread of the arm's {len(seeds)} seeds",
        rerun.UNKNOWN: "does not agree exactly, and with one finished seed the arm's spread is not known",
    }
    print(f"{directory}: {sentences[found]}")
    return AGREES if found in (rerun.EXACT, rerun.WITHIN) else DIFFERS


def check_table(checks: list[Any]) -> Table:
    """Return the table of metrics that differ."""
    table = Table(box=None, padding=(0, 2))
    for title in ("metric", "recorded", "again", "difference", "explained by the seeds"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for check in checks:
        if not check.is_equal:
            known = check.recorded is not None and check.again is not None
            difference = f"{check.again - check.recorded:+.3g}" if known else ""
            bound = "" if check.bound is None else f"up to {check.bound:.3g}"
            table.add_row(check.name, f"{check.recorded}", f"{check.again}", difference, bound)
    return table


def reproduce_command(record: Record) -> str:
    """Return the `vitsweep` command whose overrides compose the record's configuration today.

    Starts from the record's own overrides, and adds each value that YAML files have changed since.
    """
    wanted = from_dict(record.config)
    overrides = list(record.overrides)
    try:
        composed = compose_config(overrides)
    except Exception:  # an option or a key no longer exists: write out every value
        overrides, composed = [], compose_config([])
    overrides += missing_overrides(composed, wanted)
    again = compose_config(overrides)
    assert config_hash(again) == record.config_hash and again.seed == wanted.seed
    return shlex.join(["vitsweep", *overrides])


def compose_config(overrides: list[str]) -> Config:
    """Return the configuration that Hydra composes from the overrides now."""
    register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        return from_omegaconf(compose("config", overrides))


def missing_overrides(composed: Config, wanted: Config) -> list[str]:
    """Return one override for each value of model, data, recipe and seed in which the two differ."""
    now, then = result_settings(composed), result_settings(wanted)
    return [f"{key}={quote_value(value)}" for key, value in then.items() if now.get(key) != value]


def quote_value(value: Any) -> str:
    """Return a value in Hydra's override grammar; texts with special characters are quoted."""
    text = yaml_text(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./:-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def result_settings(config: Config) -> dict[str, Any]:
    """Return dotted key -> value of the settings that determine a cell's result, and of its data's location."""
    values = to_dict(config)
    return flatten({name: values[name] for name in ("model", "data", "recipe", "seed")})
