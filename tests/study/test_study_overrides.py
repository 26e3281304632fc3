"""The command line beside a study and without one: what it changes in the plan, and what is refused.

Agrees with arms written out by hand; refuses word for word. Nothing is trained.
"""

import pytest

from tests.support.small_studies import arms, configs
from vitsweep.errors import ConfigError
from vitsweep.study.plan_builder import build_plan


def test_override_beside_a_study_acts_on_all_arms(plan):
    made = plan("recipe.epochs=7", "data=shapes")
    assert {(c.recipe.epochs, c.data.name) for c in configs(made).values()} == {(7, "shapes")}
    assert all(cell.overrides[:2] == ["recipe.epochs=7", "data=shapes"] for cell in made.cells)


def test_override_beside_a_study_takes_the_place_of_the_baselines_own(plan):
    made = plan("recipe.epochs=7", baseline=["recipe.epochs=3", "recipe.batch_size=64"])
    config = configs(made)["baseline"]
    assert (config.recipe.epochs, config.recipe.batch_size) == (7, 64)


def test_sweep_beside_a_study_multiplies_it(plan):
    made = plan("recipe.lr=1e-3,2e-3", factors={"bias": ["model.bias=false"]})
    assert sorted(arms(made)) == ["baseline", "bias=false", "bias=false+lr=0.002", "lr=0.002"]
    assert {(c.model.bias, c.recipe.lr) for c in configs(made).values()} == {
        (bias, lr) for bias in (True, False) for lr in (1e-3, 2e-3)
    }
    assert made.factors == {"bias": ["false"], "lr": ["0.001", "0.002"]}


def test_multiplied_study_has_one_placebo(plan):
    made = plan("recipe.lr=1e-3,2e-3", placebo=True)
    assert [row["role"] for row in made.arms].count("placebo") == 1 and len(made.arms) == 2 * 4 + 1


@pytest.mark.parametrize(
    "override, seeds", [("seed=5,7", [5, 7]), ("seed=range(3)", [0, 1, 2]), ("study.seeds=4", [0, 1, 2, 3])]
)
def test_seeds_of_the_command_line_win(plan, override, seeds):
    assert plan(override).seeds == seeds


def test_entry_of_a_study_can_be_changed_on_the_command_line(plan):
    assert len(plan("study.design=grid").arms) == 8
    assert list(arms(plan("+study.factors.a=['model.bias=false']", factors={}))) == ["baseline", "a=false"]


def test_study_folder_can_be_added_by_hydras_search_path(plan, folder, vitsweep_main):
    plan()
    words = [f"hydra.searchpath=[file://{folder}]", "study=mine", "sweep.dry_run=true"]
    code, out, err = vitsweep_main(*words)
    assert code == 0 and "mine: 4 arms x 2 seeds = 8 cells" in out, err


def test_study_runs_without_m_and_finds_the_users_own_file(plan, folder, vitsweep_main):
    plan()
    code, out, _ = vitsweep_main("study=mine", "sweep.dry_run=true", "--config-dir", str(folder))
    assert code == 0 and "mine: 4 arms x 2 seeds = 8 cells" in out and "outputs/mine" in out


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (
            ["recipe.lr=1e-3"],
            "recipe.lr=...  on the command line is set for all arms, but study.factors.lr sets `recipe.lr=2e-3`; "
            "drop one of them",
        ),
        (
            ["recipe.lr=1e-3,3e-3"],
            "recipe.lr=...  on the command line is set for all arms, but study.factors.lr sets `recipe.lr=2e-3`; "
            "drop one of them",
        ),
        (["seed=1,1"], "seed=1,1  names a seed twice; each seed is one replicate"),
        (["seed=1,01"], "seed=1,01  names a seed twice; each seed is one replicate"),
        (["seed=-1,2"], "seed=-1,2  must be integers in 0 .. 2**32 - 1"),
        (["seed=4294967296"], "seed=4294967296  must be integers in 0 .. 2**32 - 1"),
        (["seed=a,b"], "seed=a,b  must be integers in 0 .. 2**32 - 1"),
        (
            ["study.design=best"],
            "study.design=best  is unknown; allowed: fraction, grid, list, loco, ofat, pairs, path",
        ),
        (["study.factors.a=[]"], "study.factors.a  does not exist yet; put a + before it to add it"),
        (["study.seeds=1,2"], "study.seeds=1,2  names several values where one belongs; give one"),
        (
            ["model.hidden_size=64,128", "model.hidden_size=32"],
            "model.hidden_size=32  comes after a sweep of model.hidden_size and would undo it; drop one of them",
        ),
        (
            ["model.hidden_size=interval(1,3)"],
            "model.hidden_size=interval(1,3)  has no list of values; allowed: a,b  choice()  range()  glob()",
        ),
        (
            ["model.patch_size=16"],
            "`model/patch_size=p8` of study.factors.patch  sets model.patch_size=8, but `model.patch_size=16` beats "
            "it; drop one of them",
        ),
    ],
)
def test_command_line_beside_a_study_is_refused_with_both_named(refusal, overrides, sentence):
    factors = {"lr": ["recipe.lr=2e-3"], "patch": ["model/patch_size=p8"]}
    assert refusal(*overrides, factors=factors) == [sentence]


