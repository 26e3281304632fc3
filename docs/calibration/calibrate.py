"""Simulation of the report's paired t intervals, Holm's family error and stated power, calling its functions.

    python docs/calibration/calibrate.py            # 96 settings x 50,000 studies; writes the files beside it

Model, in percent points: run accuracy = arm + test images + seed. Each paired difference of two runs has variance
2 * sd**2, half of it new with each seed, half of it from which images a seed happens to get right. With test-image
noise every arm also gains or loses on this test set by an amount that all of its seeds share (sd IMAGE_SD); it belongs
to what the interval estimates (this test set), and is an error for what it does not (new test images). What all arms
share, the difficulty of the test set, cancels in every paired difference and is therefore not drawn.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from vitsweep.analysis.report.figures import Figure, save_svg
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.examples import two_way_interval
from vitsweep.analysis.style import MARKERS

from vitsweep.significance.power import detectable_effect

FOLDER = Path(__file__).resolve().parent
SEEDS = (3, 5, 8, 10)
ARMS = (3, 6, 12)
SEED_SD = (0.1, 0.2, 0.3, 0.5)
IMAGE_SD = 0.2
IMAGES = 10_000
DRAWS = 50_000
COVERAGES = {
    "coverage_this_test_set": "t interval, for this test set (its stated estimand)",
    "coverage_new_images_two_way": "seed x image interval, for new test images",
    "coverage_new_images_t": "t interval, misread as being for new test images",
}
RATES = {
    "coverage_this_test_set": "t interval, this test set",
    "family_error": "family error",
    "power_at_detectable": "power at the detectable effect",
    "coverage_new_images_two_way": "seed x image interval, new images",
    "coverage_new_images_t": "t interval, new images",
    "family_error_new_images_t": "family error, new images",
}
README = """# Do the report's paired t intervals, Holm's family error, power and intervals for new images hold?

`python docs/calibration/calibrate.py` simulates {settings} settings (3, 5, 8, 10 seeds; 3, 6, 12 arms; seed standard
deviation 0.1, 0.2, 0.3, 0.5 points; without and with test-image noise of {sd} points) with {draws:,} studies each,
calls the functions that the report uses, and writes this page, `calibration.csv` and the figure. Percent, lowest to
highest over arms and spreads; the largest Monte-Carlo standard error is {error} points. Differences are normal, all
arms spread alike, every seed finishes and the data are judged once. Not simulated here: verdicts of equivalence and of
claims, main effects and interactions, one or two seeds, seeds that diverge, looks in between. Saturation epochs have a
page of their own, [saturation.md](saturation.md), and so has the spread of averaged weights on real runs,
[averaging.md](averaging.md).

Simulated elsewhere: [main effects, claims of equality and seeds that diverge](questions.md).
Pooled and Welch errors, and arms that spread differently, are simulated in [pooled.md](pooled.md).
Looks in between are simulated in [sequential.md](sequential.md).

{table}

- **t interval, this test set**: the interval of the comparison table, for what it states to estimate. 95 is promised.
- **Family error**: at least one arm called different when none is, after Holm. At most 5 is promised.
- **Power at the detectable effect**: how often the one arm that differs by the stated minimum detectable effect is
  found. 80 is promised.
- **Seed x image interval, new images**: the thin line of the forest plot. It is meant to hold for other test images
  too, and is somewhat wide where test images add nothing: it is never narrower than the t interval.
- **t interval, new images; family error, new images**: what happens to somebody who reads the comparison table as a
  statement about other test images. It fails, the more so the more seeds there are, because seeds do not average the
  test set's own chance away. Read the thin line for that.

