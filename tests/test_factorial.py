"""Main effects and interactions: they agree with statsmodels' formulas and know what a design cannot tell.

Kinds: reference (statsmodels ANOVA and OLS by formula), properties (planted effects come back), refusals (aliases).
"""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as formulas
from statsmodels.stats.anova import anova_lm

from analysis.factorial import NOT_IDENTIFIABLE, analyse
from analysis.load import load
from analysis.selection import select
from tests.make_records import make_sweep

LEVELS = {"patch_size": ("4", "8"), "num_hidden_layers": ("8", "4", "2")}
USUAL = {"patch_size": "4", "num_hidden_layers": "8"}


def accuracy(patch: str, layers: str) -> float:
    """Planted: -5 points for patch 8, -2 and -6 for 4 and 2 layers, +3 for patch 8 with 2 layers."""
    value = 0.8 - 0.05 * (patch == "8") - {"8": 0.0, "4": 0.02, "2": 0.06}[layers]
    return value + 0.03 * (patch == "8" and layers == "2")


def arm(**levels: str) -> str:
    return "+".join(f"{k}={v}" for k, v in levels.items() if USUAL[k] != v) or "baseline"


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A full 2 x 3 grid of four seeds with the planted effects and noise."""
    rng, arms, rows = np.random.default_rng(5), {}, []
    for patch in LEVELS["patch_size"]:
        for layers in LEVELS["num_hidden_layers"]:
            noise = rng.normal(0, 0.002, 4)
            arms[arm(patch_size=patch, num_hidden_layers=layers)] = list(accuracy(patch, layers) + noise)
            rows += [(patch, layers, s, 100 * (accuracy(patch, layers) + e)) for s, e in enumerate(noise)]
    sweep = make_sweep(tmp_path_factory.mktemp("grid"), arms, epochs=1, plan={"design": "grid"})
    return analyse(select(load(sweep))), pd.DataFrame(rows, columns=["patch", "layers", "seed", "y"])


FORMULA = "y ~ C(seed) + C(patch, Treatment('4')) * C(layers, Treatment('8'))"


def test_interactions_agree_with_statsmodels_formula(grid):
    found, rows = grid
    fit = formulas.ols(FORMULA, rows).fit()
    names = [name for name in fit.params.index if ":" in name]
    wanted = {name[-2]: name for name in names}  # ...[T.4] -> 4
    for row in found.interactions.to_dict("records"):
        name = wanted[row["levels"].replace("8 x", "").replace("x 8", "").strip()]
        known = (fit.params[name], *fit.conf_int().loc[name], fit.pvalues[name])
        assert (row["effect"], row["ci_low"], row["ci_high"], row["p"]) == pytest.approx(known, rel=1e-9)


def test_joint_test_agrees_with_statsmodels_anova(grid):
    found, rows = grid
    table = anova_lm(formulas.ols(FORMULA, rows).fit(), typ=2)
    known = table.loc[[name for name in table.index if ":" in name][0]]
    assert found.terms.loc[0, ["df", "F", "p"]].tolist() == pytest.approx([known["df"], known["F"], known["PR(>F)"]])


def test_main_effect_of_a_grid_is_the_difference_of_marginal_means(grid):
    found, rows = grid
    marginal = rows.groupby("patch")["y"].mean()
    main = found.main.set_index(["factor", "level"])
    assert main.loc[("patch_size", "8"), "effect"] == pytest.approx(marginal["8"] - marginal["4"])


def test_main_effect_interval_is_the_paired_t_interval_over_seeds(grid):
    found, rows = grid
    by_seed = rows.groupby(["seed", "patch"])["y"].mean().unstack()
    difference = by_seed["8"] - by_seed["4"]
    half = 3.182446305284263 * difference.std() / 2  # t quantile of 3 degrees of freedom; four seeds
    row = found.main.set_index(["factor", "level"]).loc[("patch_size", "8")]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((difference.mean() - half, difference.mean() + half))


def test_planted_interaction_comes_back_and_the_absent_one_does_not(grid):
    rows = grid[0].interactions.set_index("levels")
    planted = next(r for level, r in rows.iterrows() if "2" in level)
    absent = next(r for level, r in rows.iterrows() if "2" not in level)
    assert planted["ci_low"] < 3 < planted["ci_high"] and planted["p_holm"] < 0.05 < absent["p_holm"]


def test_one_factor_at_a_time_has_no_interactions_and_says_so(tmp_path):
    arms = {"baseline": [0.8, 0.81], "patch_size=8": [0.75, 0.76], "num_hidden_layers=4": [0.78, 0.77]}
    found = analyse(select(load(make_sweep(tmp_path, arms, epochs=1))))
    assert found.interactions.empty and found.notes == [NOT_IDENTIFIABLE]
    assert found.main["effect"].tolist() == pytest.approx([-5.0, -3.0])


def test_half_fraction_names_what_it_cannot_tell(tmp_path):
    # 2**(3-1) with dropout = patch x layers: every interaction is aliased with a main effect.
    arms = {
        "baseline": [0.80, 0.81, 0.80],
        "patch_size=8+dropout=none": [0.75, 0.76, 0.75],
        "num_hidden_layers=4+dropout=none": [0.78, 0.77, 0.78],
        "patch_size=8+num_hidden_layers=4": [0.70, 0.71, 0.72],
    }
    found = analyse(select(load(make_sweep(tmp_path, arms, epochs=1, plan={"design": "fraction"}))))
    assert found.interactions.empty
    assert sum("cannot be told from main effects" in note for note in found.notes) == 3


def test_factors_that_always_change_together_are_named(tmp_path):
    arms = {"baseline": [0.8, 0.81], "patch_size=8+num_hidden_layers=4": [0.75, 0.76]}
    found = analyse(select(load(make_sweep(tmp_path, arms, epochs=1))))
    assert found.main.empty
    assert "Main effects cannot be told apart in this design: some factors always change together." in found.notes


def test_seed_without_all_arms_is_left_out_of_main_effects_and_named(tmp_path):
    arms = {"baseline": [0.80, 0.81, 0.82], "patch_size=8": [0.75, 0.76]}
    found = analyse(select(load(make_sweep(tmp_path, arms, epochs=1))))
    assert found.main["n"].tolist() == [2]
    assert "arms are missing on seeds 2" in found.notes[0]


def test_sweep_without_levels_has_no_factors(tmp_path):
    assert analyse(select(load(make_sweep(tmp_path, {"baseline": [0.8], "odd name": [0.7]}, epochs=1)))) is None


def test_levels_that_always_change_together_do_not_spoil_the_interactions(tmp_path):
    arms = {
        "baseline": [0.80, 0.81, 0.80],
        "patch_size=8": [0.75, 0.755, 0.75],
        "num_hidden_layers=4": [0.79, 0.80, 0.805],
        "patch_size=8+num_hidden_layers=4": [0.74, 0.75, 0.745],
        "lr=0.1+decay=0": [0.79, 0.80, 0.79],
    }
    found = analyse(select(load(make_sweep(tmp_path, arms, epochs=1))))
    together = [row for row in found.interactions.to_dict("records") if "patch_size" in row["factors"]]
    assert len(together) == 1 and "lr" not in together[0]["factors"]
    planted = 100 * np.mean(
        np.array([0.74, 0.75, 0.745]) - [0.75, 0.755, 0.75] - [0.79, 0.80, 0.805] + [0.8, 0.81, 0.8]
    )
    assert together[0]["effect"] == pytest.approx(planted)