@pytest.mark.parametrize("second", ["model.hidden_size=32,64", "model.hidden_size=32", "++model.hidden_size=32,64"])
def test_second_value_after_a_sweep_of_one_key_is_refused(composer, second):
    with pytest.raises(ConfigError) as refused:
        build_plan(["model.hidden_size=64,128", second], composer)
    assert refused.value.errors == [
        f"{second}  comes after a sweep of model.hidden_size and would undo it; drop one of them"
    ]


def test_second_value_after_swept_seeds_is_refused(composer):
    with pytest.raises(ConfigError, match=r"^seed=5  comes after a sweep of seed and would undo it"):
        build_plan(["seed=0,1", "seed=5"], composer)


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("seed=range(0,100000000)", "has more than 10000 values; write fewer"),
        ("recipe.lr=range(0,1,1e-9)", "has more than 10000 values; write fewer"),
        ("model.hidden_size=range(8,4)", "has no value; write at least one"),
        ("model.hidden_size=glob(*)", "matches no option; glob() is for config groups, e.g. model/depth=glob(*)"),
        ("model/depth=glob(x*)", "matches no option; glob() is for config groups, e.g. model/depth=glob(*)"),
    ],
)
def test_sweep_without_values_or_without_end_is_refused(composer, override, sentence):
    with pytest.raises(ConfigError) as refused:
        build_plan([override], composer)
    assert refused.value.errors == [f"{override}  {sentence}"]


def test_sweep_of_more_cells_than_a_study_has_is_refused(composer):
    words = ["recipe.lr=range(1,1001)", "recipe.epochs=range(1,1001)"]
    with pytest.raises(ConfigError, match="makes 1000000 arms x 1 seeds; a study has at most 50000 cells: sweep less"):
        build_plan(words, composer)


@pytest.mark.parametrize("word", ["study.design=grid", "+study.factors.x=['model.bias=false']", "study.name=x"])
def test_change_of_a_study_without_a_study_is_refused(composer, word):
    with pytest.raises(ConfigError) as refused:
        build_plan([word], composer)
    assert refused.value.errors == [
        f"{word}  changes a study, but none is chosen; add study=NAME, a file in conf/study"
    ]


def test_factors_that_share_a_last_part_keep_their_whole_names(composer):
    words = ["model.name=vit,resnet", "data.name=shapes,cifar10", "data.root=x"]
    made = build_plan(words, composer)
    assert made.factors == {"model.name": ["vit", "resnet"], "data.name": ["shapes", "cifar10"]}
    assert made.study == "model.name+data.name"
    assert [row["levels"] for row in made.arms if row["arm"].startswith("model.name=resnet")] == [
        {"model.name": "resnet", "data.name": "shapes"},
        {"model.name": "resnet", "data.name": "cifar10"},
    ]
    assert len({row["arm"] for row in made.arms}) == 4


def test_swept_key_with_the_last_part_of_a_factor_keeps_its_whole_name(plan):
    made = plan("recipe.lr=1e-3,2e-3", factors={"lr": ["model.bias=false"]})
    assert made.factors == {"lr": ["false"], "recipe.lr": ["0.001", "0.002"]}


def test_sweep_takes_the_place_of_an_earlier_value(composer):
    made = build_plan(["model.hidden_size=32", "recipe.lr=1", "model.hidden_size=64,128"], composer)
    assert [c.model.hidden_size for c in configs(made).values()] == [64, 128]
    assert made.cells[0].overrides == ["recipe.lr=1", "model.hidden_size=64", "seed=0"]


def test_group_that_a_value_beats_is_refused_in_a_plain_sweep_too(composer):
    with pytest.raises(
        ConfigError, match=r"`model/patch_size=p8` of model/patch_size=p8  sets model.patch_size=8, but"
    ):
        build_plan(["model/patch_size=p4,p8", "model.patch_size=16"], composer)


def test_refusal_reaches_the_command_line_without_a_traceback(plan, folder, vitsweep_main, tmp_path):
    with pytest.raises(ConfigError):
        plan(factors={"a": ["model.patch_size=5"]})
    code, _, err = vitsweep_main("study=mine", "--config-dir", str(folder))
    assert code == 2 and err.startswith("model.patch_size=5  does not divide") and "Traceback" not in err
    assert not (tmp_path / "outputs" / "mine").exists()
