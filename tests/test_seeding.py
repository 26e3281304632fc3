"""seeding: deterministic (known values, equal twice), properties (streams apart, permutations whole)."""

import numpy as np
import torch

from vitsweep.seeding import STREAMS, derive_seed, draw_bits, make_generator, permute, seed_everything


def test_derive_gives_the_same_seeds_as_ever():
    # The first eight bytes that `printf '[0]' | sha256sum` and `printf '[7,"augment"]' | sha256sum` print.
    assert derive_seed(0) == 0xD0BCA111F8628137
    assert derive_seed(7, "augment") == 0x617E3B62074F2903


def test_derive_distinguishes_seeds_names_and_their_grouping():
    children = [derive_seed(seed, *names) for seed in range(50) for names in [(), ("a",), ("b",), ("a", "b"), ("ab",)]]
    assert len(set(children)) == 250


def test_make_generator_repeats_itself():
    first, second = (torch.rand(8, generator=make_generator(3, "order")) for _ in range(2))
    assert torch.equal(first, second)


def test_make_generator_streams_are_unrelated():
    draws = torch.stack([torch.rand(2000, generator=make_generator(0, name)) for name in STREAMS])
    assert (torch.corrcoef(draws) - torch.eye(4)).abs().max() < 0.1


def test_make_generator_of_neighbouring_seeds_is_unrelated():
    draws = torch.stack([torch.rand(2000, generator=make_generator(seed, "init")) for seed in range(4)])
    assert (torch.corrcoef(draws) - torch.eye(4)).abs().max() < 0.1


def test_draw_bits_gives_the_same_bits_as_ever():
    assert draw_bits(2, 0, "shapes").tolist() == [8319035703364593115, 11421569208704093009]


def test_permute_holds_each_number_once():
    assert sorted(permute(100, 0, "split").tolist()) == list(range(100))


def test_permute_depends_on_seed_and_name():
    orders = [permute(100, 0, "a"), permute(100, 1, "a"), permute(100, 0, "b")]
    assert not any(np.array_equal(orders[i], orders[j]) for i, j in [(0, 1), (0, 2), (1, 2)])


def test_permute_is_even():
    first = np.array([permute(4, seed, "x")[0] for seed in range(2000)])
    assert np.bincount(first).min() > 420  # 500 expected, standard deviation 19


def test_seeding_what_is_needed_gives_the_numbers_of_torchs_own_seeding():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**64 - 3)
        expected = torch.rand(5)
        seed_everything(2**64 - 3, torch.device("cpu"))
        assert torch.equal(torch.rand(5), expected)
