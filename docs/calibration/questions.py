"""Simulation of what a study asks beyond its arms: main effects, claims of equality, verdicts beside lost runs.

    python docs/calibration/questions.py            # writes questions.md and questions.csv beside it

Simulated are accuracies in percent points, normal over seeds: 75 + seed + run, with a seed's share SEED_SD in every arm
(which cancels) and a spread RUN_SD of each run, in one arm RATIO times as large where said. Contrasts, p values,
intervals, Holm's correction, claims and lost runs are the report's own functions.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.validity.attrition import LostRuns

from vitsweep.config.schema import FACTORIAL
from vitsweep.significance.contrasts import Contrast, Design, make_design, make_effects
from vitsweep.significance.equivalence import chance_to_show, claim_p
from vitsweep.significance.estimates import Estimates, against_baseline, estimate_contrasts
from vitsweep.significance.pooling import FEW_SEEDS, declared_contrasts, spread_ratios
from vitsweep.study.design import fraction_rows

FOLDER = Path(__file__).resolve().parent
DRAWS, LOST_DRAWS = 2_000, 100
SEEDS = (3, 5, 10)
RUN_SD, SEED_SD, RATIO = 0.8, 0.3, 3.0
ROPE, EFFECT = 0.5, 1.5 * 0.8
ALPHA, ERRORS = stats.ALPHA, 3
COLUMNS = ["part", "setting", "error", "seeds", "quantity", "rate", "se", "draws"]
PROMISED = {"family error", "family error without a warning", "false equivalence", "false contradiction"}
PROMISED |= {"false helps", "false hurts"}
"""Quantities of at most 5 %; coverage is at least 95 %. Under the pooled error only without a warning."""


def designs() -> dict[str, tuple[Design, str]]:
    """Return the designs that are simulated, with the name of their rule."""
    cube = list(itertools.product((False, True), repeat=3))
    pairs = [row for row in cube if sum(row) < 3]
    return {
        "grid 2x2x2": (_design(cube), "grid"),
        "pairs of 3": (_design(pairs), "pairs"),
        "fraction 2^(4-1)": (_design(fraction_rows(4, 4)), "fraction"),
    }


def _design(rows: list) -> Design:
    factors = "abcd"[: len(rows[0])]
    levels = {
        "".join(f for f, on in zip(factors, row, strict=True) if on) or "baseline": {
            f: str(int(on)) for f, on in zip(factors, row, strict=True)
        }
        for row in rows
    }
    return make_design(levels, dict.fromkeys(factors, "0"))


def draw(rng: np.random.Generator, draws: int, seeds: int, arms: int, ratio: float) -> np.ndarray:
    """Return (draws, seeds, arms) accuracies without any effect; the second arm spreads `ratio` times as much."""
    spread_A = np.full(arms, RUN_SD)
    spread_A[1] *= ratio
    level_DS1 = 75 + rng.normal(0, SEED_SD, (draws, seeds, 1))
    return level_DS1 + rng.normal(0, 1, (draws, seeds, arms)) * spread_A


def main_effect_rates(name: str, error: str, seeds: int, ratio: float, draws: int) -> dict[str, np.ndarray]:
    """Return event or not by study: family error, coverage, and power for one main effect and for its single arm."""
    design, rule = designs()[name]
    main = list(make_effects(design, rule in FACTORIAL).main.values())
    weight_CA = np.array([[contrast.weights.get(arm, 0.0) for arm in design.arms] for contrast in main])
    rng = np.random.default_rng([seeds, int(10 * ratio), len(design.arms)])
    null_DSA = draw(rng, draws, seeds, len(design.arms), ratio)
    moved_A = EFFECT * np.array([level == "1" for level in design.factors["a"]])
    place = next(i for i, contrast in enumerate(main) if contrast.levels[0][0] == "a")
    null, moved = (declared_contrasts(v, weight_CA, error) for v in (null_DSA, null_DSA + moved_A))
    low_DC, high_DC = null.interval()
    false_D = (stats.holm(null.p()) < ALPHA).any(axis=-1)
    found = {
        "family error": false_D,
        "coverage": ((low_DC <= 0) & (0 <= high_DC)).mean(axis=-1),
        "power of the main effect": stats.holm(moved.p())[:, place] < ALPHA,
    }
    if error == "pooled":
        warned_D = spread_ratios(null_DSA).is_doubtful().any(axis=-1) | (seeds < FEW_SEEDS)
        found["family error without a warning"] = false_D & ~warned_D
    arm = design.arms.index("a") if "a" in design.arms else 1
    if error == "paired" and "a" in design.arms:
        arms = estimate_contrasts(null_DSA + moved_A, against_baseline(len(design.arms)), "paired")
        found["power of the single arm"] = stats.holm(arms.p())[:, arm - 1] < ALPHA
    return found


def equality_rates(kind: str, claims: int, seeds: int, ratio: float, draws: int) -> dict[str, np.ndarray]:
    """Return event or not by study with `claims` arms, each claimed to be equal to the baseline.

    At the ROPE's bound a claim is false and so is its contrary: the worst case of either verdict.
    """
    rng = np.random.default_rng([seeds, int(10 * ratio), claims])
    null_DSA = draw(rng, draws, seeds, claims + 1, ratio)
    weight_CA = against_baseline(claims + 1)
    bound_A = np.append(0.0, np.full(claims, -ROPE))
    equal, bound = (estimate_contrasts(v, weight_CA, "paired") for v in (null_DSA, null_DSA + bound_A))
    at_bound, at_zero = _claims(kind, bound), _claims(kind, equal)
    return {
        "false equivalence": (at_bound == "supported").any(axis=-1),
        "false contradiction": (at_bound == "contradicted").any(axis=-1),
        "supported without a difference": (at_zero == "supported").mean(axis=-1),
    }


def _claims(kind: str, found: Estimates) -> np.ndarray:
    """Return the verdict of one claim about each comparison, all of them one family, (D, C)."""
    numbers = [x[..., None] for x in (found.value, found.error, found.freedom, found.n)]
    holds_DC, fails_DC = claim_p(kind, 1, ROPE, *numbers)
    adjusted_DC = stats.holm(np.fmin(holds_DC, fails_DC))
    word_DC = np.where(holds_DC <= fails_DC, "supported", "contradicted")
    return np.where(adjusted_DC < ALPHA, word_DC, "undecided")


def lost_rates(loser: str, share: float, seeds: int, draws: int) -> dict[str, np.ndarray]:
    """Return event or not by study of an arm without effect: verdicts with and without a look at lost runs.

    Args:
        loser: arm or baseline, whose worst runs diverge.
        share: of its runs, by accuracy.
    """
    rng = np.random.default_rng([seeds, int(100 * share)])
    value_DSA = draw(rng, draws, seeds, 2, 1.0)
    column, contrast = int(loser == "arm"), Contrast(weights={"arm": 1.0, "baseline": -1.0})
    number = round(share * seeds)
    before, after = np.zeros(draws, bool), np.zeros(draws, bool)
    for study, value_SA in enumerate(value_DSA):
        values = pd.DataFrame(value_SA, columns=["baseline", "arm"])
        is_lost = pd.DataFrame(False, index=values.index, columns=values.columns)
        is_lost.iloc[np.argsort(value_SA[:, column])[:number], column] = True
        finished = values.mask(is_lost)
        result = stats.compare_paired((finished["arm"] - finished["baseline"]).dropna().to_numpy(), ROPE)
        guarded = LostRuns(values=finished, is_lost=is_lost, chance=10.0, better=1).guarded(contrast, result, ROPE)
        wrong = "helps" if loser == "arm" else "hurts"
        verdicts = [stats.verdict(r, stats.AdjustedP(p=r.p, p_equivalent=r.p_equivalent)) for r in (result, guarded)]
        before[study], after[study] = (verdict == wrong for verdict in verdicts)
    word = "helps" if loser == "arm" else "hurts"
    return {f"{word}, finished runs alone": before, f"false {word}": after}


def settings(draws: int, lost_draws: int) -> list[tuple[str, str, str, int, tuple]]:
    """Return part, setting, error and seeds of each simulation, and the function that runs it."""
    found: list = []
    for name, error, seeds, ratio in itertools.product(designs(), ("paired", "pooled"), SEEDS, (1.0, RATIO)):
        spread = "" if ratio == 1 else f", one arm spreads {ratio:g} times as much"
        run = (main_effect_rates, (name, error, seeds, ratio, draws))
        found.append(("main effects", f"{name}{spread}", error, seeds, run))
    for kind, claims, seeds, ratio in itertools.product(("equivalent", "not_worse"), (1, 3, 6), SEEDS, (1.0, RATIO)):
        spread = "" if ratio == 1 else f", one arm spreads {ratio:g} times as much"
        run = (equality_rates, (kind, claims, seeds, ratio, draws))
        found.append(("equality", f"{kind}, {claims} claim{'s' * (claims > 1)}{spread}", "paired", seeds, run))
    for loser, share, seeds in itertools.product(("arm", "baseline"), (0.2, 0.4), (5, 10)):
        run = (lost_rates, (loser, share, seeds, lost_draws))
        found.append(("lost runs", f"worst {100 * share:.0f} % of the {loser}'s seeds diverge", "paired", seeds, run))
    return found


def simulate(part: str, setting: str, error: str, seeds: int, run: tuple) -> list[tuple]:
    """Return the rows (COLUMNS) of one setting."""
    function, arguments = run
    rows = []
    for quantity, event_D in function(*arguments).items():
        event_D = np.asarray(event_D, float)
        se = event_D.std() / math.sqrt(len(event_D))
        rows.append((part, setting, error, seeds, quantity, event_D.mean(), se, len(event_D)))
    return rows


def broken(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each promise that a setting breaks by more than ERRORS Monte-Carlo standard errors."""
    found = []
    for row in table.to_dict("records"):
        # The standard error at the promised rate: that of a rate of zero would be zero.
        se = math.sqrt(ALPHA * (1 - ALPHA) / row["draws"])
        is_warned = row["error"] == "pooled" and row["quantity"] in ("family error", "coverage")
        too_high = row["quantity"] in PROMISED and row["rate"] > ALPHA + ERRORS * se
        too_low = row["quantity"] == "coverage" and row["rate"] < 1 - ALPHA - ERRORS * se
        if (too_high or too_low) and not is_warned:
            where = f"{row['setting']}, {row['error']}, {row['seeds']} seeds"
            found.append(f"{where}: {row['quantity']} {100 * row['rate']:.2f} %")
    return found


