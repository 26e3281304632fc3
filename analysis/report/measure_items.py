"""What the report shows of the rollout measures: a small plot for each, and the table of differences."""

import math

import pandas as pd

from ..attention.measures import COLUMNS, DESCRIPTIONS
from ..gallery.draw_measures import draw_measures, figure_inches, measured_names
from ..statistics.judgement import Judgement
from ..statistics.measure_effects import UNTESTED, attention_arms
from ..text import PLUS_MINUS, decimals, integer, interval, p_value, signed
from .figures import Figure, at_most
from .page import Bullets
from .tables import Column, Table

DIGITS = 4
"""Significant digits of the largest mean of a measure; its other numbers have as many places."""

OTHER_GRIDS = (
    "Arms have patches of different size: centre and spread can be compared; all other measures, distance included, "
    "also depend on how many patches there are."
)
OTHER_DEPTHS = (
    "Arms have different numbers of blocks: a rollout through fewer of them leaves more on the class token and less "
    "mixed, whatever the attention, so prefix mass and mixing also measure the depth."
)
NOTES = {"patch_size": OTHER_GRIDS, "num_hidden_layers": OTHER_DEPTHS}
"""Field of the model -> what not to conclude where arms differ in it."""


def measure_table(judgement: Judgement, runs: dict[str, str]) -> Table:
    """A row a measure and arm: mean over seeds and paired difference to the baseline.

    Args:
        runs: arm -> its runs' numbers.
    """
    frame = judgement.measures
    places = {name: _places(rows["mean"]) for name, rows in frame.groupby("measure")}
    columns = [
        Column("measure", lambda r: _short(r["measure"]), "measure", numeric=False, keep=True),
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        Column("seeds", lambda r: integer(r["n"]), "n"),
        Column("mean", lambda r: _mean_and_sd(r, places[r["measure"]]), "mean", keep=True),
        Column("difference [95 % interval]", lambda r: _change(r, places[r["measure"]]), "delta", keep=True),
        Column("p", lambda r: p_value(r["p"]), "p"),
        Column("Holm p", lambda r: p_value(r["p_holm"]), "p_holm", keep=True),
    ]
    arms, measures = attention_arms(judgement.selection), set(frame["measure"]) - {UNTESTED}
    caption = (
        "Rollout measures, mean over test images, then over seeds; differences to "
        f"{judgement.selection.baseline or 'the baseline'} on shared seeds. Exploratory: no hypothesis about them was "
        f"declared, so there is no verdict; Holm p is adjusted over these "
        f"{len(arms) * len(measures)} differences."
    )
    return Table(
        name="measures",
        title="Rollout measures",
        caption=caption,
        frame=frame,
        columns=columns,
        notes=[note for name, note in NOTES.items() if len(_values(judgement, name)) > 1],
        runs=[runs.get(arm, "") for arm in frame["arm"]],
    )


def measure_words(judgement: Judgement) -> Bullets:
    """What each measure means."""
    shown = [name for name in COLUMNS if name in set(judgement.measures["measure"])]
    return Bullets(lines=[f"{_short(name)}: {DESCRIPTIONS[name.removeprefix('rollout/')]}." for name in shown])


def measure_figure(judgement: Judgement) -> Figure | None:
    """One small plot a measure; None with one arm alone."""
    selection = judgement.selection
    done = selection.done()
    arms = [arm for arm in at_most(selection.arms, selection.baseline, judgement.effects) if arm in set(done["arm"])]
    if len(arms) < 2:
        return None
    cells = done[done["arm"].isin(arms)]
    table = cells[["arm", "seed", *COLUMNS]]
    changes = judgement.measures[judgement.measures["arm"] != selection.baseline]
    tested = int(changes["ci_low"].notna().sum())
    clear = changes[(changes["ci_low"] > 0) | (changes["ci_high"] < 0)]
    return Figure(
        name="measures",
        title="Rollout measures of every run",
        caption="A mark for each run, a bar at the arm's mean, the thin line at the baseline's. Each panel has a scale "
        "of its own.",
        alt=f"{len(clear)} of {tested} differences to the baseline have a 95 % interval without zero, not adjusted for "
        "their number."
        if tested
        else "No difference to the baseline has an interval.",
        table=table,
        size=figure_inches(len(measured_names(table)), len(arms)),
        draw=lambda canvas, colour: draw_measures(canvas, table, arms, selection.baseline, colour),
    )


def _values(judgement: Judgement, name: str) -> set[int]:
    """What the measured arms have in this field of the model."""
    done = judgement.selection.done()
    measured = done[[name for name in COLUMNS if name in done]].notna().any(axis=1)
    return {(record.config.get("model") or {}).get(name) for record in done.loc[measured, "record"]}


def _short(name: str) -> str:
    return name.removeprefix("rollout/").replace("_px", ", px").replace("_", " ")


def _places(means: pd.Series) -> int:
    largest = means.abs().max()
    return max(0, DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else DIGITS


def _mean_and_sd(row: dict, places: int) -> str:
    shown = decimals(row["mean"], places)
    return (
        shown
        if math.isnan(row["sd"]) or row["measure"] == UNTESTED
        else f"{shown} {PLUS_MINUS} {decimals(row['sd'], places)}"
    )


def _change(row: dict, places: int) -> str:
    return f"{signed(row['delta'], places)} {interval(row['ci_low'], row['ci_high'], places)}".strip()
