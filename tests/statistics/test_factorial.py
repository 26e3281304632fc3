"""Main effects and interactions: they agree with statsmodels' formulas and name what a design confounds.

Kinds: reference (statsmodels OLS by formula, t tests of contrasts by hand), properties (planted effects come back,
error rates), refusals (aliases, designs that confound).
"""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as formulas
from scipy import stats as scipy_stats
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.effects import on_seeds
from vitsweep.analysis.statistics.factorial import (
    NOT_CROSSED,
    NOT_IDENTIFIABLE,
    PATH,
    analyze_factors,
    interaction_name,
    main_name,
)

from tests.support.make_records import make_sweep
from vitsweep.significance.contrasts import interaction_contrasts, make_design

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
    return analyze_factors(select(load(sweep))), pd.DataFrame(rows, columns=["patch", "layers", "seed", "y"])


FORMULA = "y ~ C(seed) + C(patch, Treatment('4')) * C(layers, Treatment('8'))"


def test_interactions_agree_with_statsmodels_formula(grid):
    found, rows = grid
    fit = formulas.ols(FORMULA, rows).fit()
    names = [name for name in fit.params.index if ":" in name]
    wanted = {name[-2]: name for name in names}  # ...[T.4] -> 4
    for row in found.interactions.to_dict("records"):
        name = wanted[row["levels"].replace("8 x", "").replace("x 8", "").strip()]
        assert row["effect"] == pytest.approx(fit.params[name], rel=1e-9)


def test_interaction_has_the_t_interval_of_its_contrast_over_seeds(grid):
    found, rows = grid
    by_seed = rows.pivot(index="seed", columns=["patch", "layers"], values="y")
    contrast_S = by_seed["8", "2"] - by_seed["8", "8"] - by_seed["4", "2"] + by_seed["4", "8"]
    known = scipy_stats.ttest_1samp(contrast_S, 0)
    row = next(r for r in found.interactions.to_dict("records") if "2" in r["levels"])
    shown = (row["n"], row["effect"], row["ci_low"], row["ci_high"], row["p"])
    assert shown == pytest.approx((4, contrast_S.mean(), *known.confidence_interval(), known.pvalue))


def test_interactions_keep_their_error_when_one_arm_varies_more_than_the_others():
    levels = list(itertools.product("012", "012"))
    design = make_design({a + b: {"a": a, "b": b} for a, b in levels}, {"a": "0", "b": "0"})
    spread_A = np.array([1.0] * 8 + [5.0])
    draw_DSA = np.random.default_rng(4).normal(0, 1, (2000, 6, 9)) * spread_A
    values = pd.DataFrame(draw_DSA.reshape(-1, 9), columns=design.arms)
    contrasts, _ = interaction_contrasts(design)
    p_DK = np.stack([stats.p_paired(on_seeds(c, values).reshape(2000, 6)) for c in contrasts], axis=1)
    falsely = (stats.holm(p_DK) < 0.05).any(axis=1).mean()
    assert len(contrasts) == 4 and falsely < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


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
    found = analyze_factors(select(load(make_sweep(tmp_path, arms, epochs=1))))
    assert found.interactions.empty and found.main.empty and found.notes == [NOT_IDENTIFIABLE]


def analysed(tmp_path, arms):
    """Of a sweep in which `none` is the level of every removed part."""
    return analyze_factors(select(load(make_sweep(tmp_path, arms, epochs=1))))


NOISE = [0.0, 0.002, -0.001, 0.001]
PARTS = ("cls=none", "pos=none", "ln=none")


def test_leave_one_component_out_has_one_contrast_and_blames_no_pair(tmp_path):
    """Each part alone costs one point, all together nine."""
    arms = {"baseline": [0.8 + e for e in NOISE]}
    arms |= {part: [0.79 + e for e in reversed(NOISE)] for part in PARTS}
    arms |= {"+".join(PARTS): [0.71, 0.712, 0.709, 0.711]}
    found = analysed(tmp_path, arms)
    assert found.main.empty and found.interactions.empty and found.notes == [found.removal]
    single_S = np.array([[0.79 + e for e in reversed(NOISE)]] * 3).sum(axis=0)
    contrast_S = 100 * (np.array([0.71, 0.712, 0.709, 0.711]) - single_S + 2 * (0.8 + np.array(NOISE)))
    low, high = scipy_stats.ttest_1samp(contrast_S, 0).confidence_interval()
    assert found.removal.startswith("Removing all costs 6.00 points more than the single removals add up to (")
    assert f"[{low:.2f}, {high:.2f}]".replace("-", "\u2212") in found.removal
    assert found.removal.endswith("4 seeds); which parts interact cannot be told.")


