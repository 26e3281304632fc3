"""The tables of a report, each made from one frame: arms, runs, claims, factors, epochs and test images."""

import math

import pandas as pd

from ..attention.measures import COLUMNS
from ..records.selection import Selection
from ..statistics.effects import display_scale
from ..statistics.factorial import interaction_name
from ..statistics.judgement import Judgement
from ..text import (
    DASH,
    PLUS_MINUS,
    decimals,
    duration,
    format_ranges,
    integer,
    interval,
    p_value,
    percent,
    si_number,
    signed,
    text_or_dash,
    unicode_arrows,
)
from .tables import Column, Table

SORTS = ("planned", "effect")
ONE_PAIR = (
    "Of an arm with one shared seed two trained models are compared: the interval is for other test images and these "
    "models only, and McNemar's p compares the models, not the arms. Another seed may turn the sign."
)


def arm_table(judgement: Judgement, runs: dict[str, str], sort: str = "planned") -> Table:
    """The comparison table.

    Args:
        runs: arm -> its runs' numbers.
        sort: planned (the plan's order) or effect (largest first); the baseline stays on top.
    """
    frame, in_points = judgement.effects, display_scale(judgement.metric) == 100.0
    frame = frame.assign(train_accuracy=[_train_accuracy(judgement.selection, arm) for arm in frame["arm"]])
    if sort == "effect":
        order = frame["delta"].sort_values(ascending=False, kind="stable", na_position="last").index
        frame = frame.loc[[*frame.index[:1], *(i for i in order if i not in frame.index[:1])]]
    places, name = _places(judgement.metric), _words(judgement.metric) + (", %" if in_points else "")
    compared = len(frame) > 1
    columns = [
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        Column("what changed", lambda r: unicode_arrows(r["changes"]) or DASH, "changes", numeric=False, wrap=True),
        Column("seeds", lambda r: integer(r["n"]), "n", keep=True),
        Column(name, lambda r: _mean_and_sd(r["mean"], r["sd"], places), "mean", keep=True),
        Column(
            f"effect{', points' if in_points else ''} [95 % interval]",
            lambda r: estimate(r["delta"], r["ci_low"], r["ci_high"], places),
            "delta",
            keep=compared,
        ),
        Column("Holm p", lambda r: p_value(r["p_holm"]), "p_holm"),
        Column("verdict", lambda r: r["verdict"], "verdict", numeric=False, keep=compared),
        Column("seeds to decide", lambda r: integer(r["seeds_needed"]), "seeds_needed"),
        Column("sign-flip p", lambda r: p_value(r["p_signflip"]), "p_signflip"),
        Column("effect / sd", lambda r: decimals(r["effect_size"]), "effect_size"),
        Column("seeds better", lambda r: percent(r["better"]), "better"),
        Column("failed or diverged runs", lambda r: integer(r["failed"]), "failed"),
        Column("on training images, %", lambda r: decimals(r["train_accuracy"]), "train_accuracy"),
        Column("parameters", lambda r: si_number(r["params"]), "params"),
        Column("FLOPs per image", lambda r: si_number(r["flops_per_image"]), "flops_per_image"),
        Column("time per run", lambda r: duration(r["time_seconds"]), "time_seconds"),
        Column("images/s", lambda r: si_number(r["images_per_second"]), "images_per_second"),
        Column("published, %", lambda r: decimals(r["published"]), "published"),
        Column("family", lambda r: text_or_dash(r["family"]), "family", numeric=False),
    ]
    base = judgement.selection.baseline or "the baseline"
    moment = "with the lowest validation loss" if judgement.metric in COLUMNS else "at the last epoch"
    caption = f"{_words(judgement.metric).capitalize()} {moment}"
    if compared:
        caption += f", every arm against {base}. Intervals are for this test set; effects also use the runs of {base}"
    caption += ". Training images were scored like test images: last weights, no dropout, no augmentation."
    return Table(
        name="arms",
        title="Comparison of the arms",
        caption=caption,
        frame=frame,
        columns=columns,
        runs=[runs.get(arm, "") for arm in frame["arm"]],
    )


def claim_table(judgement: Judgement) -> Table:
    """What was claimed before the first run, and the verdicts."""
    columns = [
        Column("claim", lambda r: r["claim"], "claim", numeric=False, keep=True, wrap=True),
        Column("verdict", lambda r: r["verdict"], "verdict", numeric=False, keep=True),
        Column("evidence", lambda r: r["evidence"], "evidence", numeric=False, keep=True, wrap=True),
        Column("Holm p", lambda r: p_value(r["p_holm"]), "p_holm", keep=True),
        Column("changed after the start", lambda r: "yes" if r["changed_after_start"] else "no", "changed_after_start"),
    ]
    caption = (
        "Claims of the study file. The testable ones that were not changed after the start are one family: their p "
        "values are adjusted together (Holm). A Holm p is of the difference; not supported rests on equivalence tests."
    )
    return Table(name="claims", title="Claims", caption=caption, frame=judgement.claims, columns=columns)


