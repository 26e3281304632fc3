"""From a study file of the user's own, found through --config-dir, to a plan; and every way in which that is refused.

Agrees with arms written out by hand; refuses word for word. Nothing is trained, and torch is not needed.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vitsweep.commands import plan as price
from vitsweep.config.composer import Composer
from vitsweep.config.convert import from_dict
from vitsweep.config.hydra import make_loader
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError
from vitsweep.paths import conf_dir
from vitsweep.study.plan import Plan
from vitsweep.study.planner import build_plan

ROOT = Path(__file__).resolve().parents[2]
THREE = {"bias": ["model.bias=false"], "depth": ["model.num_hidden_layers=4"], "patch": ["model.patch_size=8"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mine")


@pytest.fixture(scope="module")
def composer(folder) -> Composer:
    return Composer(price.make_loader(str(folder)), "config")


@pytest.fixture
def written(folder) -> Callable[..., None]:
    """Write a study file: a text, or entries that are added to a small one."""

    def write(text: str = "", **entries) -> None:
        (folder / "study").mkdir(exist_ok=True)
        content = text or yaml.safe_dump({"name": "mine", "factors": THREE, "seeds": 2} | entries)
        (folder / "study" / "mine.yaml").write_text(content)

    return write


@pytest.fixture
def plan(written, composer) -> Callable[..., Plan]:
    """Write a study file and plan it with overrides beside it."""

    def make(*overrides: str, **entries) -> Plan:
        written(**entries)
        return build_plan(["study=mine", *overrides], composer)

    return make


@pytest.fixture
def refusal(plan) -> Callable[..., list[str]]:
    """The sentences with which a study file is refused."""

    def make(*overrides: str, **entries) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            plan(*overrides, **entries)
        return str(refused.value).splitlines()

    return make


def arms(plan: Plan) -> dict[str, list[str]]:
    return {row["arm"]: row["overrides"] for row in plan.arms}


def configs(plan: Plan) -> dict[str, Config]:
    return {cell.arm: from_dict(cell.config) for cell in plan.cells}


# Designs.


def test_study_of_the_issue_is_five_arms_and_two_seeds(plan):
    made = plan(
        text="""
name: parts
design: loco                      # baseline, each part removed alone, all removed: 5 arms
baseline: [model.num_hidden_layers=2, model.hidden_size=64]
factors:
  bias: [model.bias=false]
  places: [model/dropout=none]
  patch: [[model.patch_size=8, recipe.lr=2e-3]]   # one level, two overrides