def page(table: pd.DataFrame) -> str:
    """Return the page that states the figures; every number in it comes from the table."""
    parts = {name: table[table["part"] == name] for name in dict.fromkeys(table["part"])}
    largest = 100 * max(math.sqrt(ALPHA * (1 - ALPHA) / draws) for draws in table["draws"])
    return PAGE.format(
        draws=int(table["draws"].max()),
        lost_draws=int(table["draws"].min()),
        error=f"{largest:.2f}",
        sd=RUN_SD,
        rope=ROPE,
        effect=EFFECT,
        tolerance=ERRORS,
        chances=chances(),
        broken="\n".join(f"- {line}" for line in broken(table)) or "None.",
        **{name.replace(" ", "_"): markdown(rows) for name, rows in parts.items()},
    )


def chances() -> str:
    """Return the plan's chances to show one claim of equality without any difference, by seeds, as a table."""
    shown = {
        (kind, n): chance_to_show(kind, RUN_SD * math.sqrt(2 / n), n - 1, ROPE)
        for kind in ("equivalent", "not_worse")
        for n in (3, 5, 8, 10, 20, 50)
    }
    numbers = dict.fromkeys(n for _, n in shown)
    lines = ["| claim | " + " | ".join(f"{n} seeds" for n in numbers) + " |", "| :--- |" + " ---: |" * len(numbers)]
    for kind in ("equivalent", "not_worse"):
        lines.append(f"| {kind} | " + " | ".join(f"{100 * shown[kind, n]:.0f} %" for n in numbers) + " |")
    return "\n".join(lines)


