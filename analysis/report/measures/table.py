"""Table of the rollout measures of every arm."""

import math

import pandas as pd

from ...attention.measures import COLUMNS
from ...records.selection import Selection
from ...statistics.judgement import Judgement
from ...statistics.measure_effects import UNTESTED, attention_arms
from ...text import decimals, p_value
from ..study_tables import arm_column, estimate, holm_column, mean_and_sd, seeds_column
from ..tables import Column, Table

MEASURE_DIGITS = 4
"""Significant digits of the largest mean of a rollout measure; its other numbers have as many decimals."""
MEASURE_NOTES = {
    "patch_size": "Arms have patches of different size: centre and spread can be compared; all other measures, "
    "distance included, also depend on how many patches there are.",
    "num_hidden_layers": "Arms have different numbers of blocks: a rollout through fewer of them leaves more on the "
    "class token and less mixed, whatever the attention, so prefix mass and mixing also measure the depth.",
}
"""Field of the model -> limits of conclusions about rollout measures where arms differ in it."""


def measure_table(judgement: Judgement, runs: dict[str, str]) -> Table:
    """Return a row per rollout measure and arm: mean over seeds and paired difference to the baseline.

    Args:
        runs: arm -> its runs' numbers.
    """
    frame = judgement.measures
    places = {name: _measure_places(rows["mean"]) for name, rows in frame.groupby("measure")}
    columns = [
        Column("measure", lambda r: measure_text(r["measure"]), "measure", numeric=False, keep=True),
        arm_column(),
        seeds_column(),
        Column("mean", lambda r: _measure_mean(r, places[r["measure"]]), "mean", keep=True),
        Column("difference [95 % interval]", lambda r: _difference(r, places[r["measure"]]), "delta", keep=True),
        Column("p", lambda r: p_value(r["p"]), "p"),
        holm_column(),
    ]
    tests = len(attention_arms(judgement.selection)) * len(set(frame["measure"]) - {UNTESTED})
    return Table(
        name="measures",
        title="Rollout measures",
        caption="Rollout measures, mean over test images, then over seeds; differences to "
        f"{judgement.selection.baseline or 'the baseline'} on shared seeds. Exploratory: no hypothesis about them was "
        f"declared, so there is no verdict; Holm p is adjusted over these {tests} differences.",
        frame=frame,
        columns=columns,
        notes=[note for name, note in MEASURE_NOTES.items() if len(_model_values(judgement.selection, name)) > 1],
        runs=[runs.get(arm, "") for arm in frame["arm"]],
    )


def measure_text(name: str) -> str:
    """Return a rollout measure's name as it is shown: `rollout/spread_px` -> `spread, px`."""
    return name.removeprefix("rollout/").replace("_px", ", px").replace("_", " ")


def _measure_mean(row: dict, places: int) -> str:
    return decimals(row["mean"], places) if row["measure"] == UNTESTED else mean_and_sd(row, places)


def _difference(row: dict, places: int) -> str:
    return estimate(row["delta"], row["ci_low"], row["ci_high"], places)


def _measure_places(means: pd.Series) -> int:
    largest = means.abs().max()
    return max(0, MEASURE_DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else MEASURE_DIGITS


def _model_values(selection: Selection, name: str) -> set[int | None]:
    """Return the values of this field of the model in the measured runs."""
    done = selection.done()
    measured = done[[column for column in COLUMNS if column in done]].notna().any(axis=1)
    return {(record.config.get("model") or {}).get(name) for record in done.loc[measured, "record"]}
