"""Simulation of studies that are judged at looks: error rates, coverage, and what training until decided saves.

    python docs/calibration/sequential.py           # some minutes of one core; writes the files beside it

Model: the result of a run is the mean of its arm plus a part of its seed, which all arms share, plus a part of its own;
their variances are ICC and 1 - ICC of a run of spread 1. What an arm gains or loses on this one test set is the same
for all of its seeds; it is drawn for every arm, and belongs to what an interval estimates.
The judge is vitsweep/significance/sequential.py: `simulate` has the bounds, estimates, Holm procedure and futility rule
with which a sweep stops arms and a report gives its verdicts.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from vitsweep.analysis.report.figures import Figure, save_svg
from vitsweep.analysis.style import MARKERS

from vitsweep.significance.estimates import estimate_contrasts
from vitsweep.significance.pooling import declared_contrasts, spread_ratios
from vitsweep.significance.sequential import EFFECTS, Looks, draw_studies, simulate
from vitsweep.significance.spending import nominal_levels

FOLDER = Path(__file__).resolve().parent
ARMS = (3, 6, 12)
SCHEDULES = {
    "after each of 3 to 12 seeds": Looks(seeds=tuple(range(3, 13)), spending="obrien_fleming"),
    "after 3, 5, 10 seeds": Looks(seeds=(3, 5, 10), spending="constant"),
}
SPREADS = {"equal": (1.0, 1.0), "baseline x 3": (3.0, 1.0), "one arm x 3": (1.0, 3.0)}
"""Spread of the baseline and of the first arm, the others 1."""
ICC, IMAGE_SD = 0.1, 0.5
DRAWS, COST_DRAWS, CHUNK = 5_000, 2_000, 2_500
COST_ARMS, FIXED_SEEDS = 6, tuple(range(3, 31))
DESIGNS = ((8, "obrien_fleming"), (12, "obrien_fleming"), (12, "pocock"))
"""Most seeds, and the spending of the error."""
README = """# Studies judged at looks: do errors and intervals hold, and what does training until decided save?

`python docs/calibration/sequential.py` simulates {settings} settings with {draws:,} studies each and {cost_draws:,} for
each row of the second table, and writes this page, `sequential.csv`, `sequential_cost.csv` and the figure. Its judge is
the function that a sweep with `sweep.until=decided` and its report call. Results of runs are normal, every run
finishes, arms differ on this test set by {image_sd} standard deviations of a run beside the effect, ICC {icc}.

## Errors over all looks

Percent. **Family error**: studies of which some arm is called different at some look although none is; every look is
made with every arm, whatever is futile or decided. **With stops**: the same while arms stop, so that the pooled error
loses them (not simulated for pooled with unequal spreads). **Without a warning**: verdicts at which no report warns
of unequal spreads. **Coverage**: intervals that held at all looks together, mean over arms. At most 5, and at least 95,
is promised wherever no warning is given; the largest Monte-Carlo standard error is {error} points.

{errors}

## Runs until decided

{cost_arms} arms and the baseline, ICC {icc}, pooled error, looks after each seed from the third to the most, no ROPE.
**Equal power** is matched at an effect of 2 standard deviations of a run: the fixed design has as many seeds of every
arm, between two whole numbers where need be, as give the paired test with Holm the power that the sequential study has
there. `found` is that power, `runs` the mean number of runs, the baseline's included, and `of fixed` their share.

{costs}

Averaged over effects of 0, 1, 2 and 4 standard deviations, training until decided takes {one} of the runs of the
fixed paired design if one arm differs, and {every} if all six do: then the fixed design gains from Holm's later
steps too, and no arm is futile. At equal power at 2, effects of 1 are found in {weak_low} to {weak_high} % of cases, by
the fixed design in {fixed_low} to {fixed_high} %.

The bound of p for looks after 3, 5 and 10 seeds that is the same at each look is {constant:.4f}.

