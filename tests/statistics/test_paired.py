"""Paired statistics: they agree with scipy, statsmodels and pingouin, and keep their promises at the edges.

Kinds: reference (two published examples: Cushny and Peebles' sleep data 1905, Darwin's maize as in Fisher 1935),
properties (symmetry, enumeration, Holm), edges (one seed, no spread). pingouin's numbers are constants: version 0.7.0.
"""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired
from vitsweep.analysis.statistics import paired as stats

from vitsweep.significance.declared import Comparison

SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
MAIZE = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])
PINGOUIN = {
    "sleep": {"p": 0.002832890197384273, "low": 0.7001142367230175, "high": 2.459885763276983, "d": 1.2845575625910546},
    "maize": {
        "p": 0.049702944021800866,
        "low": 0.031193318392979563,
        "high": 41.83547334827369,
        "d": 0.5546079777065185,
    },
}
PINGOUIN_TOST = {"sleep": (2.0, 0.1541572356690974), "maize": (40.0, 0.03533171151936539)}
DATA = {"sleep": SLEEP, "maize": MAIZE}
CLOSE = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("name", DATA)
def test_compare_agrees_with_pingouin(name):
    found, known = stats.compare_paired(DATA[name], rope=math.nan), PINGOUIN[name]
    assert found.p == pytest.approx(known["p"], **CLOSE)
    assert (found.ci_low, found.ci_high) == pytest.approx((known["low"], known["high"]), **CLOSE)
    assert found.effect_size == pytest.approx(known["d"], **CLOSE)


@pytest.mark.parametrize("name", DATA)
def test_compare_agrees_with_scipy(name):
    found, known = stats.compare_paired(DATA[name], rope=math.nan), scipy_stats.ttest_1samp(DATA[name], 0)
    interval = known.confidence_interval(0.95)
    assert found.p == pytest.approx(known.pvalue, **CLOSE)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high), **CLOSE)


@pytest.mark.parametrize("name", DATA)
def test_equivalence_agrees_with_statsmodels_and_pingouin(name):
    rope, known = PINGOUIN_TOST[name]
    found = stats.compare_paired(DATA[name], rope=rope).p_equivalent
    other = ttost_paired(DATA[name], np.zeros(len(DATA[name])), -rope, rope)[0]
    assert found == pytest.approx(other, **CLOSE)
    assert found == pytest.approx(known, **CLOSE)


def test_holm_agrees_with_statsmodels_and_pingouin():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.2])
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1], **CLOSE)
    assert stats.holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2], **CLOSE)


@pytest.mark.parametrize("n", [3, 8, 12])
def test_signflip_agrees_with_scipy_enumeration(n):
    difference = np.random.default_rng(n).normal(0.3, 1, n)
    known = scipy_stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert stats.p_signflip(difference) == pytest.approx(known.pvalue, **CLOSE)


def test_signflip_gives_fishers_count_for_the_maize():
    # Fisher 1935, section 21: 1726 of the 32,768 sums are at least as large as the observed 314 in absolute value.
    assert stats.p_signflip(MAIZE) == 1726 / 32768


def test_signflip_cannot_fall_below_its_floor():
    assert [stats.p_signflip(np.arange(1.0, n + 1)) for n in (3, 5, 8)] == [2 / 2**3, 2 / 2**5, 2 / 2**8]


def test_signflip_enumerates_sixteen_seeds():
    difference = np.arange(1.0, 17.0)
    assert stats.p_signflip(difference) == 2 / 2**16


def test_signflip_above_sixteen_seeds_is_random_and_repeatable():
    difference = np.random.default_rng(0).normal(0.3, 1, 20)
    known = scipy_stats.ttest_1samp(difference, 0).pvalue
    assert stats.p_signflip(difference) == stats.p_signflip(difference) == pytest.approx(known, abs=0.02)


def test_signflip_counts_equal_sums_as_ties_despite_rounding():
    assert stats.p_signflip(np.array([0.1, 0.2, -0.3])) == 1.0


def test_compare_of_swapped_arms_is_the_mirror_image():
    one, other = stats.compare_paired(SLEEP, 0.5), stats.compare_paired(-SLEEP, 0.5)
    assert (one.p, one.p_signflip, one.p_equivalent) == (other.p, other.p_signflip, other.p_equivalent)
    assert (one.ci_low, one.ci_high) == (-other.ci_high, -other.ci_low)


def test_holm_counts_arms_without_p_in_the_family():
    assert stats.holm(np.array([0.01, math.nan, math.nan]))[0] == pytest.approx(0.03)
    assert np.isnan(stats.holm(np.array([0.01, math.nan]))[1])


def test_holm_works_on_many_families_at_once():
    p = np.random.default_rng(0).random((7, 4))
    assert stats.holm(p) == pytest.approx(np.array([stats.holm(row) for row in p]))