def markdown(rows: pd.DataFrame) -> str:
    """Return a part's rates in percent, a row per setting, error and seeds, a column per quantity."""
    quantities = list(dict.fromkeys(rows["quantity"]))
    lines = [
        "| setting | error | seeds | " + " | ".join(quantities) + " |",
        "| :--- | :--- |" + " ---: |" * (1 + len(quantities)),
    ]
    for (setting, error, seeds), group in rows.groupby(["setting", "error", "seeds"], sort=False):
        rate = group.set_index("quantity")["rate"]
        cells = [f"{100 * rate[name]:.1f}" if name in rate else "" for name in quantities]
        lines.append(f"| {setting} | {error} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


PAGE = """# Main effects, claims of equality, lost runs: error rates, coverage and power

`python docs/calibration/questions.py` simulates the settings below with {draws:,} studies each ({lost_draws:,} for
lost runs) and writes this page and `questions.csv`. Simulated are accuracies: normal, a run's standard deviation {sd}
points. The report's own functions make everything else: contrasts of the design, paired or pooled errors (pooled:
paired where the spreads refute pooling), intervals, p values, Holm's correction, claims, and the second verdict beside
lost runs.
Rates in percent; the Monte-Carlo standard error of a rate of 5 % is at most {error} points. Promised: errors of at
most 5 %, coverage of 95 %. Not simulated: test-image noise (it belongs to what is estimated, see the
[first page](README.md)), looks in between, and claims of several comparisons.

Promises broken by more than {tolerance} Monte-Carlo standard errors (some rates are 5 % exactly, and of so many the
largest is expected near 2.5):

{broken}

## Main effects

The family is the main effects, Holm over them. Power: one factor makes {effect:g} points (1.5 standard deviations of a
run) in every arm; beside it what Holm over all arms finds of its single arm. Under the pooled error the report warns if
an arm's spread makes pooling doubtful, and below five seeds, which cannot show it; "without a warning" are the studies
with a false finding and none of these.

{main_effects}

## Claims of equality

`equivalent` within {rope} points, or `not_worse` by that much; every claim about another arm, all one family.
Errors are counted where all arms differ by exactly the ROPE, where both verdicts are wrong: nearer, a contradiction is
wrong and support right, further away the reverse. A study errs if one of its claims does.

{equality}

The plan states the chance of support without any difference; one claim, paired error:

{chances}

## Lost runs

One arm without effect, tested alone, of which the worst runs diverge, so that the rest looks better than it is; or
the same of the baseline, which makes the arm look worse. "Finished runs alone" is the verdict without the second one,
in which lost runs count as chance.

{lost_runs}

The price: an arm that is truly better and loses a run for reasons that have nothing to do with accuracy is undecided
too. Run such a cell again (`sweep.retry=failed`), where the cause is known and outside of the arm.
"""


def main() -> int:
    """Run all settings, write questions.csv and questions.md, and return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--lost-draws", type=int, default=LOST_DRAWS)
    options = parser.parse_args()
    rows = [row for one in settings(options.draws, options.lost_draws) for row in simulate(*one)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.to_csv(FOLDER / "questions.csv", index=False, float_format="%.6g", lineterminator="\n")
    # The page states what the file says, rounded like the file, so that a test can compare the two.
    table = pd.read_csv(FOLDER / "questions.csv")
    (FOLDER / "questions.md").write_text(page(table), encoding="utf-8", newline="\n")
    print(*(broken(table) or [f"{len(table)} rates keep every promise"]), sep="\n")
    return int(bool(broken(table)))


if __name__ == "__main__":
    sys.exit(main())
