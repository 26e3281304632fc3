"""Published values and the scale of a study file: properties of a scaled plan, and refusals. Nothing is trained."""

import pytest

from vitsweep.config.composer import Composer

SMALL = {"scale": {"images": 500, "epochs": 20, "seeds": 3}, "baseline": ["recipe=augmented"], "seeds": 5}
PATCH = {"factors": {"patch": ["model.patch_size=8"]}}


def test_scale_shrinks_images_epochs_and_seeds_and_keeps_the_proportions(plan):
    small = plan(**SMALL, **PATCH)
    recipes = [cell.config["recipe"] for cell in small.cells]
    assert small.seeds == [0, 1, 2] and len(small.cells) == 6
    assert {cell.config["data"]["train_limit"] for cell in small.cells} == {500}
    assert {(r["epochs"], r["warmup_epochs"]) for r in recipes} == {(20, 0.5)}  # of 200 and 5
    assert small.scale == {"images": [500, "all"], "epochs": [20, 200], "seeds": [3, 5]}
    assert "a small version: 500 training images instead of all, 20 epochs instead of 200, 3 seeds instead of 5" in (
        small.notes
    )


def test_recipe_of_an_arm_is_scaled_in_its_own_proportions(plan):
    small = plan(scale={"epochs": 3}, baseline=["recipe=quick"], factors={"recipe": ["recipe=augmented"]}, seeds=1)
    recipes = {cell.arm: cell.config["recipe"] for cell in small.cells}
    assert [(r["epochs"], r["warmup_epochs"]) for r in recipes.values()] == [(3, 0.5), (3, 0.075)]


def test_scaled_cells_compose_again_from_their_overrides(plan, composer: Composer):
    for cell in plan(**SMALL, **PATCH).cells:
        assert composer(cell.overrides).recipe.epochs == cell.config["recipe"]["epochs"] == 20


def test_study_without_a_scale_has_none_in_its_plan(plan):
    assert plan(**PATCH).scale == {}


REFUSED = {
    "unknown key": ({"scale": {"width": 2}}, "study.scale.width  is unknown; allowed: images, epochs, seeds"),
    "no number": ({"scale": {"epochs": 0}}, "study.scale.epochs=0  must be a whole number of at least 1"),
    "larger": ({"scale": {"epochs": 400}}, "study.scale.epochs=400  is more than recipe.epochs=100; a scale makes"),
    "level": (
        {"scale": {"epochs": 2}, "factors": {"length": ["recipe.epochs=50"]}},
        "study.scale  would undo recipe.epochs=50 of length=50; drop one of them",
    ),
    "published text": ({"published": {"baseline": "high"}}, "study.published.baseline=high  must be a number"),
    "published key": (
        {"published": {"baseline": {"value": 3, "runs": 2}}},
        'study.published.baseline={"runs": 2, "value": 3}  has unknown runs; allowed: value, n, source',
    ),
}


@pytest.mark.parametrize("entries, words", REFUSED.values(), ids=REFUSED)
def test_study_file_is_refused(refusal, entries, words):
    assert any(line.startswith(words) for line in refusal(**entries)), refusal(**entries)


def test_value_of_the_command_line_that_a_scale_would_undo_is_refused(refusal):
    words = ["recipe.epochs  would be undone by study.scale.epochs; set that instead"]
    assert refusal("recipe.epochs=3", scale={"epochs": 2}) == words
