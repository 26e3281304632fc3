"""The tables of a report, each made from one frame: arms, claims, factors, epochs, test images, measures and runs."""

import math

import pandas as pd

from vitsweep.study.claims import OF_EQUALITY

from ..attention.measures import COLUMNS
from ..records.run_columns import run_columns
from ..records.selection import DEFAULT_METRIC, Selection
from ..statistics.curves import rule_text
from ..statistics.effects import decimal_places, display_scale, image_text, metric_text
from ..statistics.judgement import Judgement, is_main_first
from ..text import (
    DASH,
    PLUS_MINUS,
    bounds,
    decimals,
    duration,
    epochs,
    format_ranges,
    integer,
    interval,
    p_value,
    percent,
    seeds_text,
    si_number,
    signed,
    text_or_dash,
    unicode_arrows,
)
from .tables import Column, Table

AVERAGE = "ema/test/accuracy_percent"
"""Column of the cells that average their weights (recipe.ema_decay)."""
MAIN_COLUMNS = ("arm", "n", "mean", "delta", "verdict")
"""Keys of the comparison table's columns that a page shows at first."""
ONE_PAIR = (
    "Of an arm with one shared seed two trained models are compared: the interval is for other test images and these "
    "models only, and McNemar's p compares the models, not the arms. Another seed may turn the sign."
)
WITHDRAWABLE = ("helps", "hurts", "equivalent")
"""Verdicts that lost runs can take back."""
SECONDARY = (
    "Verdicts on single arms are secondary, with a family of their own: the study's questions are its main effects, "
    "each of which uses many arms. "
)


def arm_table(judgement: Judgement, runs: dict[str, str], sort: str = "planned") -> Table:
    """Return the comparison table.

    Args:
        runs: arm -> its runs' numbers.
        sort: planned (the plan's order) or effect (largest first); the baseline stays on top.
    """
    frame, metric = judgement.effects, judgement.metric
    selection = judgement.selection
    frame = frame.assign(train_accuracy=[train_accuracy(selection, arm) for arm in frame["arm"]])
    frame = frame.assign(options=[selection.options.get(arm, "") for arm in frame["arm"]])
    if sort == "effect":
        order = frame["delta"].sort_values(ascending=False, kind="stable", na_position="last").index
        frame = frame.loc[[*frame.index[:1], *(i for i in order if i not in frame.index[:1])]]
    compared = len(frame) > 1
    base = selection.baseline or "the baseline"
    moment = "with the lowest validation loss" if metric in COLUMNS else "at the last epoch"
    secondary = SECONDARY if is_main_first(judgement) else ""
    against = f", every arm against {base}. Intervals are for {image_text(metric)}; effects also use the runs of {base}"
    return Table(
        name="arms",
        title="Comparison of the arms",
        caption=f"{metric_text(metric).capitalize()} {moment}{against if compared else ''}. {secondary}Training images "
        "were scored like test images: last weights, no dropout, no augmentation.",
        frame=frame,
        columns=_effect_columns(metric, compared, error_columns(frame) + lost_columns(frame), selection.error)
        + _cost_columns(metric)
        + _settings_columns(frame),
        main=MAIN_COLUMNS if compared else (),
        runs=[runs.get(arm, "") for arm in frame["arm"]],
    )


def lost_columns(frame: pd.DataFrame) -> list[Column]:
    """Return the columns on the second verdict, if it takes back one of the finished runs."""
    if "p_holm_lost" not in frame:
        return []
    if not (frame["verdict_finished"].isin(WITHDRAWABLE) & (frame["verdict"] != frame["verdict_finished"])).any():
        return []
    finished = "verdict of finished runs alone"
    return [
        Column("Holm p, lost runs as chance", lambda r: p_value(r["p_holm_lost"]), "p_holm_lost"),
        Column(finished, lambda r: text_or_dash(r["verdict_finished"]), "verdict_finished", numeric=False),
    ]


def error_columns(frame: pd.DataFrame) -> list[Column]:
    """Return the columns of a study under another error than the paired one."""
    if "p_holm_paired" not in frame:
        return []
    ratio = "spread over the others' [95 % interval]"
    return [
        Column("paired Holm p", lambda r: p_value(r["p_holm_paired"]), "p_holm_paired"),
        Column("pooling", lambda r: text_or_dash(r["pooling"]), "pooling", numeric=False),
        Column(ratio, lambda r: _spread(r), "spread_ratio"),
    ]