def test_single_removals_that_add_up_are_not_said_to_do_so(tmp_path):
    rng = np.random.default_rng(1)
    arms = {"baseline": list(rng.normal(0.8, 0.004, 4))} | {part: list(rng.normal(0.79, 0.004, 4)) for part in PARTS}
    found = analysed(tmp_path, arms | {"+".join(PARTS): list(rng.normal(0.77, 0.004, 4))})
    assert "do not differ significantly" in found.removal and "does not show that effects add up" in found.removal


def test_path_gives_each_step_against_the_arm_before_it(tmp_path):
    arms = {
        "baseline": [0.80, 0.802, 0.801],
        "patch_size=8": [0.79, 0.793, 0.792],
        "patch_size=8+num_hidden_layers=4": [0.77, 0.771, 0.773],
    }
    found = analysed(tmp_path, arms)
    assert found.main.empty and found.interactions.empty and found.notes[0] == PATH
    step_S = 100 * (np.array([0.77, 0.771, 0.773]) - [0.79, 0.793, 0.792])
    assert (
        f"num_hidden_layers=4, patch_size=8+num_hidden_layers=4 minus patch_size=8: \u2212{-step_S.mean():.2f}"
        in (found.notes[2])
    )


def test_interaction_of_a_fraction_names_its_aliases(tmp_path):
    # 2**(4-1) with d = abc: a x b is c x d, and so on.
    rng, arms = np.random.default_rng(2), {}
    for a, b, c in itertools.product((0, 1), repeat=3):
        on = [f"{name}=1" for name, use in zip("abcd", (a, b, c, (a + b + c) % 2), strict=True) if use]
        arms["+".join(on) or "baseline"] = list(rng.normal(0.8, 0.01, 3))
    found = analysed(tmp_path, arms)
    shown = [interaction_name(row) for row in found.interactions.to_dict("records")]
    pairs = [re.fullmatch(r"(.) x (.) \(or (.)=1 x (.)=1: not told apart\)", words).groups() for words in shown]
    halves = {frozenset([frozenset(letters[:2]), frozenset(letters[2:])]) for letters in pairs}
    assert halves == {frozenset([frozenset("ab"), frozenset("cd")]), frozenset([frozenset("ac"), frozenset("bd")])} | {
        frozenset([frozenset("ad"), frozenset("bc")])
    }
    assert sorted(found.main["factor"]) == list("abcd")
    # Resolution IV: each main effect contains the interaction of the three other factors.
    aliases = found.main.set_index("factor")["aliases"]
    assert aliases.to_dict() == {f: " x ".join(f"{o}=1" for o in found.main["factor"] if o != f) for f in "abcd"}


def test_pairs_have_interactions_and_no_main_effects(tmp_path):
    alone = ["a=1", "b=1", "c=1"]
    arms = ["baseline", *alone, *("+".join(pair) for pair in itertools.combinations(alone, 2))]
    rng = np.random.default_rng(3)
    found = analysed(tmp_path, {arm: list(rng.normal(0.8, 0.01, 3)) for arm in arms})
    assert len(found.interactions) == 3 and found.main.empty and found.notes == [NOT_CROSSED]


def test_arm_that_names_no_level_is_no_second_baseline(tmp_path):
    crossed = {arm: [0.8, 0.81] for arm in ("baseline", "a=1", "b=1", "a=1+b=1")}
    one = analysed(tmp_path / "one", crossed)
    two = analysed(tmp_path / "two", crossed | {"odd name": [0.1, 0.2]})
    assert two.main["effect"].tolist() == one.main["effect"].tolist() and len(two.cells) == 4


