"""Differences between arms over seeds: the moderated t against its definition, the error rates it promises.

Kinds: agrees with an independent reference, obeys a property. Shapes: S seeds, N images, P patches.
"""

import math

import numpy as np
import pytest
from scipy import stats
from vitsweep.analysis.attention.difference import (
    common_grid,
    compare_arms,
    compare_whole_maps,
    discoveries,
    log_lift,
    moderated_p,
    variance_prior,
)
from vitsweep.analysis.attention.looks import ModelView
from vitsweep.analysis.attention.maps import AttentionMaps


def view(mass_NP, grid, *, seed=0, arm="arm", patch_size=8):
    mass_NT = np.concatenate([np.full((len(mass_NP), 1), 0.1), 0.9 * mass_NP], axis=1)
    maps = AttentionMaps(mass_NT=mass_NT, logit_NK=np.zeros((len(mass_NP), 2)), grid=grid)
    return ModelView(arm=arm, role="arm", seed=seed, directory="", patch_size=patch_size, maps=maps)


def noisy_densities(rng, S, N=4, P=16, shift=None, noise=0.1):
    logits = rng.normal(0, noise, (S, N, P)) + (0 if shift is None else shift)
    power = np.exp(logits)
    return power / power.sum(-1, keepdims=True)


def test_discoveries_agree_with_the_published_example():
    # Benjamini and Hochberg 1995, section 3.1: fifteen p-values, four rejected at 5 %.
    published = [
        [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344],
        [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000, np.nan],
    ]
    assert discoveries(np.array(published)).sum() == 4
    assert discoveries(np.array(published))[0, :4].all()


def test_discoveries_agree_with_scipy():
    p = np.random.default_rng(0).beta(0.4, 2, 200)
    assert (discoveries(p) == (stats.false_discovery_control(p) <= 0.05)).all()


def test_discoveries_of_nothing_known_are_none():
    assert not discoveries(np.full((2, 3), np.nan)).any()


def test_prior_of_finds_the_distribution_that_variances_were_drawn_from():
    rng, freedom, prior_freedom, prior_variance = np.random.default_rng(0), 4, 8.0, 0.25
    true = prior_freedom * prior_variance / rng.chisquare(prior_freedom, 20000)
    seen = true * rng.chisquare(freedom, 20000) / freedom
    found_freedom, found_variance = variance_prior(seen, freedom)
    assert found_freedom == pytest.approx(prior_freedom, rel=0.1)
    assert found_variance == pytest.approx(prior_variance, rel=0.03)


def test_prior_of_equal_variances_is_one_variance_for_all():
    seen = 2.0 * np.random.default_rng(0).chisquare(3, 5000) / 3
    prior_freedom, prior_variance = variance_prior(seen, 3)
    assert prior_freedom > 40
    assert prior_variance == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("spread", [0.0, 0.7])
@pytest.mark.parametrize("num_images", [2, 50])
def test_moderated_p_is_never_too_small_when_nothing_changes(spread, num_images):
    # Noise that is the same in all patches, and noise that differs between them; 50 studies each.
    rng = np.random.default_rng(0)
    found = []
    for _ in range(50):
        noise = np.exp(rng.normal(0, spread, (num_images, 64)))
        found.append(moderated_p(rng.normal(0, noise, (3, num_images, 64))).ravel())
    for level in (0.05, 0.001):
        assert (np.concatenate(found) <= level).mean() <= 1.25 * level


def test_moderated_p_sees_what_an_ordinary_t_cannot_with_three_seeds():
    rng = np.random.default_rng(0)
    change = rng.normal(0, 0.1, (3, 7, 64))
    change[:, 0, :5] += 1.0
    assert discoveries(moderated_p(change))[0, :5].all()
    ordinary = stats.ttest_1samp(change, 0).pvalue
    assert discoveries(ordinary).sum() < 5


def test_moderated_p_of_one_seed_is_unknown():
    assert np.isnan(moderated_p(np.ones((1, 2, 3)))).all()


def test_discoveries_among_seeds_of_one_arm_keep_their_rate():
    # No arm differs, so every mark is false: at most about 5 % of such studies may have any.
    rng = np.random.default_rng(1)
    marked = [
        discoveries(moderated_p(log_lift(noisy_densities(rng, 3)) - log_lift(noisy_densities(rng, 3)))).any()
        for _ in range(200)
    ]
    assert np.mean(marked) <= 0.09


def test_whole_maps_separate_a_shifted_arm_from_noise():
    rng = np.random.default_rng(0)
    base = noisy_densities(rng, 6)
    shift = np.zeros(16)
    shift[:4] = 1.0
    between, within, p, attainable = compare_whole_maps(noisy_densities(rng, 6, shift=shift), base)
    assert between > 2 * within
    assert p == attainable == 1 / 32
    between, within, p, _ = compare_whole_maps(noisy_densities(rng, 6), base)
    assert between == pytest.approx(within, rel=0.2)
    assert p > 0.05


def test_whole_maps_of_one_seed_know_no_noise():
    between, within, p, _ = compare_whole_maps(np.eye(4)[None, :2], np.eye(4)[None, 2:])
    assert between == 1
    assert math.isnan(within) and math.isnan(p)


def test_common_grid_is_the_finest_that_divides_both():
    assert common_grid((8, 8), (4, 4)) == (4, 4)
    assert common_grid((8, 8), (6, 12)) == (2, 4)


def test_compare_across_patch_sizes_sees_equal_maps_as_equal():
    coarse = np.random.default_rng(0).dirichlet(np.ones(16), 3)
    fine = np.repeat(np.repeat(coarse.reshape(3, 4, 4), 2, 1), 2, 2).reshape(3, 64) / 4
    found = compare_arms([view(coarse, (4, 4))], [view(fine, (8, 8), arm="baseline", patch_size=4)])
    assert found.grid == (4, 4)
    assert found.mean_NP == pytest.approx(np.zeros((3, 16)), abs=1e-9)
    assert found.between == pytest.approx(0, abs=1e-12)


def test_compare_pairs_by_seed_and_leaves_out_the_unpaired():
    rng = np.random.default_rng(0)
    maps = [rng.dirichlet(np.full(16, 5.0), 2) for _ in range(5)]
    arm = [view(maps[0], (4, 4), seed=2), view(maps[1], (4, 4), seed=0)]
    base = [view(maps[s + 2], (4, 4), seed=s) for s in range(3)]
    found = compare_arms(arm, base)
    assert found.seeds == [2, 0]
    change = np.stack([np.log2(maps[0] / maps[4]), np.log2(maps[1] / maps[2])])
    assert found.mean_NP == pytest.approx(change.mean(0))


def test_compare_of_a_single_doubled_patch():
    base, arm = np.array([[0.1, 0.4, 0.3, 0.2]]), np.array([[0.2, 0.4, 0.2, 0.2]])
    found = compare_arms([view(arm, (2, 2))], [view(base, (2, 2))])
    assert found.mean_NP[0] == pytest.approx([1, 0, math.log2(2 / 3), 0])
    assert found.between == pytest.approx(0.1)


def test_compare_without_a_common_seed_is_nothing():
    maps = np.full((1, 4), 0.25)
    assert compare_arms([view(maps, (2, 2), seed=1)], [view(maps, (2, 2), seed=0)]) is None