def _spread(row: dict) -> str:
    shown = f"{decimals(row['spread_ratio'])} {bounds(row['spread_low'], row['spread_high'])}".strip()
    return DASH if math.isnan(row["spread_ratio"]) else shown


def _effect_columns(metric: str, compared: bool, second: list[Column], error: str) -> list[Column]:
    in_percent, places = display_scale(metric) == 100.0, decimal_places(metric)
    name = metric_text(metric) + (", %" if in_percent else "")
    effect = f"effect{', points' if in_percent else ''} [95 % interval]"
    return [
        arm_column(),
        Column("what changed", lambda r: unicode_arrows(r["options"]) or DASH, "options", numeric=False, wrap=True),
        seeds_column(keep=True),
        Column(name, lambda r: mean_and_sd(r, places), "mean", keep=True),
        estimate_column(effect, "delta", places=places, keep=compared),
        Column("adjusted p" if error == "pooled" else "Holm p", lambda r: p_value(r["p_holm"]), "p_holm"),
        Column("verdict", lambda r: r["verdict"], "verdict", numeric=False, keep=compared),
        *second,
        Column("seeds to decide", seeds_text, "seeds_needed"),
        Column("sign-flip p", lambda r: p_value(r["p_signflip"]), "p_signflip"),
        Column("effect / sd", lambda r: decimals(r["effect_size"]), "effect_size"),
        Column("seeds better", lambda r: percent(r["better"]), "better"),
    ]


def _settings_columns(frame: pd.DataFrame) -> list[Column]:
    """Return the column of every setting that differs, if the options of config groups stand in place of some."""
    if (frame["options"] == frame["changes"]).all():
        return []
    show = lambda r: unicode_arrows(r["changes"]) or DASH  # noqa: E731
    return [Column("all settings that differ", show, "changes", numeric=False, wrap=True)]


def _cost_columns(metric: str) -> list[Column]:
    on_training = f"{'' if metric == DEFAULT_METRIC else 'accuracy '}on training images, %"
    return [
        Column("failed or diverged runs", lambda r: integer(r["failed"]), "failed"),
        Column(on_training, lambda r: decimals(r["train_accuracy"]), "train_accuracy"),
        Column("parameters", lambda r: si_number(r["params"]), "params"),
        Column("FLOPs per image", lambda r: si_number(r["flops_per_image"]), "flops_per_image"),
        Column("time per run", lambda r: duration(r["time_seconds"]), "time_seconds"),
        Column("images/s", lambda r: si_number(r["images_per_second"]), "images_per_second"),
        Column("published, %", lambda r: decimals(r["published"]), "published"),
        Column("family", lambda r: text_or_dash(r["family"]), "family", numeric=False),
    ]


def claim_table(judgement: Judgement) -> Table:
    """Return the claims that the study file states, with their verdicts."""
    columns = [
        Column("claim", lambda r: r["claim"], "claim", numeric=False, keep=True, wrap=True),
        Column("verdict", lambda r: r["verdict"], "verdict", numeric=False, keep=True),
        Column("evidence", lambda r: r["evidence"], "evidence", numeric=False, keep=True, wrap=True),
        holm_column(),
        Column("changed after the start", lambda r: "yes" if r["changed_after_start"] else "no", "changed_after_start"),
    ]
    caption = (
        "Claims of the study file. The testable ones that were not changed after the start are one family: their p "
        "values are adjusted together (Holm). A Holm p is of the difference; not supported rests on equivalence tests."
    )
    if judgement.claims["kind"].isin(OF_EQUALITY).any():
        caption += " That of equivalent and not_worse is of the test against the ROPE."
    return Table(name="claims", title="Claims", caption=caption, frame=judgement.claims, columns=columns)