seeds: [0, 1]
"""
    )
    assert arms(made) == {
        "baseline": [],
        "bias=false": ["model.bias=false"],
        "places=none": ["model/dropout=none"],
        "patch_size=8+lr=0.002": ["model.patch_size=8", "recipe.lr=2e-3"],
        "bias=false+places=none+patch=8+2e-3": [
            "model.bias=false",
            "model/dropout=none",
            "model.patch_size=8",
            "recipe.lr=2e-3",
        ],
    }
    assert made.seeds == [0, 1] and len(made.cells) == 10 and made.study == "parts"
    assert {c.model.num_hidden_layers for c in configs(made).values()} == {2}
    empty = configs(made)["bias=false+places=none+patch=8+2e-3"]
    assert not empty.model.bias and empty.model.dropout_rate("head") == 0 and empty.recipe.lr == 2e-3


@pytest.mark.parametrize(
    "design, names",
    [
        ("ofat", ["baseline", "bias=false", "num_hidden_layers=4", "patch_size=8"]),
        ("loco", ["baseline", "bias=false", "num_hidden_layers=4", "patch_size=8", "bias=false+depth=4+patch=8"]),
        ("path", ["baseline", "bias=false", "num_hidden_layers=4+bias=false", "bias=false+depth=4+patch=8"]),
        (
            "pairs",
            ["baseline", "bias=false", "num_hidden_layers=4", "patch_size=8"]
            + ["num_hidden_layers=4+bias=false", "patch_size=8+bias=false", "patch_size=8+num_hidden_layers=4"],
        ),
        (
            "grid",
            ["baseline", "patch_size=8", "num_hidden_layers=4", "patch_size=8+num_hidden_layers=4", "bias=false"]
            + ["patch_size=8+bias=false", "num_hidden_layers=4+bias=false", "bias=false+depth=4+patch=8"],
        ),
    ],
)
def test_design_gives_its_arms_in_order(plan, design, names):
    assert list(arms(plan(design=design))) == names


def test_fraction_gives_half_of_the_grid_and_states_what_it_confounds(plan):
    made = plan(design="fraction", resolution=3)
    assert len(made.arms) == 4 and made.notes == [
        "cannot be told apart: bias = depth:patch",
        "cannot be told apart: depth = bias:patch",
        "cannot be told apart: patch = bias:depth",
    ]


def test_list_gives_the_arms_that_are_written(plan):
    written = {"small": ["model.hidden_size=64", "recipe.lr=2e-3"], "big": "model.hidden_size=512"}
    made = plan(design="list", factors={}, arms=written)
    assert arms(made) == {"baseline": [], "small": written["small"], "big": [written["big"]]}


def test_plan_crosses_every_seed_with_every_arm_seeds_outermost(plan):
    made = plan(seeds=[3, 1])
    names = list(arms(made))
    assert [(cell.seed, cell.arm) for cell in made.cells] == [(s, name) for s in (3, 1) for name in names]
    assert all(cell.config["seed"] == cell.seed for cell in made.cells)


def test_plan_survives_json(plan):
    made = plan(claims=[{"arm": "bias=false", "claim": "none"}], published={"baseline": 76.12}, placebo=True)
    assert json.loads(json.dumps(made.cells[0].config)) == made.cells[0].config
    assert made.claims_hash and made.published == {"baseline": 76.12}


def test_rope_of_its_own_is_part_of_what_was_stated(plan):
    claims = [{"arm": "bias=false", "claim": "none"}]
    assert plan(claims=claims, rope=1.0).claims_hash != plan(claims=claims).claims_hash


def test_placebo_is_the_last_arm_and_changes_nothing(plan):
    made = plan(placebo=True)
    last = made.arms[-1]
    assert (last["arm"], last["role"], last["overrides"]) == ("placebo", "placebo", [])
    assert last["config_hash"] == made.arms[0]["config_hash"]


def test_excluded_arms_are_left_out_and_noted(plan):
    made = plan(design="grid", exclude=[{"bias": False, "patch": 8}])
    assert len(made.arms) == 6 and made.notes == ["2 arms excluded"]
    assert not any(row["levels"].get("bias") and row["levels"].get("patch") for row in made.arms)


def test_level_that_is_the_baselines_own_is_merged_and_noted(plan):
    made = plan(factors={"patch": ["model/patch_size=p4", "model/patch_size=p8"]})
    assert list(arms(made)) == ["baseline", "patch_size=8"]
    assert made.notes == ["patch=p4 is the baseline's own level"]


def test_level_may_change_the_whole_recipe(plan):
    made = plan(factors={"recipe": ["recipe=quick"]})
    assert configs(made)["recipe=quick"].recipe.schedule == "cosine" != configs(made)["baseline"].recipe.schedule


def test_published_value_of_no_arm_is_noted(plan):
    assert plan(published={"patch_size=16": 70.0}).notes == ["study.published names patch_size=16, which is not an arm"]


def test_study_file_may_build_on_another(plan, folder):
    (folder / "study").mkdir(exist_ok=True)
    (folder / "study" / "ground.yaml").write_text("factors: {bias: [model.bias=false]}\nseeds: 4\n")
    made = plan(text="defaults: [ground, _self_]\nname: built\nseeds: 3\n")
    assert list(arms(made)) == ["baseline", "bias=false"] and made.seeds == [0, 1, 2]


# The command line beside a study.


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
    assert list(arms(plan("+study.factors.a=['model.bias=false']", factors={}))) == ["baseline", "bias=false"]


def test_study_folder_can_be_added_by_hydras_search_path(plan, folder, vitsweep_main):
    plan()
    words = [f"hydra.searchpath=[file://{folder}]", "study=mine", "sweep.dry_run=true"]
    code, out, err = vitsweep_main(*words)
    assert code == 0 and "mine: 4 arms x 2 seeds = 8 cells" in out, err


def test_study_runs_without_m_and_finds_the_users_own_file(plan, folder, vitsweep_main):
    plan()
    code, out, _ = vitsweep_main("study=mine", "sweep.dry_run=true", "--config-dir", str(folder))
    assert code == 0 and "mine: 4 arms x 2 seeds = 8 cells" in out and "outputs/mine" in out


# Refusals, word for word.

REFUSED = {
    "design": (
        {"design": "best"},
        "study.design=best  is unknown; allowed: fraction, grid, list, loco, ofat, pairs, path",
    ),
    "no factors": ({"factors": {}}, "study.factors={}  is empty; design=ofat needs at least one factor"),
    "empty factor": ({"factors": {"a": []}}, "study.factors.a=[]  must be a list of at least one level"),
    "no level": (
        {"factors": {"a": [8]}},
        "study.factors.a=[8]  must be overrides such as model.bias=false, or lists of them",
    ),
    "no override": (
        {"factors": {"a": ["big"]}},
        "study.factors.a=['big']  must be overrides such as model.bias=false, or lists of them",
    ),
    "only the baseline": (
        {"factors": {"a": ["model.patch_size=4"]}},
        "study.factors.a  has only the baseline's level; add another or drop it",
    ),
    "unknown key": (
        {"factors": {"a": ["model.patch_sise=8"]}},
        "model.patch_sise  is unknown; did you mean model.patch_size?; see --cfg job for all keys"
        "    [model.patch_sise=8]",
    ),
    "unknown option": (
        {"factors": {"a": ["model/depth=l99"]}},
        "model/depth=l99  is unknown; allowed: l10, l12, l2, l4, l6, l8    [model/depth=l99]",
    ),
    "impossible level": (
        {"factors": {"a": ["model.patch_size=5"]}},
        "model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32    [model.patch_size=5]",
    ),
    "impossible baseline": (
        {"baseline": ["model.patch_size=5"]},
        "model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32    [model.patch_size=5]",
    ),
    "equal arms": (
        {"factors": {"a": ["model.patch_size=8"], "b": ["model/patch_size=p8"]}},
        "`model.patch_size=8` and `model/patch_size=p8`  resolve to the same model, data and recipe; keep one of them",
    ),
    "equal labels": (
        {"factors": {"a": ["recipe.lr=1", "recipe.weight_decay=1"]}},
        "study.factors.a=['recipe.lr=1', 'recipe.weight_decay=1']  has two levels that read the same; keep one of them",
    ),
    "shadowed group": (
        {"baseline": ["model.patch_size=16"], "factors": {"a": ["model/patch_size=p8", "model.bias=false"]}},
        "`model/patch_size=p8` of study.factors.a  sets model.patch_size=8, but `model.patch_size=16` beats it; "
        "drop one of them",
    ),
    "shadowed by another factor": (
        {"design": "grid", "factors": {"a": ["model/patch_size=p8"], "b": ["model.patch_size=16"]}},
        "`model/patch_size=p8` of arm a=p8+b=16  sets model.patch_size=8, but `model.patch_size=16` beats it; "
        "drop one of them",
    ),
    "one key in two factors": (
        {"design": "grid", "factors": {"a": ["recipe.lr=1"], "b": ["recipe.lr=2"]}},
        "`recipe.lr=1` and `recipe.lr=2`  set one key in one arm; make them levels of one factor",
    ),
    "seed as a level": (
        {"factors": {"a": ["seed=3"]}},
        "study.factors.a=`seed=3`  sets the seed, which is the replicate; use study.seeds",
    ),
    "seed in the baseline": (
        {"baseline": ["seed=3"]},
        "study.baseline=`seed=3`  sets the seed, which is the replicate; use study.seeds",
    ),
    "device as a level": (
        {"factors": {"a": ["device=cpu"]}},
        "study.factors.a=`device=cpu`  changes where or how a cell is computed, not what is learned; "
        "pass it on the command line, for all arms",
    ),
    "hydra as a level": (
        {"factors": {"a": ["hydra.sweep.dir=x"]}},
        "study.factors.a=`hydra.sweep.dir=x`  does not belong in a study file; pass it on the command line",
    ),
    "several values in a level": (
        {"factors": {"a": ["model.patch_size=8,16"]}},
        "model.patch_size=8,16  names several values where one belongs; give one    [model.patch_size=8,16]",
    ),
    "exclude all": (
        {"factors": {"bias": ["model.bias=false"]}, "exclude": [{"bias": "false"}]},
        "study.exclude  leaves only the baseline; exclude less",
    ),
    "exclude nothing": (
        {"exclude": [{"bias": "true"}]},
        "study.exclude={'bias': 'true'}  matches no arm; see the levels of the plan",
    ),
    "seeds repeated": ({"seeds": [1, 1]}, "study.seeds=[1, 1]  names a seed twice; each seed is one replicate"),
    "seeds negative": (
        {"seeds": [-1]},
        "study.seeds=[-1]  must be a list of integers in 0 .. 2**32 - 1, or their number",
    ),
    "seeds none": ({"seeds": 0}, "study.seeds=0  must be a list of integers in 0 .. 2**32 - 1, or their number"),
    "name of a path": (
        {"name": "../x"},
        "study.name='../x'  must be letters, digits, . _ or -; it names the directory",
    ),
    "loco with two levels": (
        {"design": "loco", "factors": {"a": ["model.patch_size=8", "model.patch_size=16"]}},
        "study.factors.a  must have one level for design=loco; make it two factors",
    ),
    "fraction of one": (
        {"design": "fraction", "factors": {"a": ["model.bias=false"]}},
        "study.design=fraction  needs 3 to 10 factors, not 1; use design=grid or pairs",
    ),
    "resolution": (
        {"design": "fraction"},
        "study.resolution=4  cannot be had with 3 factors; allowed: 3 to 3",
    ),
    "pairs of one": (
        {"design": "pairs", "factors": {"a": ["model.bias=false"]}},
        "study.design=pairs  needs at least 2 factors; use design=ofat for one",
    ),
    "list without arms": (
        {"design": "list", "factors": {}},
        "study.arms={}  is empty; design=list needs arms: {name: [override, ...]}",
    ),
    "list with factors": (
        {"design": "list", "arms": {"x": ["model.bias=false"]}},
        "study.factors  is not read by design=list; write them as arms, or use another design",
    ),
    "arms without list": (
        {"arms": {"x": ["model.bias=false"]}},
        "study.arms  is not read by design=ofat; drop it, or use design=list",
    ),
    "arm called baseline": (
        {"design": "list", "factors": {}, "arms": {"baseline": ["model.bias=false"]}},
        "study.arms.baseline  must be letters, digits, . _ = + or -, and neither of baseline, placebo; "
        "it names a directory",
    ),
    "arm that is the baseline": (
        {"design": "list", "factors": {}, "arms": {"x": ["model.bias=true"]}},
        "`baseline` and `model.bias=true`  resolve to the same model, data and recipe; keep one of them",
    ),
    "rope": ({"rope": -1.0}, "study.rope=-1.0  must be finite and not negative"),
    "published": (
        {"published": {"baseline": "high"}},
        "study.published.baseline=high  must be a number, in percent",
    ),
    "unknown entry": (
        {"factor": {"a": ["model.bias=false"]}},
        "study/mine.yaml: study.factor  is unknown; did you mean study.factors?; allowed: arms, baseline, claims, "
        "design, exclude, factors, name, placebo, published, resolution, rope, seeds",
    ),
    "wrong kind of entry": (
        {"baseline": {"model.bias": False}},
        'study/mine.yaml: study.baseline={"model.bias": false}  must be a list',
    ),
    "text for a list": (
        {"baseline": "model.bias=false"},
        "study/mine.yaml: study.baseline=model.bias=false  must be a list",
    ),
    "number for a switch": ({"placebo": 7}, "study/mine.yaml: study.placebo=7  must be true or false"),
    "number of seeds": ({"seeds": 1_000_000_000}, "study.seeds=1000000000  must be at most 10000"),
    "seed beside a placebo": (
        {"seeds": [4294967295], "placebo": True},
        "study.seeds=4294967295  must be at most 4293967292 beside placebo: true",
    ),
    "seed that a placebo has": (
        {"seeds": [0, 1_000_003], "placebo": True},
        "study.seeds=0  has the placebo of seed 0 train as seed 1000003, another replicate; drop one of them",
    ),
    "grid too large": (
        {"design": "grid", "factors": {f"f{i}": ["recipe.lr=1", "recipe.lr=2"] for i in range(10)}},
        "study.design=grid  makes 59049 arms x 1 seeds; a study has at most 50000 cells: sweep less",
    ),
    "list for a mapping": (
        {"factors": ["model.bias=false"]},
        'study/mine.yaml: study.factors=["model.bias=false"]  must be a mapping',
    ),
    "wrong type": ({"placebo": "maybe"}, "study/mine.yaml: study.placebo=maybe  must be true or false"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_study_is_refused_with_key_rule_and_remedy(refusal, case):
    entries, sentence = REFUSED[case]
    assert refusal(**entries) == [sentence]


def test_all_errors_of_a_file_are_reported_at_once(refusal):
    entries = {"name": "a/b", "design": "best", "rope": -1.0, "seeds": [-1], "baseline": ["seed=3"]}
    keys = [sentence.partition("=")[0] for sentence in refusal(**entries)]
    assert keys == ["study.name", "study.rope", "study.baseline", "study.seeds", "study.design"]


def test_wrong_name_does_not_hide_a_wrong_level(refusal):
    sentences = refusal(name="a/b", factors={"a": ["model.patch_sise=8"]})
    assert [s.split()[0] for s in sentences] == ["study.name='a/b'", "model.patch_sise"]


@pytest.mark.parametrize("name", [{}, {"name": ""}])
def test_study_without_a_name_is_named_after_its_file(folder, composer, written, name):
    written(text=yaml.safe_dump({"factors": THREE, "seeds": 2} | name))
    assert build_plan(["study=mine"], composer).study == "mine"


def test_study_without_a_name_is_run_in_a_directory_of_its_file(folder, written, vitsweep_main):
    written(text=yaml.safe_dump({"factors": THREE, "seeds": 2}))
    code, out, _ = vitsweep_main("study=mine", "sweep.dry_run=true", "--config-dir", str(folder))
    assert code == 0 and "mine: 4 arms x 2 seeds = 8 cells" in out and "outputs/mine" in out


@pytest.mark.parametrize("text", ["# nothing\n", "{}\n"])
def test_empty_study_file_is_refused(refusal, text):
    assert refusal(text=text) == [
        "study/mine.yaml  must be a mapping (name: ..., factors: ..., design: ..., seeds: ...), not nothing"
    ]


def test_aliases_that_grow_without_end_are_refused(refusal):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    text = "name: mine\nfactors:\n" + "".join(f"  {line}\n" for line in lines)
    assert refusal(text=text) == [
        "study/mine.yaml  repeats its aliases (*name) to more than 1000000 entries; write it without them"
    ]


def test_all_faults_of_all_cells_are_told_at_once(refusal):
    levels = {"a": ["model.patch_size=5"], "b": ["model.hidden_size=33"], "c": ["recipe.lr=-1"]}
    assert len(refusal(factors=levels)) == 3


def test_command_that_plans_refuses_in_the_same_words(written, folder):
    written(baseline={"model.bias": False})
    with pytest.raises(ConfigError) as refused:
        price.main(["study=mine", "--config-dir", str(folder)])
    assert str(refused.value) == REFUSED["wrong kind of entry"][1]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("name: mine\nfactors:\n  a: [model.bias=false\nseeds: 3\n", "line 4, column 6: .*expected ',' or '\\]'.*"),
        ("name: mine\nfactors:\n\ta: [x=1]\n", "line 3, column 1: found character .*that cannot start any token"),
        ("name: mine\nname: yours\n", "line 2, column 1: found duplicate key name"),
        ("name: a: b\n", "line 1, column 8: mapping values are not allowed .*"),
    ],
)
def test_yaml_fault_names_file_line_and_column(refusal, folder, text, sentence):
    (message,) = refusal(text=text)  # Hydra 1.4 reads with libyaml, whose words differ a little
    assert re.fullmatch(f"{re.escape(str(folder))}/study/mine.yaml, {sentence}; correct the YAML there", message)


def test_study_file_that_is_a_list_is_refused(refusal):
    assert refusal(text="- a\n- b\n") == [
        "study/mine.yaml  must be a mapping (name: ..., factors: ..., design: ..., seeds: ...), not a list"
    ]


def test_study_file_that_is_no_text_is_refused(folder, composer):
    (folder / "study").mkdir(exist_ok=True)
    (folder / "study" / "mine.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match=r"^study/mine.yaml  is not UTF-8 text \(byte 6.*save it as UTF-8$"):
        build_plan(["study=mine"], composer)


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


def test_factors_with_one_last_word_keep_their_whole_names(composer):
    words = ["model.name=vit,resnet", "data.name=shapes,cifar10", "data.root=x"]
    made = build_plan(words, composer)
    assert made.factors == {"model.name": ["vit", "resnet"], "data.name": ["shapes", "cifar10"]}
    assert made.study == "model.name+data.name"
    assert [row["levels"] for row in made.arms if row["arm"].startswith("model.name=resnet")] == [
        {"model.name": "resnet", "data.name": "shapes"},
        {"model.name": "resnet", "data.name": "cifar10"},
    ]
    assert len({row["arm"] for row in made.arms}) == 4


def test_swept_key_with_the_last_word_of_a_factor_keeps_its_whole_name(plan):
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


def test_thousand_cells_are_planned_without_torch(tmp_path):
    """200 arms and 5 seeds, groups and values mixed; how fast: tests/benchmarks/planning.py."""
    code = "import sys; from vitsweep.commands.plan import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    swept = [
        "model/patch_size=p4,p8",
        "model/patchify=conv,linear",
        "model.hidden_size=64,128",
        "recipe.lr=range(1,26)",
    ]
    command = [sys.executable, "-c", code, *swept, "seed=range(5)"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "200 arms x 5 seeds = 1000 cells" in ran.stdout and ran.stdout.splitlines()[-1] == "False"


def test_readme_names_the_cell_that_its_first_command_trains():
    readme = (conf_dir().parent / "README.md").read_text()
    words = re.search(r"run\.py -m (.*recipe=quick)", readme)[1].split()
    cells = [cell.id for cell in build_plan(words, Composer(make_loader(None), "config")).cells]
    assert re.search(r'load_model\("outputs/patch_size/(.*?)"', readme)[1] in cells
