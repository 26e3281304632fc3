"""Names of sweeps and arms: one for an arm however it is written, no two studies in one place, earlier ones kept."""

from pathlib import Path

import pytest

from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader, sweep_dir
from vitsweep.study.arms import changes_name
from vitsweep.study.changes.extension import extend_plan, with_known_names
from vitsweep.study.plan import Plan, write_plan
from vitsweep.study.plan_builder import build_plan

SMALL = ["data=shapes", "recipe=quick"]


@pytest.fixture(scope="module")
def any_composer() -> Composer:
    return Composer(make_loader(None), "config")


def arms(made: Plan) -> list[str]:
    return [row["arm"] for row in made.arms]


@pytest.mark.parametrize(
    "words, names",
    [
        (["model/patch_size=p4,p8"], ["patch_size=8"]),
        (["model.patch_size=4,8"], ["patch_size=8"]),
        (["model/depth=l8,l2"], ["num_hidden_layers=2"]),
        (["model.num_hidden_layers=8,2"], ["num_hidden_layers=2"]),
        (["recipe.lr=1e-3,2e-3"], ["lr=0.002"]),
        (
            ["model/dropout=everywhere,none", "model.num_hidden_layers=8,2"],
            ["num_hidden_layers=2", "dropout=none", "dropout=none+num_hidden_layers=2"],
        ),
    ],
)
def test_arm_has_one_name_however_it_is_written(any_composer, words, names):
    assert arms(build_plan([*SMALL, *words], any_composer)) == ["baseline", *names]


def test_levels_of_several_overrides_name_what_separates_them(plan):
    rates = [["model.patch_size=8", "recipe.lr=2e-3"], ["model.patch_size=8", "recipe.lr=3e-3"]]
    made = plan(factors={"patch": [*rates, ["model.patch_size=16", "recipe.lr=2e-3"]]})
    assert arms(made) == ["baseline", "patch=8-lr=2e-3", "patch=8-lr=3e-3", "patch=16"]


def test_published_values_may_name_an_arm_as_earlier_versions_did(plan):
    factors = {"depth": ["model.num_hidden_layers=2"]}
    assert plan(factors=factors, published={"num_hidden_layers=2": 70.0}).published == {"depth=2": 70.0}


def test_claim_may_name_an_arm_as_earlier_versions_did(plan):
    claims = [{"claim": "fewer layers do", "arm": "num_hidden_layers=2"}]
    assert plan(factors={"depth": ["model.num_hidden_layers=2"]}, claims=claims).claims == claims


def earlier_names(made: Plan) -> dict[str, str]:
    """Return arm -> its name in versions that named arms by the fields that they change."""
    return {row["arm"]: changes_name(row["changes"]) or row["arm"] for row in made.arms if row["role"] == "arm"}


def test_arms_of_an_earlier_plan_keep_names_and_directories(plan, tmp_path):
    from vitsweep.study.changes.extension import renamed_plan

    made = plan(factors={"depth": ["model.num_hidden_layers=2"]}, placebo=True)
    names = {arm: earlier_names(made).get(arm, arm) for arm in arms(made)}
    old = renamed_plan(made, names, "mine")
    assert arms(old) == ["baseline", "num_hidden_layers=2", "placebo"]
    more = plan(
        "seed=0,1,2", factors={"depth": ["model.num_hidden_layers=2", "model.num_hidden_layers=4"]}, placebo=True
    )
    merged = extend_plan(old, more, tmp_path)
    assert arms(merged) == ["baseline", "num_hidden_layers=2", "depth=4", "placebo"]
    assert {cell.id for cell in old.cells} <= {cell.id for cell in merged.cells}
    assert with_known_names(made, old) == old


@pytest.mark.parametrize(
    "first, second",
    [
        (["model.patch_size=4,8", *SMALL], ["model.patch_size=4,8", "seed=0,1,2"]),
        (["study=mine", "data=shapes"], ["study=mine"]),
        (["model.patch_size=4,8", "recipe.epochs=5"], ["model.patch_size=4,8"]),
    ],
)
def test_studies_with_other_baselines_do_not_share_a_directory(first, second):
    places = [sweep_dir("mine" if "study=mine" in words else None, words) for words in (first, second)]
    assert places[0] != places[1] and places[0].startswith(f"{places[1]}-")


def test_order_of_words_does_not_change_the_directory():
    assert sweep_dir(None, [*SMALL, "seed=0,1", "recipe.lr=2"]) == sweep_dir(
        None, ["recipe.lr=2", "seed=0,1", *SMALL[::-1]]
    )


def test_sweep_goes_on_where_an_earlier_version_began_it(any_composer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["model.patch_size=4,8", *SMALL]
    Path("outputs/patch_size").mkdir(parents=True)
    write_plan(Path("outputs/patch_size"), build_plan(words, any_composer))
    assert sweep_dir(None, words) == "outputs/patch_size"
    assert sweep_dir(None, [*words, "recipe.lr=2"]) == "outputs/patch_size-shapes-quick-lr=2"


def test_sweep_that_goes_on_keeps_its_name_and_group(any_composer):
    made = build_plan(["model.patch_size=4,8", *SMALL], any_composer)
    assert made.study == "patch_size-shapes-quick"
    old = Plan(**{**vars(made), "study": "patch_size"})
    assert with_known_names(made, old).study == "patch_size"