def saturation_table(judgement: Judgement) -> Table:
    """Return the epochs at which the arms' validation loss stops falling, by the rule of the study's claims."""
    columns = [
        arm_column(),
        seeds_column(keep=True),
        Column("saturation epoch [95 % interval]", _epoch_text, "epoch", keep=True),
        Column("still improving in the last epochs", lambda r: integer(r["late"]), "late"),
        Column("epoch of the lowest loss", lambda r: decimals(r["lowest_epoch"], 1), "lowest_epoch", keep=True),
    ]
    frame = judgement.saturation
    caption = f"When the validation loss saturates: {rule_text(judgement.selection)}. Mean over seeds; after > a lower "
    caption += "bound, since runs were still improving at the end. Another schedule moves it."
    return Table(name="saturation", title="Saturation", caption=caption, frame=frame, columns=columns)


def best_table(judgement: Judgement) -> Table:
    """Return the test accuracy of the best epoch against the last, and the optimism of choosing the best."""
    columns = [
        arm_column(),
        seeds_column(keep=True),
        Column("last epoch, %", lambda r: decimals(r["final"]), "final", keep=True),
        Column("best epoch, %", lambda r: decimals(r["best"]), "best", keep=True),
        estimate_column("best - last [95 % interval]", "gain"),
        estimate_column("optimism of choosing [95 % interval]", "optimism", low="optimism_low", high="optimism_high"),
    ]
    caption = (
        "Best epoch (lowest validation loss) against the last: test accuracy, and (validation - test) accuracy at the "
        "best epoch minus (validation - test) at the last: what choosing on validation images flatters."
    )
    return Table(name="best-epoch", title="Best epoch", caption=caption, frame=judgement.best, columns=columns)


def image_table(judgement: Judgement) -> Table:
    """Return the effects with their spread over test images, and the images that change."""
    frame = judgement.images
    several, single = bool((frame["pairs"] > 1).any()), bool((frame["pairs"] == 1).any())
    scope = "seeds and new images" if several else "images, these models only"
    columns = [
        arm_column(),
        Column("seeds", lambda r: integer(r["pairs"]), "pairs"),
        Column(
            f"effect [95 % interval for new {scope}]", lambda r: _image_effect(r, marked=several), "delta", keep=True
        ),
        Column("McNemar p", lambda r: p_value(r["mcnemar_p"]), "mcnemar_p"),
        Column("images that change", lambda r: f"{r['changed']:.1f} %", "changed", keep=True),
        Column("gained", lambda r: integer(r["gained"]), "gained", keep=True),
        Column("lost", lambda r: integer(r["lost"]), "lost", keep=True),
        Column("clearest gains, image ids", lambda r: r["gained_ids"] or DASH, "gained_ids", numeric=False, wrap=True),
        Column("clearest losses, image ids", lambda r: r["lost_ids"] or DASH, "lost_ids", numeric=False, wrap=True),
    ]
    drawn = "seed x image bootstrap" if several else "bootstrap of the test images"
    caption = (
        f"Spread over test images ({drawn}), and the images that flip: gained or lost on more than half of the shared "
        f"seeds.{about_accuracy(judgement.metric)}"
    )
    notes = [*([ONE_PAIR] if single else []), _changed_by_chance(frame), *missing_predictions(judgement)]
    return Table(name="images", title="Test images", caption=caption, frame=frame, columns=columns, notes=notes)


def missing_predictions(judgement: Judgement) -> list[str]:
    """Return a sentence about arms whose predictions are there for some of their pairs only."""
    have, pairs = judgement.images.set_index("arm")["pairs"], judgement.effects.set_index("arm")["pairs"]
    parts = [f"{arm} {number} of {pairs[arm]:.0f}" for arm, number in have.items() if number < pairs[arm]]
    if not parts:
        return []
    return [f"Predictions are missing, so these numbers are of fewer seeds than the comparison: {', '.join(parts)}."]


