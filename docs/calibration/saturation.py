"""Simulation of rules for the epoch at which a learning curve saturates: bias, spread and dependence on length.

    python docs/calibration/saturation.py           # 3 minutes of one core; writes saturation*.csv, .md

Curves are made up: a shape that falls from 1 to 0, plus independent normal noise in every epoch of 1, 5, 10 or 17 % of
the fall. `lowest` and `fitted` are the report's own function, vitsweep.significance.saturation.saturation_epochs; the
others were candidates and live here alone. Claims are judged by analysis.statistics.claims.judge_epochs, the report's.
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import isotonic_regression
from vitsweep.analysis.statistics.claims import judge_epochs

from vitsweep.significance.saturation import FITTED, LOWEST, SHARE, saturation_epochs
from vitsweep.study.record import read_runs

FOLDER = Path(__file__).resolve().parent
NOISE = (0.01, 0.05, 0.10, 0.17)
EPOCHS = (50, 100, 200, 400)
DRAWS = 40
STUDIES = 100
SEEDS = 5
SHAPES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "exponential": ("exp(-t / 12)", lambda t: np.exp(-t / 12)),
    "overfitting": ("exp(-t / 12) + 0.004 t", lambda t: np.exp(-t / 12) + 0.004 * t),
    "two speeds": ("0.7 exp(-t / 5) + 0.3 exp(-t / 40)", lambda t: 0.7 * np.exp(-t / 5) + 0.3 * np.exp(-t / 40)),
    "power law": ("(1 + t)^-0.7", lambda t: (1.0 + t) ** -0.7),
    "drop of the learning rate": (
        "0.2 + 0.8 exp(-t / 8), and 0 from epoch 41 on",
        lambda t: np.where(t < 40, 0.2 + 0.8 * np.exp(-t / 8), 0.0),
    ),
}
README = """# Saturation epoch: which rule survives noise?

`python docs/calibration/saturation.py` simulates learning curves ({draws} for each mean and spread) and writes this
page, `saturation.csv` and `saturation_claims.csv`. Noise is the standard deviation of one epoch's validation loss, in
percent of the fall from the first epoch to the lowest value; the runs in `docs/results` have {published}. `lowest`
and `fitted` are the report's own function; the other four were candidates. Curves are made up, and their noise is
normal and independent from epoch to epoch.

- `lowest`: first epoch at which the lowest loss so far is within 1 % of the fall above the run's lowest. It was the
  only rule before; claims of plans that state no rule are judged by it.
- `lowest, 5 %`: the same with 5 %.
- `smoothed`: 95 % of the fall of a moving average over a tenth of the run.
- `isotonic`: 95 % of the fall of the non-increasing curve of least squares, down to the mean of its last quarter.
- `spline`: 95 % of the fall of a smoothing spline over the logarithm of the epoch (generalized cross-validation).
- `fitted`: 95 % of the fall of an exponential with a linear rise, fitted by least squares. New plans state it.

## An exponential fall: epoch 37 is right, whatever the length

Mean epoch +- standard deviation over runs.

{exponential}

## Other shapes, at a noise of 10 %

`right` is the first epoch at which the curve without noise has done 95 % of its fall within the run.

{shapes}

`fitted` is chosen: on the exponential its bias and its spread are the smallest at every noise from 100 epochs on (at
50, isotonic and spline spread as little), overfitting does not move it, and a run that still improves has an epoch
beyond its end, so that it is known to be censored. What it gives away: it is the saturation of the exponential that
describes the run best. Of a curve of two speeds, or of a power law, which never saturates, that is earlier than 95 %
of the fall within the run, since the long tail counts as rest; and where the loss drops with the learning rate it
lies after the drop. The spline is nearer to `right` there, at up to three times the spread.

## Claims: {seeds} seeds, `epoch: 37`, `within: 5`, 200 epochs

Share of {studies:,} studies of one claim with the verdict. At a true epoch of 42, the bound, both verdicts are
errors, of 5 % in all at most; at 37 `supported` is right, at 50 `contradicted` is. With `lowest` a right claim is
contradicted.

