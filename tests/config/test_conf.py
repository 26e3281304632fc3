"""Every file in conf/: it composes, and the command in its head is accepted; ablation_check.py reads the rest."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import open_dict

from vitsweep.config.composer import Composer
from vitsweep.config.convert import from_omegaconf
from vitsweep.config.hydra import make_loader
from vitsweep.config.model_schema import DROPOUT_PLACES
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError
from vitsweep.model.cost import count_parameters
from vitsweep.paths import conf_dir
from vitsweep.study.plan_builder import build_plan

GROUPS = ["model", "data", "recipe", "tracker", "study"]
GROUPS += sorted(path.relative_to(conf_dir()).as_posix() for path in conf_dir().glob("*/*") if path.is_dir())
NEEDED = {"image_folder": ["data.root=somewhere"], "fc_norm": ["model/pool=avg"]}
NEEDED |= {"schedule_free": ["recipe/schedule=constant"]}
"""Option or group -> what it cannot do without."""
PRESETS = {
    "readme": 4_249_354,
    "vit": 4_249_354,
    "vit_lite_7_4": 3_716_874,
    "cvt_7_4": 3_716_619,
    "cct_7_3x1": 3_760_139,
    "cct_7_3x2": 3_853_259,
    "cct_2_3x2": 283_723,
    "sl_vit": 2_692_426,
    "sl_vit_spt_lsa": 2_729_878,
    "posemb_small": 811_146,
    "vit5_small": 4_024_714,
    "resnet": 4_366_250,
    "vit_half": 1_076_106,
    "resnet_half": 1_094_106,
}
"""Option of model -> parameters."""
PUBLISHED = {"vit_lite_7_4": 3.717, "cvt_7_4": 3.717, "cct_7_3x1": 3.760, "cct_7_3x2": 3.853, "cct_2_3x2": 0.284}
"""Option of model -> millions of parameters in Compact-Transformers' README."""
FILES = sorted(conf_dir().rglob("*.yaml"))


def name_of(path: Path) -> str:
    return str(path.relative_to(conf_dir()))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@cache
def loader() -> ConfigLoader:
    return make_loader(None)


def composed(*overrides: str) -> Config:
    """Hydra's own composition, typed."""
    found = loader().load_configuration("config", list(overrides), run_mode=RunMode.RUN)
    with open_dict(found):
        del found["hydra"]
    return from_omegaconf(found)


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(loader(), "config")


@pytest.mark.parametrize("group, option", [(group, option) for group in GROUPS for option in options(group)])
def test_config_group_option_composes(group, option, composer):
    extra = NEEDED.get(option, []) + NEEDED.get(group.rpartition("/")[2], [])
    assert composer([f"{group}={option}", *extra])


@pytest.mark.parametrize(
    "group, option, key, value",
    [
        ("model/patch_size", "p8", "patch_size", 8),
        ("model/depth", "l4", "num_hidden_layers", 4),
        ("model/patchify", "linear", "patchify_method", "linear"),
        ("model/pos_embed", "relative", "pos_embed", "relative"),
        ("model/pool", "seqpool", "global_pool", "seqpool"),
        ("model/mlp", "swiglu", "use_swiglu_ffn", True),
        ("model/drop_path", "linear", "drop_path_rate", 0.1),
        ("model/heads", "h4", "num_attention_heads", 4),
    ],
)
def test_config_group_and_value_mean_the_same(group, option, key, value):
    assert composed(f"{group}={option}") == composed(f"model.{key}={value}")


@pytest.mark.parametrize("option, places", [("none", []), ("attention", ["attention_probs", "attention_output"])])
def test_config_dropout_groups_act_at_their_places_alone(option, places):
    model = composed(f"model/dropout={option}").model
    assert [p for p in DROPOUT_PLACES if model.dropout_rate(p) > 0] == places


@pytest.mark.parametrize("preset", options("model"))
def test_preset_has_the_parameters_that_it_states(preset, composer):
    count = count_parameters(composer([f"model={preset}"]).model)
    text = (conf_dir() / "model" / f"{preset}.yaml").read_text()
    assert count == PRESETS[preset] and f"{count:,} parameters" in text
    assert re.search(rf"`{preset}`.*\| {count:,} \|", (conf_dir().parent / "docs" / "axes.md").read_text())


@pytest.mark.parametrize("preset, millions", PUBLISHED.items())
def test_preset_has_the_published_parameters(preset, millions, composer):
    assert f"{count_parameters(composer([f'model={preset}']).model) / 1e6:.3f}" == f"{millions:.3f}"


def test_config_yaml_defaults_are_the_schemas_defaults():
    config = composed()
    config.data.root = Config().data.root  # made absolute
    assert config.tracker.name == "wandb"
    config.tracker.name = Config().tracker.name  # none, so that tracker=[tensorboard] is TensorBoard alone
    assert config == Config()


def head(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("#") and "# @package" not in line]


def commands(path: Path) -> list[str]:
    return [line.removeprefix("# command: ") for line in head(path) if line.startswith("# command: ")]


def accept(command: str, composer: Composer) -> int:
    """Plan or compose what a command line asks for, without training; returns the number of cells."""
    python, script, *arguments = shlex.split(command)
    assert (python, script) == ("python", "run.py")
    if "-m" in arguments or any(argument.startswith("study=") for argument in arguments):
        return len(build_plan([a for a in arguments if a != "-m"], composer).cells)
    return len([composer(arguments)])


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_command_in_the_head_of_a_config_file_is_accepted(path, composer):
    if path.parent.name == "cluster":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
    found = commands(path)
    assert found and all(accept(command, composer) for command in found)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != conf_dir()], ids=name_of)
def test_command_in_the_head_of_an_option_names_it(path):
    group = path.parent.relative_to(conf_dir()).as_posix()
    is_named = [re.search(rf"\b{group}=(\S+,)?{path.stem}\b", command) for command in commands(path)]
    assert any(is_named)


@pytest.mark.parametrize("command", ["-m model/patch_size=p4,p4", "model/patch_size=5", "recipe=slow", "-m study=nope"])
def test_command_that_is_refused_is_noticed(command, composer):
    with pytest.raises(ConfigError):
        accept(f"python run.py {command}", composer)
