"""Simulation of the paired, pooled and Welch errors: false findings, coverage and power, arms spreading alike or not.

    python docs/calibration/pooled.py               # 210 settings x 5,000 studies; writes the files beside it

Model, in standard deviations of one run: run = arm + test images + seed + own. The seed adds ICC of a run's variance to
all arms alike; one arm, or the baseline, spreads `ratio` times as much as the others in its own part. With test-image
noise every arm gains or loses on this test set by an amount (sd IMAGE_SD) that all of its seeds share and that belongs
to what is estimated. Nothing else differs between arms, except for power: there one arm is off by EFFECT.

Estimates, p values, doubts and intervals come from the functions that judge a report (vitsweep.significance and
analysis.statistics.paired); only runs and counting are made here. Dunnett's step-down test is decided by its critical
values, which tests/significance/test_dunnett.py shows to be the decisions of the report's p values.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from vitsweep.analysis.report.figures import Figure, save_svg
from vitsweep.analysis.statistics.paired import ALPHA, holm
from vitsweep.analysis.style import MARKERS

from vitsweep.significance.declared import Comparison
from vitsweep.significance.dunnett import step_down_rejects
from vitsweep.significance.estimates import Estimates, against_baseline, estimate_contrasts
from vitsweep.significance.pooling import FEW_SEEDS, declared_contrasts, doubtful_contrasts, own_error, spread_ratios

FOLDER = Path(__file__).resolve().parent
SEEDS = (3, 4, 5, 6, 8, 10, 12)
ARMS = (3, 6, 12)
SPREADS = (("all alike", 1.0), ("baseline", 2.0), ("baseline", 3.0), ("one arm", 2.0), ("one arm", 3.0))
ICC, IMAGE_SD, EFFECT = 0.1, 0.5, 3.0
DRAWS = 5000
RATES = {
    "false_pooled": "pooled",
    "false_without_doubt": "pooled, no doubt stated",
    "doubted": "studies with a doubtful arm",
    "false_paired": "paired",
    "false_welch": "Welch",
}
PAGE = """# Does a pooled error keep its promises, and when does a report doubt it?