<img src="sequential.svg"
alt="Mean number of runs by effect, sequential and fixed">
"""


def simulate_errors(arms: int, schedule: str, error: str, spread: str, draws: int = DRAWS, seed: int = 0) -> dict:
    """Simulate studies without any effect and return their error rates and coverage, each with its standard error."""
    looks = SCHEDULES[schedule]
    rng = np.random.default_rng([seed, arms, len(schedule), len(error), len(spread)])
    parts = [_errors(rng, arms, looks, error, spread, min(CHUNK, draws - done)) for done in range(0, draws, CHUNK)]
    row: dict = {"arms": arms, "looks": schedule, "error": error, "spread": spread, "draws": draws}
    for name in parts[0]:
        hit_D = np.concatenate([part[name] for part in parts])
        row |= {name: hit_D.mean(), f"{name}_se": hit_D.std(ddof=1) / np.sqrt(draws)}
    return row


def _errors(rng: np.random.Generator, arms: int, looks: Looks, error: str, spread: str, D: int) -> dict:
    baseline, first = SPREADS[spread]
    spread_A = np.array([baseline, first, *[1.0] * (arms - 1)])
    value_SA = draw_studies(rng, D, np.zeros(arms + 1), looks.last, ICC, spread_A)
    image_A = rng.normal(0, IMAGE_SD, (D, 1, arms + 1))
    guards = error == "pooled" and spread != "equal"
    estimate = declared_contrasts if guards else estimate_contrasts
    every = simulate(value_SA, np.zeros(arms), looks, error, stops=False, estimate=estimate)
    stopped = simulate(value_SA, np.zeros(arms), looks, error, estimate=estimate_contrasts) if not guards else every
    # On a test set of its own an arm's true difference is what its images give it.
    shown = simulate(
        value_SA + image_A, (image_A[:, 0, 1:] - image_A[:, 0, :1]), looks, error, stops=False, estimate=estimate
    )
    doubtful_A = spread_ratios(value_SA).is_doubtful() if error == "pooled" else np.zeros((D, arms + 1), bool)
    is_warned_H = doubtful_A[:, 1:] | doubtful_A[:, :1]
    return {
        "family_error": every.found_H.any(axis=1).astype(float),
        "with_stops": stopped.found_H.any(axis=1).astype(float),
        "without_warning": (every.found_H & ~is_warned_H).any(axis=1).astype(float),
        "coverage": shown.covered_H.mean(axis=1),
    }


def simulate_costs(last: int, spending: str, draws: int = COST_DRAWS) -> list[dict]:
    """Compare studies of at most `last` seeds with the fixed paired design of equal power; a row for each effect."""
    looks, rows = Looks(seeds=tuple(range(3, last + 1)), spending=spending), []
    for differing in (1, COST_ARMS):
        power = _run(looks, 2.0, differing, "pooled", draws).found
        fixed = {
            n: _run(Looks(seeds=(n,), spending="constant"), 2.0, differing, "paired", draws).found for n in FIXED_SEEDS
        }
        seeds = float(np.interp(power, np.maximum.accumulate(list(fixed.values())), FIXED_SEEDS))
        for effect in EFFECTS:
            course = _run(looks, effect, differing, "pooled", draws)
            near = [
                _run(Looks(seeds=(n,), spending="constant"), effect, differing, "paired", draws).found
                for n in (int(seeds), int(seeds) + 1)
            ]
            share = seeds - int(seeds)
            rows.append(
                {
                    "max_seeds": last,
                    "spending": spending,
                    "differing": "one arm" if differing == 1 else "all arms",
                    "effect": effect,
                    "found": course.found,
                    "runs": course.runs,
                    "fixed_seeds": seeds,
                    "fixed_found": (1 - share) * near[0] + share * near[1],
                    "fixed_runs": seeds * (COST_ARMS + 1),
                    "draws": draws,
                }
            )
    return rows


class _Course:
    def __init__(self, found: float, runs: float):
        self.found, self.runs = found, runs


def _run(looks: Looks, effect: float, differing: int, error: str, draws: int) -> _Course:
    """Simulate studies in which the first arms differ; without an effect, found is the share with any finding."""
    true_A = np.zeros(COST_ARMS + 1)
    true_A[1 : 1 + differing] = effect
    rng = np.random.default_rng([looks.last, differing, round(10 * effect)])
    value_SA = draw_studies(rng, draws, true_A, looks.last, ICC, np.ones(COST_ARMS + 1))
    done = simulate(value_SA, true_A[1:], looks, error, estimate=estimate_contrasts)
    found = done.found_H[:, :differing].mean() if effect else done.found_H.any(axis=1).mean()
    return _Course(float(found), float(done.runs.mean()))


def error_settings() -> list[tuple]:
    """Return arms, looks, error and spread of each setting."""
    settings = itertools.product(ARMS, SCHEDULES, ("paired", "pooled", "welch"), SPREADS)
    return list(settings)


def verdict(errors: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    """Return a sentence for each promise that a setting breaks; [] when all are kept."""
    broken = []
    for row in errors.to_dict("records"):
        name = f"{row['arms']} arms, {row['looks']}, {row['error']}, {row['spread']}"
        promised = "without_warning" if row["error"] == "pooled" else "family_error"
        # Two standard errors, and one setting in 40 by chance: three.
        if row[promised] > 0.05 + 3 * row[f"{promised}_se"]:
            broken.append(f"{name}: {promised} {row[promised]:.4f}")
        if row["spread"] == "equal" and row["with_stops"] > 0.05 + 3 * row["with_stops_se"]:
            broken.append(f"{name}: with stops {row['with_stops']:.4f}")
        is_warned = row["error"] == "pooled" and row["spread"] != "equal"
        if not is_warned and row["coverage"] < 0.95 - 3 * row["coverage_se"]:
            broken.append(f"{name}: coverage {row['coverage']:.4f}")
    for name, share in run_shares(costs).items():
        if share > (0.5 if name.endswith("one arm") else 0.6):
            broken.append(f"{name}: {share:.2f} of the fixed design's runs")
    return broken


def run_shares(costs: pd.DataFrame) -> dict[str, float]:
    """Return design and arms that differ -> runs over the fixed design's, averaged over the effects."""
    groups = costs.groupby(["max_seeds", "spending", "differing"])
    return {f"{last} {kind}, {who}": g["runs"].sum() / g["fixed_runs"].sum() for (last, kind, who), g in groups}


