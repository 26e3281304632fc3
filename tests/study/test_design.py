"""Designs: which arms a study has, checked by eye and by what textbooks say of fractional factorials."""

import pytest

from vitsweep.config.schema import StudyConfig
from vitsweep.errors import ConfigError
from vitsweep.study.design import (
    aliases,
    defining_words,
    fraction_rows,
    generators,
    parse_factors,
    resolution_of,
    study_seeds,
)
from vitsweep.study.design import arm_specs as specs_of_factors

TWO = {"bias": ["model.bias=false"], "patch": [["model.patch_size=8", "recipe.lr=2e-3"], "model.patch_size=16"]}
THREE = {"a": ["a=1"], "b": ["b=1"], "c": ["c=1"]}


def arm_specs(study: StudyConfig) -> list:
    return specs_of_factors(study, parse_factors(study))


def arms(design: str, factors: dict, **more) -> list[dict[str, str]]:
    return [spec.levels for spec in arm_specs(StudyConfig(design=design, factors=factors, **more))]


def test_ofat_changes_one_factor_at_a_time():
    assert arms("ofat", TWO) == [{}, {"bias": "false"}, {"patch": "8+2e-3"}, {"patch": "16"}]


def test_level_of_two_overrides_keeps_both():
    assert arm_specs(StudyConfig(factors=TWO))[2].overrides == ("model.patch_size=8", "recipe.lr=2e-3")


def test_loco_removes_each_and_then_all():
    assert arms("loco", THREE) == [{}, {"a": "1"}, {"b": "1"}, {"c": "1"}, {"a": "1", "b": "1", "c": "1"}]


def test_loco_with_one_component_has_no_arm_twice():
    assert arms("loco", {"a": ["a=1"]}) == [{}, {"a": "1"}]


def test_grid_has_every_combination_with_the_baselines_level():
    assert arms("grid", TWO) == [
        {},
        {"patch": "8+2e-3"},
        {"patch": "16"},
        {"bias": "false"},
        {"bias": "false", "patch": "8+2e-3"},
        {"bias": "false", "patch": "16"},
    ]


def test_pairs_has_singles_and_all_pairs_of_different_factors():
    found = arms("pairs", TWO)
    assert len(found) == 1 + 3 + 2 and {"bias": "false", "patch": "16"} in found


def test_path_adds_one_change_after_another():
    assert arms("path", THREE) == [{}, {"a": "1"}, {"a": "1", "b": "1"}, {"a": "1", "b": "1", "c": "1"}]


def test_list_names_its_arms():
    specs = arm_specs(
        StudyConfig(design="list", arms={"small": ["model.hidden_size=64"], "wide": "model.hidden_size=512"})
    )
    assert [(s.name, s.overrides) for s in specs[1:]] == [
        ("small", ("model.hidden_size=64",)),
        ("wide", ("model.hidden_size=512",)),
    ]


@pytest.mark.parametrize(
    "num_factors, resolution, runs", [(3, 3, 4), (4, 4, 8), (5, 3, 8), (5, 5, 16), (6, 4, 16), (7, 3, 8), (7, 4, 16)]
)
def test_fraction_has_the_textbooks_number_of_runs(num_factors, resolution, runs):
    """Box, Hunter & Hunter 2005, table 6.22."""
    assert len(fraction_rows(num_factors, resolution)) == runs


@pytest.mark.parametrize("num_factors, resolution", [(3, 3), (4, 4), (5, 4), (6, 4), (7, 3)])
def test_fraction_is_balanced_and_orthogonal_and_contains_the_baseline(num_factors, resolution):
    rows = fraction_rows(num_factors, resolution)
    columns = list(zip(*rows, strict=True))
    assert rows[0] == [False] * num_factors
    assert all(2 * sum(column) == len(rows) for column in columns)
    signs = [[1 if x else -1 for x in column] for column in columns]
    products = [sum(x * y for x, y in zip(a, b, strict=True)) for a in signs for b in signs if a is not b]
    assert set(products) == {0}


