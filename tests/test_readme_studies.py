"""The studies of the starting point's remarks: arms, claims, price and power are what their files say.

Kinds: properties (every claim finds its arms, the small forms share what they should), and numbers of the files' heads
computed again.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from vitsweep.analysis.statistics.claims import find_arm

from vitsweep.config.composer import Composer
from vitsweep.config.convert import from_dict
from vitsweep.config.hydra import make_loader
from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.paths import conf_dir
from vitsweep.significance.power import detectable_effect
from vitsweep.study.claims import form_errors
from vitsweep.study.estimate import arm_costs
from vitsweep.study.plan import Plan
from vitsweep.study.plan_builder import build_plan
from vitsweep.study.questions.study_power import study_power

STUDIES = ["readme", "readme_small", "readme_small_augmented"]
IMAGES_PER_SECOND = 67  # of the baseline's training on one core: what the small study's head assumes
DEPTHS = ["depth=2", "depth=4"]
SMALL_ARMS = ["baseline", "patch_size=8", *DEPTHS, "dropout=none", "model=resnet_half", "placebo"]


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    composer = Composer(make_loader(None), "config")
    return {name: build_plan([f"study={name}"], composer) for name in STUDIES}


def head(name: str) -> str:
    """The comment that a study file opens with, on one line."""
    lines = (Path(conf_dir()) / "study" / f"{name}.yaml").read_text().splitlines()
    return " ".join(" ".join(line.lstrip("# ") for line in lines if line.startswith("#")).split())


def arms(plan: Plan) -> list[str]:
    return [row["arm"] for row in plan.arms]


def claimed_arms(claim: dict) -> list[str]:
    found = [claim.get("arm", []), claim.get("than", [])]
    return [name for names in found for name in ([names] if isinstance(names, str) else names)]


@pytest.mark.parametrize("name", STUDIES)
def test_readme_study_states_five_claims_whose_arms_it_has(plans, name):
    plan = plans[name]
    assert len(plan.claims) == 5
    levels = {row["arm"]: row["levels"] for row in plan.arms}
    roles = {row["arm"]: row["role"] for row in plan.arms}
    selection = SimpleNamespace(arms=arms(plan), levels=levels, roles=roles, baseline=plan.baseline, unplanned=list)
    for claim in (c for c in plan.claims if c.get("testable", True)):
        assert not form_errors(claim)
        assert all(find_arm(arm, selection) for arm in claimed_arms(claim)), claim


def test_readme_study_has_the_arms_that_were_asked_for(plans):
    depths = [f"depth={n}" for n in (2, 4, 6, 10)]
    dropouts = [f"dropout={place}" for place in ("none", "embedding", "attention", "mlp", "head")]
    others = ["patchify=linear", "model=resnet", "placebo"]
    assert arms(plans["readme"]) == ["baseline", "patch_size=8", *depths, *dropouts, *others]
    assert "dropout=everywhere is the baseline's own level" in plans["readme"].notes
    assert plans["readme"].seeds == [0, 1, 2, 3, 4]
    assert plans["readme"].published == {"baseline": 76.12}


def test_readme_study_starts_from_the_default_configuration(plans):
    baseline = from_dict(next(cell.config for cell in plans["readme"].cells if cell.arm == "baseline"))
    assert (baseline.model, baseline.recipe) == (Config().model, Config().recipe)


@pytest.mark.parametrize("name", STUDIES[1:])
def test_small_readme_study_has_the_arms_of_the_claims_in_the_same_words(plans, name):
    assert arms(plans[name]) == [arm for arm in SMALL_ARMS if (arm, name) != ("placebo", "readme_small_augmented")]
    assert [c["claim"] for c in plans[name].claims] == [c["claim"] for c in plans["readme"].claims]
    assert plans[name].claims[3] == plans["readme"].claims[3]


def test_small_studies_differ_in_the_recipe_alone(plans):
    plain, augmented = plans["readme_small"], plans["readme_small_augmented"]
    assert (plain.seeds[:3], plain.claims) == (augmented.seeds, augmented.claims)
    asked = [cell for cell in plain.cells if cell.arm != "placebo" and cell.seed in augmented.seeds]
    for one, other in zip(asked, augmented.cells, strict=True):
        assert (one.arm, one.seed) == (other.arm, other.seed)
        assert one.config["model"] == other.config["model"] and one.config["data"] == other.config["data"]
        same = ("epochs", "batch_size", "optimizer", "crop_padding", "horizontal_flip")
        assert [one.config["recipe"][key] for key in same] == [other.config["recipe"][key] for key in same]
    recipe = RecipeConfig(**augmented.cells[0].config["recipe"])
    assert (recipe.schedule, recipe.label_smoothing, recipe.auto_augment) == ("cosine", 0.1, "randaugment")


def test_small_readme_study_halves_the_width_and_nothing_else_of_the_model(plans):
    small = next(cell.config["model"] for cell in plans["readme_small"].cells if cell.arm == "baseline")
    full = next(cell.config["model"] for cell in plans["readme"].cells if cell.arm == "baseline")
    halved = ("hidden_size", "num_attention_heads", "intermediate_size")
    assert small == full | {key: full[key] // 2 for key in halved}


def test_small_readme_study_costs_what_its_head_says(plans):
    prices = arm_costs(plans["readme_small"])
    baseline = prices[0]
    trained = baseline.epochs * baseline.steps * baseline.batch_size
    train, val, test = baseline.images
    scored = baseline.epochs * val + 2 * (train + val + test)
    work = sum(price.cells * price.flops_per_image for price in prices) / baseline.flops_per_image
    hours = work * (trained + scored / 3) / IMAGES_PER_SECOND / 3600
    assert f"trains on {round(trained, -3):,} images and scores {round(scored, -3):,}" in head("readme_small")
    assert f"the seven arms cost {work / baseline.cells:.1f} baselines" in head("readme_small")
    assert f"all cells together {hours:.0f} core-hours" in head("readme_small") and hours <= 10


def test_heads_of_the_readme_studies_state_what_they_can_find(plans):
    small = study_power(plans["readme_small"], None)
    deviations = f"{small.effect_of_claims / small.spread:.1f} standard deviations"
    assert f"differences of {deviations} of the paired differences" in head("readme_small")
    full = [f"{detectable_effect(5, 1.0, family):.1f}" for family in (5, 12)]
    assert f"differences of {full[0]} standard deviations" in head("readme")
    assert f"and of {full[1]} among all twelve arms" in head("readme")
