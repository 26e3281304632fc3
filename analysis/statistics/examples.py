"""Comparisons by test image: images that an arm classifies correctly and the baseline does not.

The paired t interval of the comparison table is valid for this test set. Another draw of test images would add noise of
its own, which seeds x images show: `bootstrap_intervals` resamples both (Owen 2007, the pigeonhole bootstrap). That
bootstrap counts the residual of seed x image three times where the variance has it once, so two of them are subtracted,
and seeds are drawn n - 1 at a time so that few seeds do not look better than they are; the interval takes a t quantile
with Satterthwaite's degrees of freedom. Arrays: S seeds, N images, D draws.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from vitsweep.errors import printable

from ..records.correct_images import UNREADABLE, read_correct
from ..records.selection import Selection
from . import paired as stats

DRAWS = 2000
CHUNK = 250
TOLERANCE = 1e-6
MAX_LISTED = 8


@dataclass(kw_only=True)
class Examples:
    """Correctly classified test images of each finished cell."""

    id_N: np.ndarray
    label_N: np.ndarray
    correct: dict[str, np.ndarray]
    """Cell -> (N,) booleans, last epoch."""
    problems: list[str] = field(default_factory=list)

    def pairs(self, selection: Selection, arm: str) -> tuple[list[int], np.ndarray]:
        """Return the seeds shared with the baseline, and (S, N) differences: 1 gained, -1 lost, 0 the same."""
        cells = {a: self.of_arm(selection, a) for a in (arm, selection.baseline)}
        seeds = sorted(set(cells[arm]) & set(cells[selection.baseline]))
        rows = [cells[arm][s].astype(np.int8) - cells[selection.baseline][s].astype(np.int8) for s in seeds]
        return seeds, np.array(rows, np.int8).reshape(len(seeds), len(self.id_N))

    def of_arm(self, selection: Selection, arm: str) -> dict[int, np.ndarray]:
        """Return seed -> (N,) correct images, for the arm's cells that have predictions."""
        cells = selection.cells[selection.cells["arm"] == arm]
        return {s: self.correct[c] for s, c in zip(cells["seed"], cells["cell"], strict=True) if c in self.correct}


def read_examples(selection: Selection) -> Examples | None:
    """Read the predictions of all finished cells, naming those left out; None when no cell has any."""
    found, problems, absent, fingerprint = None, [], [], ""
    for _, cell in selection.done().iterrows():
        try:
            id_N, label_N, correct_N = read_correct(Path(cell["directory"]))
        except FileNotFoundError:
            absent.append(cell["cell"])
            continue
        except UNREADABLE as error:
            problems.append(f"The predictions of {cell['cell']} are not readable ({error}) and left out.")
            continue
        if found is None:
            found = Examples(id_N=id_N, label_N=label_N, correct={}, problems=problems)
            fingerprint = cell["data_fingerprint"]
        is_same = np.array_equal(found.id_N, id_N) and np.array_equal(found.label_N, label_N)
        if not is_same or cell["data_fingerprint"] != fingerprint:  # ids count within a data set
            problems.append(f"The predictions of {cell['cell']} are about other test images and left out.")
            continue
        found.correct[cell["cell"]] = correct_N
        problems += accuracy_mismatch(cell, correct_N)
    if found and absent:
        problems.append(f"There are no predictions of {', '.join(absent)}; other runs have theirs.")
    # Predictions that cannot be read are named, also when no other cell has any.
    nothing = Examples(id_N=np.empty(0, int), label_N=np.empty(0, int), correct={}, problems=problems)
    return found or (nothing if problems else None)


def accuracy_mismatch(cell: pd.Series, correct_N: np.ndarray) -> list[str]:
    """Return a sentence if a record's test accuracy is not that of its predictions."""
    stated, counted = cell["final/test/accuracy"], correct_N.mean()
    if abs(stated - counted) <= TOLERANCE:
        return []
    return [
        f"{cell['cell']} states a test accuracy of {100 * stated:.4f} %, its predictions have {100 * counted:.4f} %."
    ]


