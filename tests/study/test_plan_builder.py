"""From a study file to a plan: arms of every design in order, seeds, notes, and a plan of a thousand cells.

Agrees with arms written out by hand; obeys properties. Nothing is trained, and torch is not needed.
"""

import json
import re
import subprocess
import sys

import pytest

from tests.support.small_studies import arms, configs
from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader
from vitsweep.paths import conf_dir
from vitsweep.study.plan_builder import build_plan


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
        "patch=8": ["model.patch_size=8", "recipe.lr=2e-3"],
        "bias=false+places=none+patch=8": [
            "model.bias=false",
            "model/dropout=none",
            "model.patch_size=8",
            "recipe.lr=2e-3",
        ],
    }
    assert made.seeds == [0, 1] and len(made.cells) == 10 and made.study == "parts"
    assert {c.model.num_hidden_layers for c in configs(made).values()} == {2}
    empty = configs(made)["bias=false+places=none+patch=8"]
    assert not empty.model.bias and empty.model.dropout_rate("head") == 0 and empty.recipe.lr == 2e-3


@pytest.mark.parametrize(
    "design, names",
    [
        ("ofat", ["baseline", "bias=false", "depth=4", "patch=8"]),
        ("loco", ["baseline", "bias=false", "depth=4", "patch=8", "bias=false+depth=4+patch=8"]),
        ("path", ["baseline", "bias=false", "bias=false+depth=4", "bias=false+depth=4+patch=8"]),
        (
            "pairs",
            ["baseline", "bias=false", "depth=4", "patch=8"]
            + ["bias=false+depth=4", "bias=false+patch=8", "depth=4+patch=8"],
        ),
        (
            "grid",
            ["baseline", "patch=8", "depth=4", "depth=4+patch=8", "bias=false"]
            + ["bias=false+patch=8", "bias=false+depth=4", "bias=false+depth=4+patch=8"],
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
    assert list(arms(made)) == ["baseline", "patch=8"]
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
    assert re.search(r'load_model\("outputs/patch_size-shapes-quick/(.*?)"', readme)[1] in cells
