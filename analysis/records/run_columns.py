"""A run's row as the table of runs and Study.cells show it: levels and settings beside what the record measured."""

from typing import Any

import pandas as pd

from vitsweep.study.arms import written_settings

from ..units import in_percent
from .selection import Selection

FIRST = ("cell", "study", "role", "arm", "seed", "status")
"""Columns before the levels and the settings that differ."""
GROUPS = ("model", "data", "recipe")
HIDDEN = ("record", "directory")


def run_columns(selection: Selection) -> pd.DataFrame:
    """Return a row a cell: what it is, its levels, the settings that differ, what was measured, all other settings.

    `level/<factor>` are numbers where all levels are; `config/<key>` are the settings of model, data and recipe.
    Accuracies are percent.
    """
    cells = selection.cells
    settings = setting_columns(cells)
    differing = [name for name in settings if len(set(map(str, settings[name]))) > 1]
    rest = [name for name in cells.columns if name not in (*FIRST, *HIDDEN)]
    parts = [
        cells[list(FIRST)],
        level_columns(selection),
        settings[differing],
        in_percent(cells[rest]),
        settings.drop(columns=differing),
    ]
    return pd.concat(parts, axis=1).copy()  # one block: columns are added to it


def level_columns(selection: Selection) -> pd.DataFrame:
    """Return `level/<factor>` for each cell."""
    levels, arms = selection.levels, selection.cells["arm"]
    factors = dict.fromkeys(factor for of_arm in levels.values() for factor in of_arm)
    columns = {f"level/{factor}": _numbers([levels[arm][factor] for arm in arms]) for factor in factors}
    return pd.DataFrame(columns, index=selection.cells.index)


def setting_columns(cells: pd.DataFrame) -> pd.DataFrame:
    """Return `config/<key>` for each cell; None for a setting that its configuration does not state."""
    known: dict[str, dict[str, Any]] = {}
    for name, record in zip(cells["config_hash"], cells["record"], strict=True):
        if name not in known:  # cells of one hash differ in paths and seeds alone
            known[name] = written_settings(record.config) if record.config else {}
    found = {key for settings in known.values() for key in settings}
    keys = sorted(found, key=lambda key: (GROUPS.index(key.partition(".")[0]), key))
    columns = {f"config/{key}": [known[name].get(key) for name in cells["config_hash"]] for key in keys}
    return pd.DataFrame(columns, index=cells.index, dtype=object)


def _numbers(levels: list[str]) -> list[Any]:
    """Return levels as numbers if all are, for axes and formulas, else as they are."""
    try:
        return pd.to_numeric(pd.Series(levels)).tolist()
    except (ValueError, TypeError):
        return levels