def run_table(selection: Selection) -> Table:
    """Return every cell with the number by which the other tables cite it."""
    frame = run_columns(selection)
    frame.insert(0, "run", range(1, len(frame) + 1))
    frame["error"] = [(r.error or {}).get("type", "") for r in selection.cells["record"]]
    columns = [
        Column("run", lambda r: integer(r["run"]), "run", keep=True),
        Column("cell", lambda r: r["cell"], "cell", numeric=False, keep=True),
        Column("status", lambda r: r["status"], "status", numeric=False, keep=True),
        Column("epochs", lambda r: integer(r["epoch"]), "epoch", keep=True),
        Column(
            "last epoch, %",
            lambda r: decimals(r["final/test/accuracy_percent"]),
            "final/test/accuracy_percent",
            keep=True,
        ),
        Column(
            "best epoch, %",
            lambda r: decimals(r["best/test/accuracy_percent"]),
            "best/test/accuracy_percent",
            keep=True,
        ),
        Column("best epoch", lambda r: integer(r["best/epoch"]), "best/epoch"),
        Column("time", lambda r: duration(r["time_seconds"]), "time_seconds"),
        Column("attempts", lambda r: integer(r["attempts"]), "attempts"),
        Column("error", lambda r: r["error"] or DASH, "error", numeric=False),
    ]
    if AVERAGE in frame:
        columns.insert(6, Column("averaged weights, %", lambda r: decimals(r[AVERAGE]), AVERAGE, keep=True))
    caption = "Every run of the study, with its test accuracy. The other tables cite the numbers in the first column."
    return Table(name="runs", title="Runs", caption=caption, frame=frame, columns=columns)


def run_numbers(selection: Selection) -> dict[str, str]:
    """Return arm -> the numbers of its finished runs in run_table, as ranges: `1-5, 9`."""
    cells = selection.cells
    numbers = pd.Series(range(1, len(cells) + 1), index=cells.index)[cells["status"] == "done"]
    return {arm: format_ranges(list(numbers[cells["arm"] == arm])) for arm in selection.arms}


def estimate(value: float, low: float, high: float, places: int = 2) -> str:
    """Return `+0.30 [+0.10, +0.50]`, without the brackets if there is no interval."""
    return f"{signed(value, places)} {interval(low, high, places)}".strip()


def about_accuracy(metric: str) -> str:
    """Return the sentence that sets what is always about the test accuracy apart from a report of another metric."""
    return "" if metric == DEFAULT_METRIC else " This is about the test accuracy at the last epoch."


def accuracy_name(metric: str) -> str:
    """Return `accuracy` for the default metric, else the metric's name."""
    return "accuracy" if metric == DEFAULT_METRIC else metric_text(metric)


def on_metric(metric: str) -> str:
    """Return ` on the validation accuracy`; nothing for the default metric."""
    return "" if metric == DEFAULT_METRIC else f" on the {metric_text(metric)}"


def arm_column() -> Column:
    return Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True)


def seeds_column(keep: bool = False) -> Column:
    """Return the column of the number of seeds."""
    return Column("seeds", lambda r: integer(r["n"]), "n", keep=keep)


def holm_column() -> Column:
    """Return the column of adjusted p values."""
    return Column("Holm p", lambda r: p_value(r["p_holm"]), "p_holm", keep=True)


def estimate_column(
    title: str, key: str, *, low: str = "ci_low", high: str = "ci_high", places: int = 2, keep: bool = True
) -> Column:
    """Return a column of estimates with their intervals."""
    return Column(title, lambda r: estimate(r[key], r[low], r[high], places), key, keep=keep)


def _image_effect(row: dict, marked: bool) -> str:
    shown = estimate(row["delta"], row["image_low"], row["image_high"])
    return f"{shown} (these models only)" if marked and row["pairs"] == 1 else shown


def _changed_by_chance(frame: pd.DataFrame) -> str:
    """Return the note about the share of images that changes between two seeds of the baseline."""
    between_seeds = frame["changed_between_seeds"].iloc[0]
    if math.isnan(between_seeds):
        return "With one run of the baseline it is not known how many images change by chance."
    return (
        f"Between two seeds of the baseline {between_seeds:.1f} % of the images change by chance. An arm shares the "
        "random streams of the baseline's run of the same seed, so its share may be lower."
    )


def train_accuracy(selection: Selection, arm: str) -> float:
    """Return percent, mean over the finished runs, of the last weights in evaluation mode."""
    done = selection.done()
    return 100 * done.loc[done["arm"] == arm, "final/train/accuracy"].mean()


def mean_and_sd(row: dict, places: int) -> str:
    shown = decimals(row["mean"], places)
    return shown if math.isnan(row["sd"]) else f"{shown} {PLUS_MINUS} {decimals(row['sd'], places)}"


def _epoch_text(row: dict) -> str:
    return epochs(row["epoch"], row["ci_low"], row["ci_high"], row["late"])