def bootstrap_intervals(
    differences: list[np.ndarray], rng: np.random.Generator, draws: int = DRAWS
) -> list[tuple[float, float, float]]:
    """Return for each (S, N) array its mean (a share of 1) and the 95 % interval for new seeds and new test images.

    The images are resampled once for all arrays. With one seed (S = 1) it is an interval for new test images and these
    two trained models only: one pair shows nothing of how other seeds would spread.
    """
    N = differences[0].shape[1]
    stacked_MN = np.concatenate(differences).astype(np.float32)
    mean_DM = np.empty((draws, len(stacked_MN)))
    for start in range(0, draws, CHUNK):
        drawn_DN = rng.integers(0, N, (min(CHUNK, draws - start), N))
        image_DN = np.stack([np.bincount(row, minlength=N) for row in drawn_DN])
        # Whole numbers below 2**24: the product is exact in float32, so the same on every machine.
        mean_DM[start : start + len(image_DN)] = image_DN.astype(np.float32) @ stacked_MN.T
    mean_DM /= N
    results, first = [], 0
    for difference_SN in differences:
        mean_DS = mean_DM[:, first : first + len(difference_SN)]
        results.append(_resampled_interval(difference_SN, mean_DS, rng))
        first += len(difference_SN)
    return results


def _resampled_interval(difference_SN: np.ndarray, mean_DS: np.ndarray, rng: np.random.Generator):
    S, N = difference_SN.shape
    chosen_DS = rng.integers(0, S, (len(mean_DS), max(S - 1, 1)))
    drawn_D = np.take_along_axis(mean_DS, chosen_DS, 1).mean(axis=1)
    seed, image, rest = variance_parts(difference_SN)
    variance = max(drawn_D.var(ddof=1) - 2 * rest, seed, image)
    mean = float(difference_SN.mean(dtype=np.float64))
    _, low, high = two_way_interval(mean, variance, seed, image, S, N)
    return mean, float(low), float(high)


