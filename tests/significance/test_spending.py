"""Error spending over looks: bounds, sequential p values.

Kinds: agreement (published bounds of large samples, simulation of the t statistics), property.
"""

import numpy as np
import pytest
from scipy import special

from vitsweep.significance.spending import SPENDINGS, nominal_levels, sequential_p, spent

LOOKS = tuple(range(3, 13))


@pytest.fixture(scope="module")
def null_t():
    """(draws, looks) paired t statistics after 3, 4, ... 12 seeds, when nothing differs."""
    x = np.random.default_rng(0).standard_normal((100_000, 12))
    return np.stack([np.sqrt(n) * x[:, :n].mean(axis=1) / x[:, :n].std(axis=1, ddof=1) for n in LOOKS], axis=1)


@pytest.fixture(scope="module")
def null_p(null_t):
    """(draws, looks) their two-sided p values."""
    return np.stack([2 * special.stdtr(n - 1, -np.abs(t)) for n, t in zip(LOOKS, null_t.T, strict=True)], axis=1)


def test_obrien_fleming_bounds_of_many_seeds_are_the_published_ones():
    # Four equal looks under normal theory (Lan & DeMets 1983; the R package ldbounds): z = 4.333 2.963 2.359 2.014.
    z = -special.ndtri(nominal_levels((15, 30, 45, 60), "obrien_fleming") / 2)
    assert z == pytest.approx([4.333, 2.963, 2.359, 2.014], rel=0.02)


def test_constant_bound_of_three_looks_is_the_simulated_one():
    assert nominal_levels((3, 5, 10), "constant") == pytest.approx([0.0192] * 3, abs=1e-4)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("level", [0.05, 0.05 / 6])
def test_error_over_all_looks_is_the_level(null_p, spending, level):
    rate = (null_p <= nominal_levels(LOOKS, spending, level)).any(axis=1).mean()
    assert rate == pytest.approx(level, abs=4 * np.sqrt(level / len(null_p)))


@pytest.mark.parametrize("spending", SPENDINGS)
def test_sequential_p_is_uniform_when_nothing_differs(null_p, spending):
    p = sequential_p(null_p, LOOKS, spending)[:, -1]
    for level in (0.01, 0.05, 0.3):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / len(p))), level


@pytest.mark.parametrize("spending", SPENDINGS)
def test_one_sided_p_is_uniform_too(null_t, spending):
    one_sided = np.stack([special.stdtr(n - 1, t) for n, t in zip(LOOKS, null_t.T, strict=True)], axis=1)
    rate = (sequential_p(one_sided, LOOKS, spending, sides=1)[:, -1] <= 0.05).mean()
    assert rate == pytest.approx(0.05, abs=4 * np.sqrt(0.05 / len(null_t)))


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("sides", [1, 2])
def test_sequential_p_is_below_a_level_exactly_when_a_bound_is_crossed(null_p, spending, sides):
    level, p = 0.05, null_p[:2000]
    crossed = (p <= nominal_levels(LOOKS, spending, level, sides)).any(axis=1)
    sequential = sequential_p(p, LOOKS, spending, sides)[:, -1]
    clear = np.abs(sequential - level) > 1e-4
    assert (crossed == (sequential <= level))[clear].all()


def test_first_look_alone_is_the_ordinary_test():
    assert sequential_p(np.array([0.03]), (5,), "obrien_fleming") == pytest.approx([0.03], rel=1e-3)


def test_look_without_a_p_value_changes_nothing():
    p = sequential_p(np.array([np.nan, 0.001, np.nan]), (3, 5, 10), "constant")
    assert np.isnan(p[0]) and p[1] == p[2] < 0.05


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_spending_functions_grow_to_the_whole_level(spending):
    used = [float(spent(0.05, fraction, spending)) for fraction in (0.25, 0.5, 1.0)]
    assert used == sorted(used) and used[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("looks", [(1, 2), (3, 3), (5, 3), (), (3, 101)])
def test_impossible_looks_are_refused(looks):
    with pytest.raises(ValueError, match="must grow"):
        nominal_levels(looks, "constant")