def main_table(judgement: Judgement) -> Table:
    """Main effects of the factors' levels."""
    places = _places(judgement.metric)
    columns = [
        Column("factor", lambda r: r["factor"], "factor", numeric=False, keep=True),
        Column("level", lambda r: r["level"], "level", numeric=False, keep=True),
        Column("seeds", lambda r: integer(r["n"]), "n", keep=True),
        Column("mean", lambda r: decimals(r["mean"], places), "mean", keep=True),
        Column(
            "effect [95 % interval]",
            lambda r: estimate(r["effect"], r["ci_low"], r["ci_high"], places),
            "effect",
            keep=True,
        ),
        Column("p, unadjusted", lambda r: p_value(r["p"]), "p", keep=True),
    ]
    caption = "Main effects: each level against the baseline's level, averaged over the other factors. Exploratory."
    return Table(
        name="main-effects", title="Main effects", caption=caption, frame=judgement.factorial.main, columns=columns
    )


def interaction_table(judgement: Judgement) -> Table:
    """What two levels together do beyond the sum of what they do alone."""
    places = _places(judgement.metric)
    columns = [
        Column("factors", interaction_name, "factors", numeric=False, keep=True),
        Column("levels", lambda r: r["levels"], "levels", numeric=False, keep=True),
        Column("seeds", lambda r: integer(r["n"]), "n"),
        Column(
            "interaction [95 % interval]",
            lambda r: estimate(r["effect"], r["ci_low"], r["ci_high"], places),
            "effect",
            keep=True,
        ),
        Column("p", lambda r: p_value(r["p"]), "p", keep=True),
        Column("Holm p", lambda r: p_value(r["p_holm"]), "p_holm", keep=True),
    ]
    caption = (
        "Interactions: the effect of both levels together minus the sum of their single effects, on each seed, "
        "with a t interval over seeds. Holm over this table."
    )
    frame = judgement.factorial.interactions
    return Table(name="interactions", title="Interactions", caption=caption, frame=frame, columns=columns)


def saturation_table(judgement: Judgement, rule: str) -> Table:
    """When validation loss stops falling."""
    columns = [
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        Column("seeds", lambda r: integer(r["n"]), "n", keep=True),
        Column(
            "saturation epoch [95 % interval]",
            lambda r: _unsigned(r["epoch"], r["ci_low"], r["ci_high"]),
            "epoch",
            keep=True,
        ),
        Column("still improving in the last epochs", lambda r: integer(r["late"]), "late"),
        Column("epoch of the lowest loss", lambda r: decimals(r["lowest_epoch"], 1), "lowest_epoch", keep=True),
    ]
    caption = (
        f"When the validation loss saturates: {rule}. Mean over seeds. This is relative to a run's own length: longer "
        "training, or another schedule, moves it."
    )
    return Table(name="saturation", title="Saturation", caption=caption, frame=judgement.saturation, columns=columns)


def best_table(judgement: Judgement) -> Table:
    """What it does to choose the epoch with the lowest validation loss."""
    columns = [
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        Column("seeds", lambda r: integer(r["n"]), "n", keep=True),
        Column("last epoch, %", lambda r: decimals(r["final"]), "final", keep=True),
        Column("best epoch, %", lambda r: decimals(r["best"]), "best", keep=True),
        Column(
            "best - last [95 % interval]", lambda r: estimate(r["gain"], r["ci_low"], r["ci_high"]), "gain", keep=True
        ),
        Column(
            "optimism of choosing [95 % interval]",
            lambda r: estimate(r["optimism"], r["optimism_low"], r["optimism_high"]),
            "optimism",
            keep=True,
        ),
    ]
    caption = (
        "Best epoch (lowest validation loss) against the last: test accuracy, and (validation - test) accuracy at the "
        "best epoch minus (validation - test) at the last: what choosing on validation images flatters."
    )
    return Table(name="best-epoch", title="Best epoch", caption=caption, frame=judgement.best, columns=columns)