<img src="coverage.svg"
alt="Coverage of the 95 % intervals by number of seeds">
"""
CHUNK = 10_000


def simulate(n: int, arms: int, sd: float, shared: bool, draws: int = DRAWS, seed: int = 0) -> dict[str, float]:
    """Simulate one setting and return its rates, each with its Monte-Carlo standard error (`_se`).

    Args:
        n: seeds of every arm.
        arms: arms compared with the baseline.
        sd: standard deviation of one arm's accuracy over seeds, percent points.
        shared: whether there is test-image noise.
    """
    rng = np.random.default_rng([seed, n, arms, round(1000 * sd), int(shared)])
    parts = [_one_chunk(rng, n, arms, sd, shared, min(CHUNK, draws - k)) for k in range(0, draws, CHUNK)]
    hits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rates: dict[str, float] = {"seeds": n, "arms": arms, "seed_sd": sd, "image_noise": int(shared), "draws": draws}
    for name, hit_D in hits.items():
        # Arms of one study share the baseline's runs, so a study is one draw.
        rates |= {name: hit_D.mean(), f"{name}_se": hit_D.std(ddof=1) / np.sqrt(draws)}
    return rates | {"detectable_effect": detectable_effect(n, sd * np.sqrt(2), arms)}


def _one_chunk(rng: np.random.Generator, n: int, arms: int, sd: float, shared: bool, D: int) -> dict[str, np.ndarray]:
    """Return per study (first axis, D) the share of arms, or 1.0 where the event happened."""
    run_DAS = rng.normal(0, sd, (D, arms + 1, n))
    noise_DAS = run_DAS[:, 1:] - run_DAS[:, :1]
    own_DA = rng.normal(0, IMAGE_SD * shared, (D, arms + 1))
    on_test_DA = own_DA[:, 1:] - own_DA[:, :1]
    # Nothing is true for new images, so the effect on this test set is what its images happen to give.
    difference_DAS = noise_DAS + on_test_DA[..., None]
    _, low_DA, high_DA = stats.mean_interval(difference_DAS)
    effect = detectable_effect(n, sd * np.sqrt(2), arms)
    found_DAS = noise_DAS.copy()
    found_DAS[:, 0] += effect
    wide_low_DA, wide_high_DA = _two_way(rng, difference_DAS, sd, shared)
    return {
        "coverage_this_test_set": ((low_DA <= on_test_DA) & (on_test_DA <= high_DA)).mean(axis=1),
        "family_error": (_holm(noise_DAS) < stats.ALPHA).any(axis=1).astype(float),
        "power_at_detectable": (_holm(found_DAS)[:, 0] < stats.ALPHA).astype(float),
        "coverage_new_images_t": ((low_DA <= 0) & (0 <= high_DA)).mean(axis=1),
        "coverage_new_images_two_way": ((wide_low_DA <= 0) & (0 <= wide_high_DA)).mean(axis=1),
        "family_error_new_images_t": (_holm(difference_DAS) < stats.ALPHA).any(axis=1).astype(float),
    }


def _holm(difference_DAS: np.ndarray) -> np.ndarray:
    return stats.holm(stats.p_paired(difference_DAS))


def _two_way(rng: np.random.Generator, difference_DAS: np.ndarray, sd: float, shared: bool):
    """Return the seed x image interval, its image mean squares drawn from their chi-square laws instead of 10,000
    images each.

    In a normal two-way layout they are independent of the means, so this is exact; it stands for the bootstrap, whose
    expected variance it is.
    """
    D, A, n = difference_DAS.shape
    residual = sd**2 / n
    image = 2 * (IMAGE_SD * shared) ** 2 + residual
    seed_DA = difference_DAS.var(axis=-1, ddof=1) / n
    image_DA = image * rng.chisquare(IMAGES - 1, (D, A)) / (IMAGES - 1)
    freedom = (n - 1) * (IMAGES - 1)
    rest_DA = residual * rng.chisquare(freedom, (D, A)) / freedom
    variance_DA = np.maximum(seed_DA + image_DA - rest_DA, np.maximum(seed_DA, image_DA))
    _, low, high = two_way_interval(difference_DAS.mean(axis=-1), variance_DA, seed_DA, image_DA, n, IMAGES)
    return low, high


def verdict(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each promise that a setting breaks; [] when all are kept."""
    broken = []
    for row in table.to_dict("records"):
        name = f"{row['seeds']} seeds, {row['arms']} arms, sd {row['seed_sd']}, image noise {row['image_noise']}"
        # Four standard errors: with 96 settings the largest is expected near 2.5.
        if abs(row["coverage_this_test_set"] - 0.95) > 4 * row["coverage_this_test_set_se"]:
            broken.append(f"{name}: coverage {row['coverage_this_test_set']:.4f}")
        if row["family_error"] > 0.05 + 2 * row["family_error_se"]:
            broken.append(f"{name}: family error {row['family_error']:.4f}")
        if abs(row["power_at_detectable"] - 0.8) > 0.02:
            broken.append(f"{name}: power {row['power_at_detectable']:.4f}")
    return broken


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the lowest and highest rate per number of seeds and image noise over the other settings."""
    rows = []
    for (noise, seeds), group in table.groupby(["image_noise", "seeds"]):
        spans = {name: f"{100 * group[name].min():.1f} to {100 * group[name].max():.1f}" for name in RATES}
        rows.append({"test-image noise": "yes" if noise else "no", "seeds": str(seeds)} | spans)
    return pd.DataFrame(rows).rename(columns=RATES)


def readme(table: pd.DataFrame) -> str:
    """Return the page that states the figures; every number in it comes from the table."""
    rows = summary(table)
    lines = ["| " + " | ".join(row) + " |" for row in [rows.columns, ["---:"] * rows.shape[1], *rows.to_numpy()]]
    largest = 100 * max(table[name].max() for name in table if name.endswith("_se"))
    return README.format(
        draws=int(table["draws"].iloc[0]),
        settings=len(table),
        table="\n".join(lines),
        error=f"{largest:.2f}",
        sd=IMAGE_SD,
    )


def figure(table: pd.DataFrame) -> Figure:
    """Return the figure of coverage by seeds, for this test set and for new images, with and without image noise."""

    def draw(canvas, color):
        axes = canvas.subplots(1, 2, sharey=True)
        for ax, noise in zip(axes, (0, 1), strict=True):
            rows = table[table["image_noise"] == noise]
            ax.axhline(95, color=color["soft"], linewidth=1)
            for number, (name, label) in enumerate(COVERAGES.items(), start=1):
                # Marks of the three kinds stand side by side, or they would hide each other.
                place = rows["seeds"] + 0.25 * (number - 2)
                ax.plot(place, 100 * rows[name], MARKERS[number], color=color[f"s{number}"], markersize=5, label=label)
            ax.set_title("with test-image noise" if noise else "without test-image noise")
            ax.set_xlabel("seeds")
            ax.set_xticks(SEEDS)
        axes[0].set_ylabel("coverage, %")
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower left", ncols=1)

    worst = table["coverage_new_images_t"].min()
    return Figure(
        name="coverage",
        title="Coverage of the 95 % intervals",
        caption="A mark for each setting of arms and seed spread.",
        alt=f"Coverage by seeds; for new images the t interval falls to {100 * worst:.0f} %, the two-way one does not.",
        table=table,
        size=(9, 4.4),
        draw=draw,
    )


def main() -> int:
    """Run all settings, write calibration.csv, README.md and the figure, and return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    draws = parser.parse_args().draws
    settings = itertools.product(SEEDS, ARMS, SEED_SD, (False, True))
    table = pd.DataFrame([simulate(*setting, draws=draws) for setting in settings])
    table.to_csv(FOLDER / "calibration.csv", index=False, float_format="%.6g", lineterminator="\n")
    # What is stated is what the file says, rounded like the file, so that a test can compare the two.
    table = pd.read_csv(FOLDER / "calibration.csv")
    (FOLDER / "README.md").write_text(readme(table), encoding="utf-8", newline="\n")
    save_svg(figure(table), FOLDER)
    broken = verdict(table)
    print(*(broken or [f"{len(table)} settings of {draws:,} studies keep every promise"]), sep="\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
