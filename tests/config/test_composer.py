"""Composing without Hydra agrees with Hydra, for groups, values, additions, deletions, nesting; and is not composing.

The reference is Hydra's own compose() of the same overrides.
"""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import open_dict

from vitsweep import cli
from vitsweep.config.composer import Composer
from vitsweep.config.convert import from_omegaconf, to_dict
from vitsweep.config.hydra import VERSION_BASE, register
from vitsweep.config.override_rules import contradiction_errors
from vitsweep.errors import ConfigError
from vitsweep.paths import conf_dir

GROUPS = ["model/patch_size", "model/depth", "model/dropout", "model/patchify", "model/pos_embed", "model/pool"]
GROUPS += ["model", "data", "recipe", "recipe/optimizer", "recipe/augment", "tracker"]
VALUES = [
    "model.patch_size=8",
    "model.hidden_size=128",
    "model.bias=false",
    "model.hidden_dropout_prob=0",
    "model.head_dropout_prob=0.5",
    "model.mlp_output_dropout_prob=null",
    "data.val=test",
    "data.train_limit=500",
    "data.root='a b/c'",
    "recipe.lr=2e-3",
    "recipe.epochs=700",
    "recipe.horizontal_flip=no",
    "recipe.clip_norm=1",
    "++recipe.momentum=0.5",
    "seed=3",
    "device=cpu",
    "tracker.project=mine",
    "recipe.lr=${recipe.weight_decay}",
    "recipe.batch_size=${model.hidden_size}",
]


CONSTANT = ("recipe.schedule=constant", "recipe.min_lr=0", "recipe.cooldown_epochs=0", "recipe.ema_decay=null")
"""Settings beside which a schedule-free optimizer is allowed."""


class Counting:
    """Hydra's loader, counting the compositions asked of it."""

    def __init__(self, loader):
        self.loader, self.count = loader, 0

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def load_configuration(self, *arguments, **options):
        self.count += 1
        return self.loader.load_configuration(*arguments, **options)


def hydra_of(folder: Path) -> Hydra:
    """Hydra with a folder of configurations, kept beyond its context: it costs 100 ms to make."""
    register()
    with initialize_config_dir(str(folder), **VERSION_BASE):
        return GlobalHydra.instance().hydra


def hydras(hydra: Hydra, overrides: list[str]) -> dict:
    """Return the result of hydra.compose() (hydra/compose.py), typed."""
    composed = hydra.compose_config(
        config_name="config", overrides=overrides, run_mode=RunMode.RUN, from_shell=False, with_log_configuration=False
    )
    with open_dict(composed):
        del composed["hydra"]
    return to_dict(from_omegaconf(composed))


@pytest.fixture(scope="module")
def hydra() -> Hydra:
    return hydra_of(conf_dir())


@pytest.fixture(scope="module")
def composer(hydra) -> Composer:
    return Composer(hydra.config_loader, "config")


@pytest.fixture
def counted(hydra) -> Composer:
    return Composer(Counting(hydra.config_loader), "config")


def options(group: str) -> list[str]:
    return [path.stem for path in sorted((conf_dir() / group).glob("*.yaml")) if path.stem != "image_folder"]


def drawn(number: int) -> list[str]:
    """Up to four groups, four values, in any order."""
    chance = random.Random(number)
    groups = chance.sample(GROUPS, chance.randint(0, 4))
    overrides = [f"{group}={chance.choice(options(group))}" for group in groups]
    if "recipe/optimizer=schedule_free" in overrides:  # allowed with this schedule alone
        overrides = [o for o in overrides if "schedule=" not in o] + list(CONSTANT)
    overrides += chance.sample(VALUES, chance.randint(0, 4))
    chance.shuffle(overrides)
    return overrides


def result_or_first_error(compose: Callable[[], dict]) -> dict | str:
    """Some drawn groups and values contradict each other."""
    try:
        return compose()
    except ConfigError as refusal:
        return refusal.errors[0]


@pytest.mark.parametrize("number", range(14))
def test_composer_agrees_with_hydra(composer, hydra, number):
    overrides = drawn(number)
    ours = result_or_first_error(lambda: to_dict(composer(overrides)))
    theirs = result_or_first_error(lambda: hydras(hydra, overrides))
    assert ours == theirs or str(ours).startswith(f"{theirs}; model")  # ours also names the preset or part


