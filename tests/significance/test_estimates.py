"""Contrasts of arms under the paired, the pooled and the Welch error.

Kinds: reference (statsmodels' least squares and mixed model, scipy's t tests), properties, refusals.
Y: 6 seeds, 4 arms.
"""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as formulas
from scipy import stats

from vitsweep.significance.estimates import against_baseline, estimate_contrasts

RNG = np.random.default_rng(0)
Y = 90 + 2 * RNG.normal(size=(6, 1)) + RNG.normal(size=(6, 4))
LOST = [(0, 1), (3, 3), (5, 0)]
ALL = against_baseline(4)
MAIN = np.array([[-0.5, -0.5, 0.5, 0.5], [1, -1, -1, 1]])


def without(values, lost):
    """Return a copy with NaN in these cells."""
    values = values.copy()
    for place in lost:
        values[place] = np.nan
    return values


def rows(values):
    """Return the finished runs as rows with arm, seed and y."""
    frame = pd.DataFrame(values).melt(ignore_index=False, var_name="arm", value_name="y")
    return frame.reset_index(names="seed").dropna()


@pytest.mark.parametrize("lost", [[], LOST], ids=["complete", "seeds missing"])
def test_pooled_error_is_least_squares_with_arms_and_seeds(lost):
    values = without(Y, lost)
    known = formulas.ols("y ~ C(arm) + C(seed)", rows(values)).fit()
    found, arms = estimate_contrasts(values, ALL, "pooled"), known.params.index.str.startswith("C(arm)")
    assert found.value == pytest.approx(known.params[arms].to_numpy())
    assert found.error == pytest.approx(known.bse[arms].to_numpy())
    assert found.p() == pytest.approx(known.pvalues[arms].to_numpy())
    low, high = found.interval()
    assert np.column_stack([low, high]) == pytest.approx(known.conf_int()[arms].to_numpy())


def test_pooled_error_is_the_mixed_model_with_random_seeds_on_balanced_data():
    known = formulas.mixedlm("y ~ C(arm)", rows(Y), groups="seed").fit(reml=True)
    found, arms = estimate_contrasts(Y, ALL, "pooled"), known.params.index.str.startswith("C(arm)")
    assert found.value == pytest.approx(known.params[arms].to_numpy(), abs=1e-6)
    assert found.error == pytest.approx(known.bse[arms].to_numpy(), abs=1e-4)


@pytest.mark.parametrize("lost", [[], LOST], ids=["complete", "seeds missing"])
def test_paired_and_welch_errors_are_scipys_t_tests(lost):
    values = without(Y, lost)
    paired, welch = (estimate_contrasts(values, ALL, error) for error in ("paired", "welch"))
    for arm in (1, 2, 3):
        one, other = values[:, arm], values[:, 0]
        assert paired.p()[arm - 1] == pytest.approx(stats.ttest_rel(one, other, nan_policy="omit").pvalue)
        known = stats.ttest_ind(one, other, equal_var=False, nan_policy="omit")
        assert (welch.p()[arm - 1], welch.freedom[arm - 1]) == pytest.approx((known.pvalue, known.df))


@pytest.mark.parametrize("error", ["paired", "pooled", "welch"])
def test_leading_axes_are_independent_studies_also_where_runs_are_missing(error):
    many = np.stack([Y, without(Y, LOST), 2 * Y])
    found = estimate_contrasts(many, MAIN, error)
    for place, one in enumerate(many):
        alone = estimate_contrasts(one, MAIN, error)
        for name in ("n", "value", "error", "freedom"):
            assert getattr(found, name)[place] == pytest.approx(getattr(alone, name))


def test_two_arms_under_the_pooled_error_are_the_paired_t_test():
    pooled, paired = (estimate_contrasts(Y[:, :2], [[-1, 1]], error) for error in ("pooled", "paired"))
    assert [pooled.value[0], pooled.error[0]] == pytest.approx([paired.value[0], paired.error[0]])
    assert pooled.freedom == paired.freedom == 5


@pytest.mark.parametrize("error", ["paired", "pooled"])
def test_what_a_seed_adds_to_all_arms_changes_nothing(error):
    shifted = Y + np.arange(6.0)[:, None] ** 2
    before, after = (estimate_contrasts(values, MAIN, error) for values in (Y, shifted))
    assert after.value == pytest.approx(before.value) and after.error == pytest.approx(before.error)


def test_equivalence_p_of_the_paired_error_is_the_larger_of_two_one_sided_tests():
    difference_S = Y[:, 1] - Y[:, 0]
    known = max(
        stats.ttest_1samp(difference_S, -3, alternative="greater").pvalue,
        stats.ttest_1samp(difference_S, 3, alternative="less").pvalue,
    )
    assert estimate_contrasts(Y, ALL, "paired").p_within(3.0)[0] == pytest.approx(known)


@pytest.mark.parametrize("error", ["paired", "pooled", "welch"])
def test_arm_without_runs_has_no_estimate_and_leaves_the_others_theirs(error):
    found = estimate_contrasts(without(Y, [(s, 3) for s in range(6)]), ALL, error)
    alone = estimate_contrasts(Y[:, :3], against_baseline(3), error)
    assert found.n[2] == 0 and np.isnan([found.value[2], found.error[2], found.p()[2]]).all()
    assert found.p()[:2] == pytest.approx(alone.p())


@pytest.mark.parametrize("error", ["paired", "pooled", "welch"])
def test_runs_without_spread_are_judged_by_their_number_alone(error):
    values = np.tile([80.0, 81.0, 80.0], (4, 1))
    found = estimate_contrasts(values, against_baseline(3), error)
    assert found.p() == pytest.approx([2.0**-3, 1.0]) and np.isnan(found.error).all()


def test_unknown_error_is_refused():
    with pytest.raises(ValueError, match="^error=student  is unknown; allowed: paired, pooled, welch$"):
        estimate_contrasts(Y, ALL, "student")