def two_way_interval(mean: Any, variance: Any, seed: Any, image: Any, S: int, N: int) -> tuple[Any, Any, Any]:
    """Return the mean and a t interval of the given variance, with Satterthwaite's degrees of freedom.

    Args:
        mean: difference in percent points, a number or an array; variance, seed and image: of the same shape.
        S: number of seeds.
        N: number of images.
    """
    spread = np.asarray(variance, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = spread**2 / (np.square(seed) / max(S - 1, 1) + np.square(image) / (N - 1))
        half = special.stdtrit(np.maximum(freedom, 1.0), 1 - stats.ALPHA / 2) * np.sqrt(spread)
    if S > 1:
        # New seeds and new images together are never surer than new seeds alone, whatever the approximation says.
        half = np.maximum(half, stats.t_bound(S) * np.sqrt(seed))
    # Without any variance there is nothing to build an interval on.
    half = np.where(spread > 0, half, np.nan)
    return mean, mean - half, mean + half


def variance_parts(difference_SN: np.ndarray) -> tuple[float, float, float]:
    """Split the variance of the grand mean into its parts by seeds, by images, and the residual in both.

    The first two are mean squares of a two-way layout over S * N; the best estimate of the whole is seed + image
    - rest. With one seed there are only images.
    """
    S, N = difference_SN.shape
    mean_S, mean_N = difference_SN.mean(axis=1, dtype=np.float64), difference_SN.mean(axis=0, dtype=np.float64)
    image = mean_N.var(ddof=1) / N
    if S < 2:
        return 0.0, image, 0.0
    total = float(np.square(difference_SN, dtype=np.float64).sum())
    grand = mean_S.mean()
    residual = total - N * np.square(mean_S).sum() - S * np.square(mean_N).sum() + S * N * grand**2
    return mean_S.var(ddof=1) / S, image, residual / ((S - 1) * (N - 1)) / (S * N)


def mcnemar(difference_N: np.ndarray) -> float:
    """Return the exact two-sided p of McNemar's test for one pair of runs; 1 when no image differs."""
    from scipy.stats import binomtest  # late: it takes a second to import

    gained, lost = int((difference_N == 1).sum()), int((difference_N == -1).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def image_effects(examples: Examples, selection: Selection, seed: int = 0) -> pd.DataFrame:
    """Tabulate per arm, in points: interval for new test images, McNemar's p (single runs), changed images.

    The interval is for new seeds too where `pairs` is above one; McNemar's p is about the two trained models.
    """
    pairs = {arm: examples.pairs(selection, arm) for arm in selection.non_baseline()}
    pairs = {arm: (seeds, difference_SN) for arm, (seeds, difference_SN) in pairs.items() if seeds}
    if not pairs:
        return pd.DataFrame()
    intervals = bootstrap_intervals([difference_SN for _, difference_SN in pairs.values()], np.random.default_rng(seed))
    by_chance, rows = _disagreement_of_seeds(examples, selection), []
    for (arm, (seeds, difference_SN)), interval in zip(pairs.items(), intervals, strict=True):
        mean, low, high = (100 * x for x in interval)
        row = {"arm": arm, "pairs": len(seeds), "delta": mean, "image_low": low, "image_high": high}
        row["mcnemar_p"] = mcnemar(difference_SN[0]) if len(seeds) == 1 else math.nan
        row |= {"changed": 100 * float((difference_SN != 0).mean()), "changed_between_seeds": by_chance}
        rows.append(row | _flips(examples.id_N, difference_SN))
    return pd.DataFrame(rows)


def _flips(id_N: np.ndarray, difference_SN: np.ndarray) -> dict:
    gained_N, lost_N = majority_flips(difference_SN)
    return {
        "gained": int(gained_N.sum()),
        "lost": int(lost_N.sum()),
        "gained_ids": _listed(id_N, gained_N, difference_SN),
        "lost_ids": _listed(id_N, lost_N, difference_SN),
    }


def majority_flips(difference_SN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) booleans of the images gained, and lost, on more than half of the seeds."""
    half = difference_SN.shape[0] / 2
    return (difference_SN == 1).sum(axis=0) > half, (difference_SN == -1).sum(axis=0) > half


def class_effects(examples: Examples, selection: Selection) -> pd.DataFrame:
    """Tabulate the mean difference per arm and class, in points, with its unadjusted 95 % paired t interval."""
    rows = []
    classes = _class_names(selection, examples)
    for arm in selection.non_baseline():
        seeds, difference_SN = examples.pairs(selection, arm)
        for number, name in enumerate(classes):
            if not seeds or not (examples.label_N == number).any():
                continue
            value_S = 100 * difference_SN[:, examples.label_N == number].mean(axis=1)
            rows.append((arm, name, len(seeds), *map(float, stats.mean_interval(value_S))))
    return pd.DataFrame(rows, columns=["arm", "class", "n", "delta", "ci_low", "ci_high"])


def _disagreement_of_seeds(examples: Examples, selection: Selection) -> float:
    """Return the percentage of images on which two seeds of the baseline disagree: the chance level."""
    rows = list(examples.of_arm(selection, selection.baseline).values())
    pairs = [(one != other).mean() for i, one in enumerate(rows) for other in rows[i + 1 :]]
    return 100 * float(np.mean(pairs)) if pairs else math.nan


def _listed(id_N: np.ndarray, chosen_N: np.ndarray, difference_SN: np.ndarray) -> str:
    """List the ids of the clearest flips, at most MAX_LISTED."""
    clear_N = np.abs(difference_SN.sum(axis=0, dtype=int)) * chosen_N
    order = np.argsort(-clear_N, kind="stable")[: min(MAX_LISTED, int(chosen_N.sum()))]
    return " ".join(str(i) for i in id_N[order])


def _class_names(selection: Selection, examples: Examples) -> list[str]:
    names: list[str] = next((r.classes for r in selection.done()["record"] if r.classes), [])
    return [printable(name) for name in names] or [str(k) for k in range(int(examples.label_N.max()) + 1)]