PUBLISHED = {
    (3, 3): "a b ab",
    (4, 4): "a b c abc",
    (5, 3): "a b c ab ac",
    (5, 5): "a b c d abcd",
    (6, 3): "a b c ab ac bc",
    (6, 4): "a b c d abc bcd",
    (7, 3): "a b c ab ac bc abc",
    (7, 4): "a b c d abc bcd acd",
}
"""(number of factors, resolution) -> columns of Box, Hunter & Hunter 2005, table 6.22, without their signs."""


@pytest.mark.parametrize(("num_factors", "resolution"), PUBLISHED)
def test_fraction_is_the_published_one_up_to_names(num_factors, resolution):
    """The lengths of the words of the defining relation do not depend on which factor has which letter."""
    ours, published = generators(num_factors, resolution), PUBLISHED[num_factors, resolution].split()
    assert sorted(map(len, defining_words(ours))) == sorted(map(len, defining_words(published)))


@pytest.mark.parametrize(
    ("num_factors", "resolution", "runs"),
    [
        (4, 4, "---- --++ -+-+ -++- +--+ +-+- ++-- ++++"),
        (5, 3, "----- --++- ++--- -+-++ -++-+ +--++ +-+-+ ++++-"),
    ],
)
def test_fraction_keeps_its_runs(num_factors, resolution, runs):
    """Plans are frozen in this order: pyDOE3's, with the baseline first and then by the number of changes."""
    assert ["".join("-+"[x] for x in row) for row in fraction_rows(num_factors, resolution)] == runs.split()


def test_fraction_resolution_is_the_shortest_defining_word():
    assert resolution_of(["a", "b", "c", "abc"]) == 4
    assert resolution_of(["a", "b", "c", "ab", "ac"]) == 3


def test_fraction_states_its_aliases():
    assert aliases(4, 4, ["w", "x", "y", "z"]) == ["w:x = y:z", "w:y = x:z", "w:z = x:y"]


def test_fraction_of_resolution_five_has_no_aliased_pairs():
    assert aliases(5, 5, list("abcde")) == [] and len(generators(5, 5)) == 5


@pytest.mark.parametrize(
    "study, sentence",
    [
        ({"design": "best"}, "study.design=best  is unknown; allowed: fraction, grid, list, loco, ofat, pairs, path"),
        ({"factors": {}}, "study.factors={}  is empty; design=ofat needs at least one factor"),
        ({"factors": {"a": []}}, "study.factors.a=[]  must be a list of at least one level"),
        (
            {"factors": {"a": ["x"]}},
            "study.factors.a=['x']  must be overrides such as model.bias=false, or lists of them",
        ),
        ({"factors": {"a": ["a=1", "b=1"]}}, "study.factors.a=['a=1', 'b=1']  has two levels that read the same"),
        ({"design": "loco", "factors": {"a": ["a=1", "a=2"]}}, "study.factors.a  must have one level for design=loco"),
        ({"design": "pairs", "factors": {"a": ["a=1"]}}, "study.design=pairs  needs at least 2 factors"),
        ({"design": "fraction", "factors": {"a": ["a=1"]}}, "study.design=fraction  needs 3 to 10 factors, not 1"),
        ({"design": "fraction", "factors": THREE}, "study.resolution=4  cannot be had with 3 factors; allowed: 3 to 3"),
        ({"design": "list"}, "study.arms={}  is empty; design=list needs arms: {name: [override, ...]}"),
    ],
)
def test_study_is_refused_with_key_and_remedy(study, sentence):
    with pytest.raises(ConfigError) as refusal:
        arm_specs(StudyConfig(**study))
    assert refusal.value.errors[0].startswith(sentence)


def test_seeds_are_a_list_or_a_count():
    assert study_seeds(3) == [0, 1, 2] and study_seeds([4, 7]) == [4, 7]


@pytest.mark.parametrize("seeds", [0, [], [1, 1], "3", [0.5], True])
def test_seeds_that_are_none_are_refused(seeds):
    with pytest.raises(ConfigError, match="study.seeds="):
        study_seeds(seeds)