def readme(errors: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Return the page that states the figures; every number in it comes from the tables."""
    shares = {
        who: [100 * share for name, share in run_shares(costs).items() if name.endswith(who)]
        for who in ("one arm", "all arms")
    }
    weak = costs[costs["effect"] == 1.0]
    return README.format(
        settings=len(errors),
        draws=int(errors["draws"].iloc[0]),
        cost_draws=int(costs["draws"].iloc[0]),
        icc=ICC,
        image_sd=IMAGE_SD,
        cost_arms=COST_ARMS,
        error=f"{100 * max(errors[name].max() for name in errors if name.endswith('_se')):.2f}",
        errors=_markdown(_error_rows(errors)),
        costs=_markdown(_cost_rows(costs)),
        one=f"{min(shares['one arm']):.0f} to {max(shares['one arm']):.0f} %",
        every=f"{min(shares['all arms']):.0f} to {max(shares['all arms']):.0f} %",
        weak_low=f"{100 * weak['found'].min():.0f}",
        weak_high=f"{100 * weak['found'].max():.0f}",
        fixed_low=f"{100 * weak['fixed_found'].min():.0f}",
        fixed_high=f"{100 * weak['fixed_found'].max():.0f}",
        constant=nominal_levels((3, 5, 10), "constant")[0],
    )


def _error_rows(errors: pd.DataFrame) -> list[list[str]]:
    names = {
        "family_error": "family error",
        "with_stops": "with stops",
        "without_warning": "without a warning",
        "coverage": "coverage",
    }
    rows = [["looks", "error", "spreads", *names.values()]]
    for (looks, error, spread), group in errors.groupby(["looks", "error", "spread"], sort=False):
        spans = [f"{100 * group[name].min():.1f} to {100 * group[name].max():.1f}" for name in names]
        rows.append([looks, error, spread, *spans])
    return rows


def _cost_rows(costs: pd.DataFrame) -> list[list[str]]:
    rows = [
        [
            "at most",
            "spending",
            "differs",
            "effect, sd",
            "found, %",
            "runs",
            "fixed seeds",
            "found, %",
            "runs",
            "of fixed, %",
        ]
    ]
    for row in costs.to_dict("records"):
        rows.append(
            [
                f"{row['max_seeds']} seeds",
                row["spending"],
                row["differing"],
                f"{row['effect']:g}",
                f"{100 * row['found']:.0f}",
                f"{row['runs']:.1f}",
                f"{row['fixed_seeds']:.1f}",
                f"{100 * row['fixed_found']:.0f}",
                f"{row['fixed_runs']:.1f}",
                f"{100 * row['runs'] / row['fixed_runs']:.0f}",
            ]
        )
    return rows


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " ---: |" * len(rows[0]), *lines[1:]])


def figure(costs: pd.DataFrame) -> Figure:
    """Return the figure of mean runs by effect, sequential and fixed."""

    def draw(canvas, color):
        axes = canvas.subplots(1, 2, sharey=True)
        for ax, (last, spending) in zip(axes, DESIGNS[:2], strict=True):
            for number, who in enumerate(("one arm", "all arms"), start=1):
                own = (costs["max_seeds"] == last) & (costs["spending"] == spending)
                rows = costs[own & (costs["differing"] == who)]
                paint = {"color": color[f"s{number}"], "markersize": 5}
                ax.plot(rows["effect"], rows["runs"], f"{MARKERS[number]}-", label=f"until decided, {who}", **paint)
                ax.plot(
                    rows["effect"], rows["fixed_runs"], f"{MARKERS[number]}:", label=f"fixed paired, {who}", **paint
                )
            ax.set_title(f"at most {last} seeds")
            ax.set_xlabel("effect, standard deviations of a run")
            ax.set_xticks(EFFECTS)
        axes[0].set_ylabel("runs")
        axes[0].set_ylim(bottom=0)
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower left", ncols=2)

    return Figure(
        name="sequential",
        title="Runs until decided",
        caption="Mean number of runs of a study of six arms; the fixed design has equal power at an effect of 2.",
        alt="Mean number of runs by effect; until decided it is about half of the fixed design's or less.",
        table=costs,
        size=(9, 4.4),
        draw=draw,
    )


def main() -> int:
    """Run all settings, write the tables, the page and the figure, and return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    draws = parser.parse_args().draws
    errors = pd.DataFrame([simulate_errors(*setting, draws=draws) for setting in error_settings()])
    rows = [row for design in DESIGNS for row in simulate_costs(*design, min(draws, COST_DRAWS))]
    for table, name in ((errors, "sequential"), (pd.DataFrame(rows), "sequential_cost")):
        table.to_csv(FOLDER / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    # What is stated is what the files say, rounded like them, so that a test can compare the two.
    errors, costs = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("sequential", "sequential_cost"))
    (FOLDER / "sequential.md").write_text(readme(errors, costs), encoding="utf-8", newline="\n")
    save_svg(figure(costs), FOLDER)
    broken = verdict(errors, costs)
    print(*(broken or [f"{len(errors)} settings of {draws:,} studies keep every promise"]), sep="\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