def test_compare_of_one_seed_has_a_difference_and_nothing_else():
    found = stats.compare_paired(np.array([0.7]), 0.5)
    assert found.delta == 0.7 and found.n == 1
    unknown = (found.sd, found.ci_low, found.p, found.p_signflip, found.p_equivalent, found.effect_size)
    assert all(math.isnan(x) for x in unknown)


def test_compare_of_no_seed_is_all_missing():
    found = stats.compare_paired(np.array([]), 0.5)
    assert found.n == 0 and math.isnan(found.delta) and math.isnan(found.p)


def test_compare_of_equal_differences_gives_no_interval_and_the_signflip_p():
    found = stats.compare_paired(np.array([0.3, 0.3, 0.3]), 0.5)
    assert math.isnan(found.ci_low) and math.isnan(found.ci_high)
    assert found.p == found.p_signflip == 0.25


@pytest.mark.parametrize(("mean", "p"), [(0.0, 2**-5), (0.4, 2**-5), (0.5, 1.0), (-0.6, 1.0)])
def test_equivalence_without_spread_follows_the_number_of_seeds(mean, p):
    assert stats.compare_paired(np.full(6, mean), rope=0.5).p_equivalent == p


def test_equivalence_without_a_rope_has_no_p():
    assert math.isnan(stats.compare_paired(np.zeros(6), rope=math.nan).p_equivalent)


def test_twelve_arms_as_far_off_as_the_rope_are_rarely_called_equivalent():
    rng, falsely = np.random.default_rng(3), []
    for _ in range(1000):
        difference_AS = 0.5 + (rng.normal(0, 0.3, (12, 6)) - rng.normal(0, 0.3, 6)) / math.sqrt(2)
        p_A = stats.p_equivalent(difference_AS, rope=0.5)
        falsely.append(any(one.p_equivalent < stats.ALPHA for one in stats.adjust_family(np.ones(12), p_A)))
    assert np.mean(falsely) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_differences_that_vary_by_rounding_only_count_as_equal():
    assert stats.sample_sd(np.array([0.8 - 0.7, 0.5 - 0.4, 0.3 - 0.2])) == 0.0


def test_compare_counts_ties_as_half_better():
    assert stats.compare_paired(np.array([0.2, 0.0, -0.1, 0.4]), 0.5).better == 0.625


def test_better_means_lower_for_losses():
    assert stats.compare_paired(np.array([-0.2, -0.1, 0.3]), math.nan, sign=-1).better == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("difference", "p_holm", "word"),
    [
        ([1.0, 1.2, 0.9], 0.04, "helps"),
        ([-1.0, -1.2, -0.9], 0.04, "hurts"),
        ([0.01, 0.02, -0.01, 0.0], 0.6, "equivalent"),
        ([1.0, -1.2, 0.9], 0.6, "undecided"),
        ([1.0], math.nan, "single"),
        ([], math.nan, "missing"),
    ],
)
def test_verdict_is_one_of_six_words(difference, p_holm, word):
    found = stats.compare_paired(np.array(difference), 0.5)
    assert stats.verdict(found, stats.AdjustedP(p=p_holm, p_equivalent=found.p_equivalent)) == word


def test_verdict_of_a_loss_that_falls_is_helps():
    found = stats.compare_paired(np.array([-1.0, -1.2, -0.9]), math.nan, sign=-1)
    assert stats.verdict(found, stats.AdjustedP(p=0.01), sign=-1) == "helps"


def test_seeds_to_decide_take_the_cheaper_of_difference_and_equivalence():
    small, asked = stats.compare_paired(np.random.default_rng(0).normal(0.02, 0.3, 6), 0.5), Comparison(arms=6)
    assert stats.decision_seeds(small, asked, 0.5)[0] < stats.decision_seeds(small, asked, math.nan)[0]


def test_seeds_to_decide_count_the_arms_for_equivalence_too():
    small = stats.compare_paired(np.random.default_rng(0).normal(0.0, 0.3, 6), 0.5)
    many, one = (stats.decision_seeds(small, Comparison(arms=arms), 0.5)[0] for arms in (12, 1))
    assert many > one


def test_interval_of_the_seeds_to_decide_is_that_of_the_spread():
    result, asked = stats.compare_paired(np.array([0.3, 0.5, 0.1, 0.6, 0.4, 0.2]), math.nan), Comparison(arms=2)
    _, low, high = stats.decision_seeds(result, asked, math.nan)
    ends = [result.sd * math.sqrt(5 / scipy_stats.chi2.ppf(p, 5)) for p in (0.975, 0.025)]
    assert [low, high] == [asked.seeds_needed(result.delta, sd) for sd in ends]


@pytest.mark.parametrize("difference_S", [[0.3, 0.3, 0.3, 0.3, 0.3], [0.3, 0.5, 0.1, 0.6]])
def test_seeds_to_decide_need_a_spread_and_five_seeds(difference_S):
    found = stats.decision_seeds(stats.compare_paired(np.array(difference_S), 0.5), Comparison(arms=3), 0.5)
    assert np.isnan(found).all()