def image_table(judgement: Judgement) -> Table:
    """The effects seen from the test images."""
    frame = judgement.images
    several, single = bool((frame["pairs"] > 1).any()), bool((frame["pairs"] == 1).any())
    columns = [
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        Column("seeds", lambda r: integer(r["pairs"]), "pairs"),
        Column(
            f"effect [95 % interval for new {'seeds and new images' if several else 'images, these models only'}]",
            lambda r: _image_effect(r, marked=several),
            "delta",
            keep=True,
        ),
        Column("McNemar p", lambda r: p_value(r["mcnemar_p"]), "mcnemar_p"),
        Column("images that change", lambda r: f"{r['changed']:.1f} %", "changed", keep=True),
        Column("gained", lambda r: integer(r["gained"]), "gained", keep=True),
        Column("lost", lambda r: integer(r["lost"]), "lost", keep=True),
        Column("clearest gains, image ids", lambda r: r["gained_ids"] or DASH, "gained_ids", numeric=False),
        Column("clearest losses, image ids", lambda r: r["lost_ids"] or DASH, "lost_ids", numeric=False),
    ]
    drawn = "seed x image bootstrap" if several else "bootstrap of the test images"
    caption = (
        f"Spread over test images ({drawn}), and the images that flip: gained or lost on more than half of the shared "
        "seeds."
    )
    notes = [*([ONE_PAIR] if single else []), _changed_by_chance(frame)]
    return Table(name="images", title="Test images", caption=caption, frame=frame, columns=columns, notes=notes)


def run_table(selection: Selection) -> Table:
    """Every cell with the number by which the other tables cite it."""
    frame = selection.cells.drop(columns=["record", "directory"]).copy()
    frame.insert(0, "run", range(1, len(frame) + 1))
    frame["error"] = [(r.error or {}).get("type", "") for r in selection.cells["record"]]
    columns = [
        Column("run", lambda r: integer(r["run"]), "run", keep=True),
        Column("cell", lambda r: r["cell"], "cell", numeric=False, keep=True),
        Column("status", lambda r: r["status"], "status", numeric=False, keep=True),
        Column("epochs", lambda r: integer(r["epoch"]), "epoch", keep=True),
        Column("last epoch, %", lambda r: decimals(100 * r["final/test/accuracy"]), "final/test/accuracy", keep=True),
        Column("best epoch, %", lambda r: decimals(100 * r["best/test/accuracy"]), "best/test/accuracy", keep=True),
        Column("best epoch", lambda r: integer(r["best/epoch"]), "best/epoch"),
        Column("time", lambda r: duration(r["time_seconds"]), "time_seconds"),
        Column("attempts", lambda r: integer(r["attempts"]), "attempts"),
        Column("error", lambda r: r["error"] or DASH, "error", numeric=False),
    ]
    caption = "Every run of the study, with its test accuracy. The other tables cite the numbers in the first column."
    return Table(name="runs", title="Runs", caption=caption, frame=frame, columns=columns)


def run_numbers(selection: Selection) -> dict[str, str]:
    """Arm -> the numbers of its finished runs in run_table, as ranges: `1-5, 9`."""
    cells = selection.cells
    numbers = pd.Series(range(1, len(cells) + 1), index=cells.index)[cells["status"] == "done"]
    return {arm: format_ranges(list(numbers[cells["arm"] == arm])) for arm in selection.arms}


def estimate(value: float, low: float, high: float, places: int = 2) -> str:
    """`+0.30 [+0.10, +0.50]`, without the brackets when there is no interval."""
    return f"{signed(value, places)} {interval(low, high, places)}".strip()


def _image_effect(row: dict, marked: bool) -> str:
    shown = estimate(row["delta"], row["image_low"], row["image_high"])
    return f"{shown} (these models only)" if marked and row["pairs"] == 1 else shown


def _changed_by_chance(frame: pd.DataFrame) -> str:
    """What the share of images that change is to be held against."""
    usual = frame["changed_between_seeds"].iloc[0]
    if math.isnan(usual):
        return "With one run of the baseline it is not known how many images change by chance."
    return (
        f"Between two seeds of the baseline {usual:.1f} % of the images change by chance. An arm shares the random "
        "streams of the baseline's run of the same seed, so its share may be lower."
    )


def _train_accuracy(selection: Selection, arm: str) -> float:
    """Percent, mean over the finished runs, of the last weights in evaluation mode."""
    done = selection.done()
    return 100 * done.loc[done["arm"] == arm, "final/train/accuracy"].mean()


def _mean_and_sd(mean: float, sd: float, places: int) -> str:
    shown = decimals(mean, places)
    return shown if math.isnan(sd) else f"{shown} {PLUS_MINUS} {decimals(sd, places)}"


def _unsigned(value: float, low: float, high: float) -> str:
    shown = decimals(value, 1)
    return shown if math.isnan(low) else f"{shown} [{decimals(low, 1)}, {decimals(high, 1)}]"


def _places(metric: str) -> int:
    return 2 if display_scale(metric) == 100.0 else 4


def _words(metric: str) -> str:
    part, _, name = metric.partition("/")
    return f"{ {'train': 'training', 'val': 'validation'}.get(part, part) } {name.replace('_', ' ')}".strip()