`python docs/calibration/pooled.py` simulates {settings} settings (seeds {seeds}; {arms} arms against a baseline; the
runs of all arms spread alike, or those of the baseline or of one arm two or three times as much; without and with
test-image noise that an arm's seeds share) with {draws:,} studies each and writes this page, `pooled.csv` and the
figure. A seed adds {icc:.0%} of a run's variance to all arms alike. The largest Monte-Carlo standard error is {error}
points. What is simulated are the runs; estimates, p values, intervals, doubts and the change to the paired error are
those functions of `vitsweep.significance` that a report calls.

## False findings

Percent of studies without any difference in which at least one arm is called different; lowest to highest over numbers
of arms and test-image noise. At most 5 is promised.

{false}

- **Pooled**: step-down Dunnett on the pooled error; where an arm's spread differs beyond doubt (F test, p < 0.001) the
  paired error decides its comparisons instead.
- **Pooled, no doubt stated**: false findings beside which the report states no doubt. A verdict is doubted if the
  baseline's runs spread more than {baseline_doubt:g} times as much as the other arms' (seeds' part removed), if its
  own arm's spread more than {arm_doubt:g} times as much, and always below {few} seeds, which cannot show how arms
  spread.
- **Studies with a doubtful arm**: how often a doubt is stated about at least one arm of {few} seeds and more.
- **Paired, Welch**: the same studies under the two other errors, with Holm's correction.

So the pooled error is for arms that spread alike, and its doubts are to be taken seriously: with a baseline that
spreads two or three times as much, up to {worst:.0f} of 100 studies have a false finding, nearly all of them doubted.

<img src="pooled.svg"
alt="False findings by number of seeds and error">

## Power

Percent of studies in which the one arm that is off by {effect:g} standard deviations of a run is found; all arms spread
alike.

{power}

## Coverage

Percent, all arms spread alike; lowest to highest over test-image noise and seeds. **Each**: intervals that contain
their arm's effect. **Jointly**: studies in which all intervals of the arms do, for the intervals of the comparison
table and for the wider ones of the forest plot (Dunnett's under the pooled error, Bonferroni's under the paired one).
**Detectable effect**: studies in which the interval of the detectable effect under the pooled error contains the
effect that is found in 80 % of studies.

{coverage}

Where spreads differ, pooled intervals are too narrow as well: without a doubt stated, {missed} percent of the intervals
miss their effect (at least {few} seeds; lowest to highest over all settings).
"""


def simulate(seeds: int, arms: int, wide: str, ratio: float, noise: bool, draws: int = DRAWS) -> dict:
    """Simulate one setting and return its rates, those of studies with Monte-Carlo standard errors (`_se`).

    Args:
        seeds: of every arm.
        arms: compared with the baseline.
        wide: the arm that spreads `ratio` times as much: all alike, baseline or one arm.
        noise: whether there is test-image noise.
    """
    rng = np.random.default_rng([seeds, arms, len(wide), round(10 * ratio), noise])
    sd_A = np.full(arms + 1, math.sqrt(1 - ICC))
    if wide != "all alike":
        sd_A[0 if wide == "baseline" else 1] *= ratio
    effect_DA = rng.normal(0, IMAGE_SD * noise, (draws, arms + 1))
    value_DSA = rng.normal(size=(draws, seeds, arms + 1)) * sd_A + rng.normal(0, math.sqrt(ICC), (draws, seeds, 1))
    row = {"seeds": seeds, "arms": arms, "wide": wide, "ratio": ratio, "image_noise": int(noise), "draws": draws}
    hits = false_findings(value_DSA) | coverage(value_DSA + effect_DA[:, None], effect_DA)
    if wide == "all alike":
        hits |= power(value_DSA) | {"covers_detectable": covers_detectable(value_DSA)}
    for name, hit_D in hits.items():
        row |= {name: hit_D.mean(), f"{name}_se": hit_D.std(ddof=1) / math.sqrt(draws)}
    return row


def verdicts(value_DSA: np.ndarray) -> tuple[np.ndarray, Estimates, np.ndarray]:
    """Return which arms the pooled rule calls different (D, A), its estimates, and which arms it doubts."""
    seeds, number = value_DSA.shape[1:]
    weight_CA = against_baseline(number)
    spreads = spread_ratios(value_DSA)
    found = declared_contrasts(value_DSA, weight_CA, "pooled", spreads)
    is_own_DA = own_error(spreads, weight_CA)
    freedom = float((seeds - 1) * (number - 1))
    differs_DA = np.where(is_own_DA, holm(found.p()) < ALPHA, step_down_rejects(found.t, freedom))
    return differs_DA, found, doubtful_contrasts(spreads, weight_CA) | (seeds < FEW_SEEDS)


def false_findings(value_DSA: np.ndarray) -> dict[str, np.ndarray]:
    """Return per study whether at least one arm is called different, under each error."""
    differs_DA, _, is_doubtful_DA = verdicts(value_DSA)
    found = {"false_pooled": differs_DA, "false_without_doubt": differs_DA & ~is_doubtful_DA, "doubted": is_doubtful_DA}
    for error in ("paired", "welch"):
        found[f"false_{error}"] = rejects(value_DSA, error)
    return {name: hit_DA.any(axis=1).astype(float) for name, hit_DA in found.items()}


def rejects(value_DSA: np.ndarray, error: str) -> np.ndarray:
    """Return which arms differ from the baseline under an error after Holm, (D, A)."""
    return holm(estimate_contrasts(value_DSA, against_baseline(value_DSA.shape[2]), error).p()) < ALPHA


def power(value_DSA: np.ndarray) -> dict[str, np.ndarray]:
    """Return per study whether an arm that is off by EFFECT is found, under each error."""
    shifted_DSA = value_DSA.copy()
    shifted_DSA[..., 1] += EFFECT
    found = {f"power_{error}": rejects(shifted_DSA, error) for error in ("paired", "welch", "pooled")}
    found["power_dunnett"] = verdicts(shifted_DSA)[0]
    return {name: hit_DA[:, 0].astype(float) for name, hit_DA in found.items()}


def coverage(value_DSA: np.ndarray, effect_DK: np.ndarray) -> dict[str, np.ndarray]:
    """Return per study the share of intervals that cover, and whether all of them do.

    Args:
        effect_DK: true value of the baseline and of each arm on this test set.
    """
    _, seeds, number = value_DSA.shape
    truth_DA = effect_DK[:, 1:] - effect_DK[:, :1]
    _, pooled, is_doubtful_DA = verdicts(value_DSA)
    hits = {}
    for error, found in (
        ("pooled", pooled),
        ("paired", estimate_contrasts(value_DSA, against_baseline(number), "paired")),
    ):
        joint = Comparison(error=error, arms=number - 1).bound(seeds)
        for name, bound in (("single", None), ("joint", joint)):
            low_DA, high_DA = found.interval(bound)
            inside_DA = (low_DA <= truth_DA) & (truth_DA <= high_DA)
            if name == "single":
                hits[f"covers_{error}"] = inside_DA.mean(axis=1)
                hits[f"covers_all_{error}"] = inside_DA.all(axis=1).astype(float)
                if error == "pooled":
                    hits["misses_without_doubt"] = (~inside_DA & ~is_doubtful_DA).mean(axis=1)
            else:
                hits[f"covers_jointly_{error}"] = inside_DA.all(axis=1).astype(float)
    return hits


def covers_detectable(value_DSA: np.ndarray) -> np.ndarray:
    """Return per study whether the interval of the detectable effect under the pooled error contains the true one."""
    from vitsweep.significance.power import spread_interval

    _, seeds, number = value_DSA.shape
    found = estimate_contrasts(value_DSA, against_baseline(number), "pooled")
    asked, freedom = Comparison(error="pooled", arms=number - 1), float((seeds - 1) * (number - 1))
    truth = asked.detectable_effect(seeds, math.sqrt(2 * (1 - ICC)))
    low, high = (asked.detectable_effect(seeds, sd) for sd in spread_interval(1.0, freedom))
    sd_D = found.error[:, 0] * math.sqrt(seeds)
    return ((low * sd_D <= truth) & (truth <= high * sd_D)).astype(float)


def broken(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each promise that a setting breaks by more than two standard errors of its own."""
    lines = []
    for row in table.to_dict("records"):
        name = f"{row['seeds']} seeds, {row['arms']} arms, {row['wide']} {row['ratio']:g}, noise {row['image_noise']}"
        upper = ["false_without_doubt", "misses_without_doubt", "false_paired", "false_welch"]
        upper += ["false_pooled"] if row["wide"] == "all alike" else []
        lines += [f"{name}: {key} {row[key]:.4f}" for key in upper if row[key] > ALPHA + 2 * row[f"{key}_se"] + 1e-12]
    return lines


def span(rows: pd.DataFrame, name: str, digits: int = 1) -> str:
    """Return `4.6 to 5.1`, in percent."""
    low, high = (f"{100 * end:.{digits}f}" for end in (rows[name].min(), rows[name].max()))
    return low if low == high else f"{low} to {high}"


def markdown(rows: list[dict[str, str]]) -> str:
    """Return a table in Markdown, all columns to the right."""
    lines = [list(rows[0]), ["---:"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(table: pd.DataFrame) -> str:
    """Return the page; every number in it comes from the table."""
    from vitsweep.significance.pooling import ARM_DOUBT, BASELINE_DOUBT

    false, powers, covers = [], [], []
    for (wide, ratio), group in table.groupby(["wide", "ratio"], sort=False):
        for few, rows in ((True, group[group["seeds"] < FEW_SEEDS]), (False, group[group["seeds"] >= FEW_SEEDS])):
            who = wide if wide == "all alike" else f"{wide} {ratio:g} times"
            seeds = f"3 to {FEW_SEEDS - 1}" if few else f"{FEW_SEEDS} to {max(SEEDS)}"
            rates = {text: span(rows, name) for name, text in RATES.items()}
            rates |= {RATES["doubted"]: "all"} if few else {}
            false.append({"spread": who, "seeds": seeds} | rates)
    alike = table[table["wide"] == "all alike"]
    names = {"paired": "paired", "welch": "Welch", "pooled": "pooled, Holm", "dunnett": "pooled, Dunnett"}
    for seeds, rows in alike[(alike["arms"] == 6) & (alike["seeds"] < 10)].groupby("seeds"):
        powers.append(
            {"seeds, 6 arms": str(seeds)} | {text: span(rows, f"power_{name}", 0) for name, text in names.items()}
        )
    for arms, rows in alike.groupby("arms"):
        row = {"arms": str(arms)}
        for error in ("paired", "pooled"):
            row[f"{error}, each"] = span(rows, f"covers_{error}")
            row[f"{error}, jointly"] = span(rows, f"covers_all_{error}")
            row[f"{error}, jointly, forest plot"] = span(rows, f"covers_jointly_{error}")
        covers.append(row | {"detectable effect": span(rows, "covers_detectable")})
    return PAGE.format(
        settings=len(table),
        seeds=", ".join(map(str, SEEDS)),
        arms=", ".join(map(str, ARMS)),
        draws=int(table["draws"].iloc[0]),
        icc=ICC,
        error=f"{100 * max(table[name].max() for name in table if name.endswith('_se')):.2f}",
        false=markdown(false),
        power=markdown(powers),
        coverage=markdown(covers),
        effect=EFFECT,
        few=FEW_SEEDS,
        baseline_doubt=BASELINE_DOUBT,
        arm_doubt=ARM_DOUBT,
        worst=100 * table["false_pooled"].max(),
        missed=span(table[table["seeds"] >= FEW_SEEDS], "misses_without_doubt"),
    )


def figure(table: pd.DataFrame) -> Figure:
    """Return the figure of false findings by seeds, a panel for each spread of the baseline."""

    def draw(canvas, color):
        axes = canvas.subplots(1, 3, sharey=True)
        for ax, ratio in zip(axes, (1.0, 2.0, 3.0), strict=True):
            rows = table[(table["ratio"] == ratio) & table["wide"].isin(["all alike", "baseline"])]
            ax.axhline(5, color=color["soft"], linewidth=1)
            for number, name in enumerate(("false_pooled", "false_without_doubt", "false_paired"), start=1):
                place = rows["seeds"] + 0.25 * (number - 2)
                ax.plot(
                    place, 100 * rows[name], MARKERS[number], color=color[f"s{number}"], markersize=4, label=RATES[name]
                )
            ax.set_title(f"baseline spreads {ratio:g} times" if ratio > 1 else "all spread alike")
            ax.set_xlabel("seeds")
        axes[0].set_ylabel("studies with a false finding, %")
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower left", ncols=3)

    worst = 100 * table["false_pooled"].max()
    return Figure(
        name="pooled",
        title="False findings under the pooled and the paired error",
        caption="A mark for each setting of arms and test-image noise.",
        alt=f"False findings by seeds; pooled ones rise to {worst:.0f} % where the baseline spreads more, paired ones "
        "and pooled ones without a doubt stay at 5 %.",
        table=table,
        size=(9, 3.8),
        draw=draw,
    )


def main() -> int:
    """Run all settings, write pooled.csv, pooled.md and the figure, and return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    draws = parser.parse_args().draws
    settings = itertools.product(SEEDS, ARMS, SPREADS, (False, True))
    rows = [simulate(seeds, arms, wide, ratio, noise, draws) for seeds, arms, (wide, ratio), noise in settings]
    pd.DataFrame(rows).to_csv(FOLDER / "pooled.csv", index=False, float_format="%.6g", lineterminator="\n")
    table = pd.read_csv(FOLDER / "pooled.csv")
    (FOLDER / "pooled.md").write_text(page(table), encoding="utf-8", newline="\n")
    save_svg(figure(table), FOLDER)
    lines = broken(table)
    print(*(lines or [f"{len(table)} settings of {draws:,} studies keep every promise"]), sep="\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