{claims}
"""


def shape(name: str, num_epochs: int) -> np.ndarray:
    """Return a curve without noise, scaled to a fall of 1."""
    loss_E = SHAPES[name][1](np.arange(num_epochs, dtype=float))
    return (loss_E - loss_E.min()) / (loss_E[0] - loss_E.min())


def noisy(loss_E: np.ndarray, noise: float, draws: int, seed: int = 0) -> np.ndarray:
    """Return `draws` curves with independent normal noise."""
    rng = np.random.default_rng([seed, len(loss_E), round(1000 * noise)])
    return loss_E + noise * rng.standard_normal((draws, len(loss_E)))


def crossing(loss_E: np.ndarray, floor: float, remainder: float = 1 - SHARE) -> float:
    """Return the first epoch (from 1) at which a curve is within `remainder` of its fall above `floor`."""
    return float(np.argmax(loss_E <= floor + remainder * (loss_E[0] - floor)) + 1)


def lowest_five(loss_E: np.ndarray) -> float:
    """Return the epoch of the candidate `lowest, 5 %`."""
    return crossing(loss_E, loss_E.min())


def smoothed(loss_E: np.ndarray) -> float:
    """Return the epoch of the candidate `smoothed`; near the ends the window shrinks and stays centered."""
    num_epochs = len(loss_E)
    place_E, most = np.arange(num_epochs), max(1, round(num_epochs / 20))
    half_E = np.minimum(np.minimum(place_E, num_epochs - 1 - place_E), most)
    sum_E = np.concatenate([[0.0], np.cumsum(loss_E)])
    mean_E = (sum_E[place_E + half_E + 1] - sum_E[place_E - half_E]) / (2 * half_E + 1)
    return crossing(mean_E, mean_E[half_E == most].min())


def isotonic(loss_E: np.ndarray) -> float:
    """Return the epoch of the candidate `isotonic`."""
    fit_E = isotonic_regression(loss_E, increasing=False).x
    return crossing(fit_E, fit_E[-max(2, len(fit_E) // 4) :].mean())


def spline(loss_E: np.ndarray) -> float:
    """Return the epoch of the candidate `spline`."""
    place_E = np.log1p(np.arange(len(loss_E)))
    fit_E = make_smoothing_spline(place_E, loss_E)(place_E)
    return crossing(fit_E, fit_E.min())


CANDIDATES = {"lowest, 5 %": lowest_five, "smoothed": smoothed, "isotonic": isotonic, "spline": spline}


def epochs_by_rule(loss_DE: np.ndarray) -> dict[str, np.ndarray]:
    """Return rule -> saturation epoch of each curve."""
    found = {name: np.array([rule(loss_E) for loss_E in loss_DE]) for name, rule in CANDIDATES.items()}
    return {LOWEST: saturation_epochs(loss_DE, LOWEST)} | found | {FITTED: saturation_epochs(loss_DE, FITTED)}


def simulate(name: str, num_epochs: int, noise: float, draws: int = DRAWS) -> list[dict]:
    """Return a row per rule: mean and spread of the saturation epoch, and the share of runs that still improve."""
    loss_E = shape(name, num_epochs)
    rows = []
    for rule, epoch_D in epochs_by_rule(noisy(loss_E, noise, draws)).items():
        seen_D = np.minimum(epoch_D[~np.isnan(epoch_D)], num_epochs)
        late = (epoch_D > num_epochs - max(2, 0.05 * num_epochs)).mean()
        row = {"shape": name, "epochs": num_epochs, "noise": noise, "rule": rule, "right": crossing(loss_E, 0.0)}
        rows.append(row | {"mean": seen_D.mean(), "sd": seen_D.std(ddof=1), "late": late, "found": len(seen_D) / draws})
    return rows


def claim_rates(rule: str, true_epoch: float, noise: float, studies: int = STUDIES) -> dict:
    """Return how often a claim of epoch 37 +- 5 is supported and contradicted, of exponential curves of 200 epochs."""
    time = (true_epoch - 1) / -np.log(1 - SHARE)
    loss_DE = noisy(np.exp(-np.arange(200) / time), noise, studies * SEEDS, seed=1)
    epoch_DS = saturation_epochs(loss_DE, rule).reshape(studies, SEEDS)
    late_D = (epoch_DS > 200 - 10).sum(axis=1)
    p_D2 = np.array(
        [
            judge_epochs(np.minimum(epoch_S, 200), late, 37.0, 5.0)
            for epoch_S, late in zip(epoch_DS, late_D, strict=True)
        ]
    )
    supported, contradicted = (p_D2 < 0.05).mean(axis=0)
    row = {"rule": rule, "true_epoch": true_epoch, "noise": noise}
    return row | {"supported": supported, "contradicted": contradicted}


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown."""
    lines = [table.columns, ["---:"] * table.shape[1], *table.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wide(rows: pd.DataFrame, keys: list[str]) -> str:
    """Return mean +- spread of each rule as Markdown, a line for each value of the keys."""
    lines = []
    for key, group in rows.groupby(keys, sort=False):
        texts = {r["rule"]: f"{r['mean']:.0f} +- {r['sd']:.0f}" for r in group.to_dict("records")}
        lines.append(dict(zip(keys, map(_text, key), strict=True)) | texts)
    return markdown(pd.DataFrame(lines))


def _text(value: object) -> str:
    return value if isinstance(value, str) else f"{100 * value:g} %" if value < 1 else f"{value:.0f}"


def readme(table: pd.DataFrame, claims: pd.DataFrame, published: str, draws: int, studies: int) -> str:
    """Return the page; every number in it comes from the two tables."""
    shown = claims.assign(
        true_epoch=claims["true_epoch"].map("{:.0f}".format),
        noise=claims["noise"].map("{:.0%}".format),
        supported=claims["supported"].map("{:.1%}".format),
        contradicted=claims["contradicted"].map("{:.1%}".format),
    )
    others = table[(table["shape"] != "exponential") & (table["noise"] == 0.10)]
    return README.format(
        draws=draws,
        studies=studies,
        seeds=SEEDS,
        published=published,
        exponential=wide(table[table["shape"] == "exponential"], ["noise", "epochs"]),
        shapes=wide(others, ["shape", "epochs", "right"]),
        claims=markdown(shown.rename(columns={"true_epoch": "true epoch"})),
    )


def published_noise() -> str:
    """Describe the noise of the published runs: the spread of second differences, in percent of the fall."""
    found = []
    paths = sorted((FOLDER.parent / "results").glob("readme_small*/runs.jsonl"))
    for run in (run for path in paths for run in read_runs(path.parent)[0].values()):
        loss_E = np.array(run["epochs"]["val/loss"])
        # A second difference of independent noise has six times its variance; the first two epochs fall steeply.
        noise = np.sqrt((np.diff(loss_E, 2)[2:] ** 2).mean() / 6)
        found.append(100 * noise / (loss_E[0] - loss_E.min()))
    low, high = np.percentile(found, [10, 90])
    return f"{np.median(found):.0f} % at the median ({low:.0f} to {high:.0f} % for eight of ten of {len(found)} runs)"


def main() -> None:
    """Run all settings; write saturation.csv, saturation_claims.csv and saturation.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--studies", type=int, default=STUDIES)
    options = parser.parse_args()
    settings = [("exponential", epochs, noise) for noise, epochs in itertools.product(NOISE, EPOCHS)]
    settings += [(name, epochs, 0.10) for name in list(SHAPES)[1:] for epochs in (100, 400)]
    table = pd.DataFrame([row for setting in settings for row in simulate(*setting, draws=options.draws)])
    cases = itertools.product((LOWEST, FITTED), (37.0, 42.0, 50.0), NOISE)
    claims = pd.DataFrame([claim_rates(*case, studies=options.studies) for case in cases])
    for name, frame in (("saturation", table), ("saturation_claims", claims)):
        frame.to_csv(FOLDER / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    page = readme(table, claims, published_noise(), options.draws, options.studies)
    (FOLDER / "saturation.md").write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