@pytest.mark.parametrize(
    "overrides",
    [
        ["+width=64", "model.hidden_size=${width}"],
        ["+extra={a: 96}", "model/depth=l4", "model.intermediate_size=${extra.a}"],
        ["~model/depth"],
        ["~tracker", "recipe=quick"],
        ["~extra", "+extra=1"][::-1],
        ["model={hidden_size: 64, bias: false}"],
        ["recipe.lr=1", "recipe.lr=2e-3"],
        ["recipe=quick", "data=shapes", "data.train_limit=null", "model/dropout=none"],
        ["data=shapes", "recipe=quick"],
        ["recipe=quick", "data=shapes"],
        ["model=vit", "model/patch_size=p8", "model/depth=l2", "model/patchify=linear"],
        ["+model/depth@model=l4"],
    ],
)
def test_composer_agrees_with_hydra_on_unusual_overrides(composer, hydra, overrides):
    assert to_dict(composer(overrides)) == hydras(hydra, overrides)


def test_composer_leaves_no_plain_grid_to_hydra(counted):
    """Hydra takes 65 ms a cell; a file in conf/ that it alone can read would bring them back."""
    for data, recipe in itertools.product(options("data"), options("recipe")):
        for choice in (f"{group}={option}" for group in GROUPS[:4] for option in options(group)):
            counted([f"data={data}", choice, f"recipe={recipe}", "recipe.lr=1e-3", "seed=1"])
    for group in ("recipe/optimizer", "recipe/schedule", "recipe/augment"):
        for option in options(group):
            counted([f"{group}={option}", *(["recipe/schedule=constant"] if option == "schedule_free" else [])])
    assert counted.loader.count == 0


def test_composers_configurations_do_not_share_their_parts(composer):
    first, second = composer(["seed=1"]), composer(["seed=1"])
    first.model.bias = False
    assert second.model.bias and composer(["seed=1"]).model.bias


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.patch_sise=8"], "model.patch_sise  is unknown; did you mean model.patch_size?"),
        (["model.patch_size=big"], "model.patch_size=big  must be an integer"),
        (["model.patch_size=5"], "model.patch_size=5  does not divide"),
        (
            ["recipe=slow", "model/depth=l4"],
            "recipe=slow  is unknown; allowed: augmented, cct_300, minutes, quick, readme, sl_vit, strong, vit_lite",
        ),
        (["model.depth=4"], "model.depth  is unknown"),
        (["+extra=1"], "extra  is unknown"),
        (["+model/foo=1"], "model/foo  is unknown"),
        (["+lr=0.5"], "lr  is unknown; did you mean recipe.lr?"),
    ],
)
def test_composer_refuses_what_hydra_refuses(composer, overrides, message):
    with pytest.raises(ConfigError) as refusal:
        composer(overrides)
    assert refusal.value.errors[0].startswith(message)