def test_half_fraction_names_what_it_confounds(tmp_path):
    # 2**(3-1) with dropout = patch x layers: every interaction is aliased with a main effect.
    arms = {
        "baseline": [0.80, 0.81, 0.80],
        "patch_size=8+dropout=none": [0.75, 0.76, 0.75],
        "num_hidden_layers=4+dropout=none": [0.78, 0.77, 0.78],
        "patch_size=8+num_hidden_layers=4": [0.70, 0.71, 0.72],
    }
    found = analyze_factors(select(load(make_sweep(tmp_path, arms, epochs=1, plan={"design": "fraction"}))))
    assert found.interactions.empty
    assert sum("cannot be told from main effects" in note for note in found.notes) == 3
    assert [main_name(row) for row in found.main.to_dict("records")] == [
        "patch_size (or dropout=none x num_hidden_layers=4: not told apart)",
        "dropout (or patch_size=8 x num_hidden_layers=4: not told apart)",
        "num_hidden_layers (or patch_size=8 x dropout=none: not told apart)",
    ]


def test_main_effect_of_a_fraction_is_the_sum_that_its_row_names(tmp_path):
    # Without any effect of its own, the main effect of c is what a and b do together: the row must say so.
    together = {(0, 0): 0.80, (1, 0): 0.80, (0, 1): 0.80, (1, 1): 0.90}
    arms = {
        "+".join(f"{n}=1" for n, on in zip("abc", (a, b, (a + b) % 2), strict=True) if on) or "baseline": [m, m]
        for (a, b), m in together.items()
    }
    row = analysed(tmp_path, arms).main.set_index("factor").loc["c"]
    assert row["effect"] == pytest.approx(-5.0) and row["aliases"] == "a=1 x b=1"


@pytest.mark.parametrize("levels", [[("a", "1"), ("b", "1"), ("c", "1")], [("a", "12"), ("b", "123")]])
def test_main_effects_of_a_full_grid_have_no_aliases(tmp_path, levels):
    rng, arms = np.random.default_rng(4), {}
    for combination in itertools.product(*[["", *(f"{name}={v}" for v in values)] for name, values in levels]):
        arms["+".join(filter(None, combination)) or "baseline"] = list(rng.normal(0.8, 0.01, 2))
    main = analysed(tmp_path, arms).main
    assert len(main) == sum(len(values) for _, values in levels) and set(main["aliases"]) == {""}


def test_factors_that_always_change_together_are_named(tmp_path):
    arms = {"baseline": [0.8, 0.81], "patch_size=8+num_hidden_layers=4": [0.75, 0.76]}
    found = analyze_factors(select(load(make_sweep(tmp_path, arms, epochs=1))))
    assert found.main.empty
    (note,) = found.notes
    assert note.endswith("cannot be told from main effects in this design.")


def test_seed_is_left_out_of_those_effects_only_that_need_the_missing_arm(tmp_path):
    arms = {arm(patch_size=p, num_hidden_layers=n): [0.80, 0.81, 0.82] for p in "48" for n in "842"}
    arms["num_hidden_layers=2"] = [0.7, 0.71]
    found = analysed(tmp_path, arms)
    assert dict(zip(found.main["level"], found.main["n"], strict=True)) == {"8": 2, "4": 3, "2": 2}
    assert found.notes[-1].endswith("not finished: num_hidden_layers=2 (seeds 2).")


def test_one_factor_alone_has_nothing_to_be_crossed_with(tmp_path):
    assert analysed(tmp_path, {"baseline": [0.80, 0.81], "patch_size=8": [0.75, 0.76]}) is None


def test_sweep_without_levels_has_no_factors(tmp_path):
    assert analyze_factors(select(load(make_sweep(tmp_path, {"baseline": [0.8], "odd name": [0.7]}, epochs=1)))) is None


def test_levels_that_always_change_together_do_not_spoil_the_interactions(tmp_path):
    arms = {
        "baseline": [0.80, 0.81, 0.80],
        "patch_size=8": [0.75, 0.755, 0.75],
        "num_hidden_layers=4": [0.79, 0.80, 0.805],
        "patch_size=8+num_hidden_layers=4": [0.74, 0.75, 0.745],
        "lr=0.1+decay=0": [0.79, 0.80, 0.79],
    }
    found = analyze_factors(select(load(make_sweep(tmp_path, arms, epochs=1))))
    together = [row for row in found.interactions.to_dict("records") if "patch_size" in row["factors"]]
    assert len(together) == 1 and "lr" not in together[0]["factors"]
    planted = 100 * np.mean(
        np.array([0.74, 0.75, 0.745]) - [0.75, 0.755, 0.75] - [0.79, 0.80, 0.805] + [0.8, 0.81, 0.8]
    )
    assert together[0]["effect"] == pytest.approx(planted)