# A user's own configuration, with everything that makes options depend on one another.
FILES = {
    "config.yaml": "defaults: [vitsweep_schema, {model: big}, {data: x}, {recipe: slow}, {extra: null}, _self_]\n"
    "seed: 5\n",
    "model/big.yaml": "hidden_size: 128\nbias: false\n",
    "model/small.yaml": "hidden_size: 64\n",
    "model/linked.yaml": "hidden_size: 64\nintermediate_size: ${model.hidden_size}\n",
    "data/x.yaml": "name: shapes\nval: test\n",
    "data/y.yaml": "name: shapes\ntrain_limit: 50\n",
    "recipe/slow.yaml": "# @package _global_\nrecipe: {epochs: 9, lr: 0.5}\ndata: {train_limit: 100}\n",
    "recipe/fast.yaml": "# @package _global_\nrecipe: {epochs: 2}\nmodel: {bias: true}\ndata: {val: test}\nseed: 9\n",
    "extra/chain.yaml": "# @package _global_\ndefaults: [{override /model: small}]\nrecipe: {lr: 0.25}\n",
    "extra/plain.yaml": "# @package _global_\nmodel: {bias: true}\nseed: 7\n",
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Hydra:
    folder = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return hydra_of(folder)


@pytest.fixture(scope="module")
def foreign_composer(foreign) -> Composer:
    return Composer(foreign.config_loader, "config")


@pytest.mark.parametrize("model", ["", "model=small", "model=linked"])
@pytest.mark.parametrize("data, recipe", [("data=y", "recipe=fast"), ("data=y", ""), ("", "recipe=fast")])
@pytest.mark.parametrize("extra", ["", "extra=plain", "extra=chain"])
def test_composer_agrees_with_hydra_where_options_depend_on_one_another(
    foreign, foreign_composer, model, data, recipe, extra
):
    overrides = [choice for choice in (extra, recipe, data, model) if choice]
    overrides += ["model.hidden_size=32"] if data else []
    try:
        expected = hydras(foreign, overrides)
    except HydraException:  # e.g. an option that is overridden twice
        with pytest.raises(ConfigError):
            foreign_composer(overrides)
    else:
        assert to_dict(foreign_composer(overrides)) == expected


def test_several_errors_are_all_reported(composer):
    with pytest.raises(ConfigError) as refusal:
        composer(["model.patch_size=big", "recipe.lr=fast", "foo=1", "seed=1"])
    assert refusal.value.errors == [
        "model.patch_size=big  must be an integer",
        "recipe.lr=fast  must be a number",
        "foo  is unknown; see --cfg job for all keys",
    ]


def test_several_overrides_that_break_a_rule_by_themselves_are_all_reported(composer):
    with pytest.raises(ConfigError) as refusal:
        composer(["model.bias=2", "~seed", "model.hidden_size=(", "recipe.lr=1"])
    assert [error.split()[0] for error in refusal.value.errors] == ["model.bias=2", "~seed", "model.hidden_size=("]


UNDONE = {
    "model/pool=token model.global_pool=seqpool": "model/pool=token  sets model.global_pool=token, but "
    "`model.global_pool=seqpool` beats it; drop one of them",
    "model.num_hidden_layers=5 model/depth=l8": "model/depth=l8  sets model.num_hidden_layers=8, but "
    "`model.num_hidden_layers=5` beats it; drop one of them",
    "model/mlp=swiglu model.use_swiglu_ffn=false": "model/mlp=swiglu  sets model.use_swiglu_ffn=true, but "
    "`model.use_swiglu_ffn=false` beats it; drop one of them",
    "recipe/optimizer=lion recipe.optimizer=adamw": "recipe/optimizer=lion  sets recipe.optimizer=lion, but "
    "`recipe.optimizer=adamw` beats it; drop one of them",
}


@pytest.mark.parametrize("line", UNDONE)
def test_part_and_value_that_contradict_each_other_are_both_named(line, composer):
    assert contradiction_errors(line.split(), composer) == [UNDONE[line]]


@pytest.mark.parametrize(
    "line",
    [
        "model=vit5_small model.qk_norm=false",
        "model/depth=l8 model.num_hidden_layers=8",
        "model/drop_path=linear model.drop_path_rate=0.3",
        "recipe/optimizer=lion recipe.lr=1e-3",
        "recipe/augment=flip_crop recipe.mixup_alpha=0.8",
    ],
)
def test_value_that_adjusts_a_preset_or_part_is_allowed(line, composer):
    assert contradiction_errors(line.split(), composer) == []
    assert composer(line.split())


FROM_A_CHOICE = {
    "model=cct_7_3x1 model.patch_drop_rate=0.25": "; model=cct_7_3x1 sets model.global_pool=seqpool",
    "recipe=cct_300 recipe.schedule=plateau": "; recipe=cct_300 sets recipe.cooldown_epochs=10.0",
    "recipe/augment=mixup recipe.loss=multi_margin": "; recipe/augment=mixup sets recipe.mixup_alpha=0.8",
    "model=cct_7_3x1 model.global_pool=seqpool model.patch_drop_rate=0.25": "use another pooling, or set it to 0",
}


@pytest.mark.parametrize("line", FROM_A_CHOICE)
def test_preset_that_sets_what_a_value_contradicts_is_named(line, composer):
    with pytest.raises(ConfigError) as refusal:
        composer(line.split())
    assert refusal.value.errors[0].endswith(FROM_A_CHOICE[line])


@pytest.mark.parametrize(
    "line, ending",
    [
        ("model/pool=token model.global_pool=seqpool", "beats it; drop one of them"),
        ("model=cct_7_3x1 model.patch_drop_rate=0.25", "model=cct_7_3x1 sets model.global_pool=seqpool"),
        ("-m model/pool=token model.global_pool=seqpool seed=0,1", "beats it; drop one of them"),
    ],
)
def test_contradiction_ends_the_command(line, ending, tmp_path):
    code, messages = cli.start([*line.split(), f"hydra.run.dir={tmp_path}/run", f"hydra.sweep.dir={tmp_path}/sweep"])
    assert code == 2 and messages[-1].endswith(ending)
    assert not list(tmp_path.rglob("record.json"))
