"""A plan's prices: every formula against a measurement, and what is printed.

Agrees with references: torch's own saved tensors and a process's peak for memory, real files for disk, the split
itself for images.
"""

import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vitsweep.commands import plan as price
from vitsweep.config.composer import Composer
from vitsweep.config.schema import Config, DataConfig, ModelConfig, RecipeConfig
from vitsweep.data.counts import batch_and_steps, split_sizes
from vitsweep.data.load import stratified_split
from vitsweep.errors import ConfigError, RecordError
from vitsweep.model.cost import activation_bytes, checkpoint_bytes, training_bytes
from vitsweep.model.vit import ViT
from vitsweep.significance.equivalence import rope_to_show
from vitsweep.significance.power import detectable_effect, equivalence_power, seeds_for_equivalence
from vitsweep.study.estimate import arm_cost, arm_costs
from vitsweep.study.plan import write_plan
from vitsweep.study.plan_builder import build_plan
from vitsweep.study.questions.study_power import PUBLISHED_SPREAD, study_power
from vitsweep.train.average import averages_state, make_averages
from vitsweep.train.checkpoint import save_final, save_model, save_state
from vitsweep.train.optim import make_optimizer

ROOT = Path(__file__).resolve().parents[2]
MODELS = [
    {},
    {"hidden_dropout_prob": 0.0},
    {"patch_size": 8},
    {"patch_size": 2, "num_hidden_layers": 2},
    {"hidden_size": 64, "intermediate_size": 512, "patchify_method": "linear"},
    {"num_attention_heads": 2, "attention_probs_dropout_prob": 0.0},
    {"embedding_dropout_prob": 0.0, "mlp_hidden_dropout_prob": 0.0, "attention_output_dropout_prob": 0.0},
]


def saved_bytes(config: ModelConfig, batch_size: int) -> int:
    """Bytes of all storages, weights aside, that autograd keeps of one forward pass."""
    model = ViT(config).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept, sizes = [], {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.append(tensor)  # alive, so that no address is used twice
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    image_BCHW = torch.randn(batch_size, 3, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.cross_entropy(model(image_BCHW), torch.zeros(batch_size, dtype=torch.long))
    return sum(sizes.values())


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_activation_bytes_are_what_autograd_keeps(changes):
    config = ModelConfig(**changes)
    assert activation_bytes(config, 4) == pytest.approx(saved_bytes(config, 4), rel=0.05)


PEAK = r"""
import re, torch
from torch.nn import functional as F
from vitsweep.config.schema import ModelConfig, RecipeConfig
from vitsweep.model.vit import ViT
from vitsweep.train.optim import make_optimizer
torch.set_num_threads(1)

def peak(batch_size, **values):
    model = ViT(ModelConfig(**values)).train()
    optimizer = make_optimizer(model, RecipeConfig())
    for _ in range(2):
        loss = F.cross_entropy(model(torch.randn(batch_size, 3, 32, 32)), torch.zeros(batch_size, dtype=torch.long))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    # Not ru_maxrss: a process inherits that from its parent, which may have been far bigger.
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024

before = peak(2, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
print(peak(16) - before)
"""


@pytest.mark.slow  # 8 s: a process whose peak is measured
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_bytes_are_within_a_factor_of_two_and_a_half_of_a_process_peak():
    measured = int(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, check=True, cwd=ROOT).stdout)
    assert 0.8 < measured / training_bytes(ModelConfig(), RecipeConfig(), 16) < 2.5


@pytest.mark.parametrize(
    "optimizer, momentum, decay",
    [
        ("adamw", 0.9, None),
        ("sgd", 0.9, None),
        ("sgd", 0.0, None),
        ("lion", 0.9, 0.99),
        ("schedule_free_adamw", 0.9, None),
    ],
)
def test_checkpoint_bytes_are_those_of_the_files(tmp_path, optimizer, momentum, decay):
    sizes = {"hidden_size": 128, "num_hidden_layers": 4}
    recipe = RecipeConfig(optimizer=optimizer, momentum=momentum, ema_decay=decay)
    config = Config(model=ModelConfig(**sizes), recipe=recipe)
    model = ViT(config.model)
    for name in ("best", "last", *(["ema"] if decay else [])):
        save_model(tmp_path / f"{name}.safetensors", model.state_dict(), config)
    steps = make_optimizer(model, config.recipe)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    steps.step()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {"model": model.state_dict(), "optimizer": steps.state_dict(), "best_weights": weights}
    averages = make_averages(model, recipe)
    state |= {"averages": averages_state(averages)}
    save_state(tmp_path, state)
    save_final(tmp_path, state | {"progress": {}, "best_weights": {}})
    for epoch in range(1, 1 + config.recipe.epochs // 30):
        save_model(tmp_path / f"epoch-{epoch}.safetensors", model.state_dict(), config)
    done, state = checkpoint_bytes(config.model, config.recipe, every_epochs=30)
    files = [*tmp_path.glob("*.safetensors"), tmp_path / "final.pt"]
    assert sum(path.stat().st_size for path in files) == pytest.approx(done, rel=0.01)
    assert (tmp_path / "state.pt").stat().st_size == pytest.approx(state, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"val": "test"},
        {"val_fraction": 0.25},
        {"train_limit": 1000},
        {"train_limit": 100, "val_fraction": 0.02},
        {"train_limit": 5000, "val": "test"},
        {"name": "shapes"},
        {"name": "shapes", "shapes_train": 300, "shapes_test": 70, "train_limit": 33},
        {"name": "shapes", "shapes_train": 300, "shapes_test": 70, "test_limit": 30, "val": "test"},
    ],
    ids=str,
)
def test_num_images_are_those_of_the_division(changes):
    data = DataConfig(**changes)
    everything = data.shapes_train if data.name == "shapes" else 50_000
    train_N, val_N = stratified_split(np.sort(np.arange(everything) % 10), list("abcdefghij"), data)
    train, val, test = split_sizes(data)
    assert (train, val) == (len(train_N), test if data.val == "test" else len(val_N))
    assert test == (data.test_limit or (data.shapes_test if data.name == "shapes" else 10_000))


def test_num_images_of_a_folder_are_not_guessed():
    assert split_sizes(DataConfig(name="image_folder", root="/x")) is None


@pytest.mark.parametrize("num_train, batch, wanted", [(45_000, 128, (128, 351)), (100, 128, (100, 1)), (10, 3, (3, 3))])
def test_batches_are_full(num_train, batch, wanted):
    assert batch_and_steps(num_train, batch) == wanted


def test_price_of_the_starting_configuration():
    config = {name: vars(part) for name, part in vars(Config()).items() if name in ("model", "data", "recipe")}
    found = arm_cost("baseline", {}, config, 3)
    assert (found.params, found.tokens, found.batch_size, found.steps) == (4_249_354, 65, 128, 351)
    assert found.training_flops == 3 * found.flops_per_image * 128 * 351 * 100


@cache
def composer() -> Composer:
    return Composer(price.make_loader(None), "config")


def plan(*overrides: str):
    return build_plan(["model.patch_size=4,8", "seed=0,1", *overrides], composer())


def test_prices_follow_the_plan():
    found = arm_costs(plan())
    assert [(p.arm, p.cells, p.changes, p.tokens) for p in found] == [
        ("baseline", 2, {}, 65),
        ("patch_size=8", 2, {"model.patch_size": 8}, 17),
    ]


def printed(capsys, *arguments: str) -> str:
    assert price.main(list(arguments)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_plan_is_printed_with_price_power_and_warnings(capsys):
    text = printed(capsys, "model.patch_size=4,8", "seed=0,1,2")
    for words in (
        "patch_size: 2 arms x 3 seeds = 6 cells (grid)",
        "4,249,354",
        "4,273,930",
        "power: the smallest difference found with 80 % probability is 2.93 points [1.53, 18.42] for one arm; what ",
        "found to be within 0.5 points with 3 % probability; for 3 seeds and a spread of 0.90 points",
        "so few runs leave 0.47 to 5.64 points possible",
        "warning: 3 seeds are few",
        "use seeds=6 or more",
        "outputs/patch_size",
    ):
        assert words in text


def test_plan_of_a_folder_states_no_totals_that_it_cannot_know(capsys):
    folder = ["data=image_folder", "data.root=/x", f"data.fingerprint={'a' * 64}", "model.num_classes=4"]
    assert "PFLOP" not in printed(capsys, "recipe.lr=1e-3,2e-3", *folder)


def test_plan_shows_the_directory_of_the_sweep(capsys, tmp_path):
    assert f"directory: {tmp_path}/here" in printed(capsys, "seed=0,1", f"hydra.sweep.dir={tmp_path}/here")


def test_plan_starts_nothing(capsys, tmp_path):
    printed(capsys, "seed=0,1")
    assert list(tmp_path.iterdir()) == []


def test_plan_refuses_a_directory_with_another_baseline(capsys, tmp_path):
    write_plan(tmp_path, plan())
    with pytest.raises(RecordError, match="holds a study with another baseline"):
        price.main(["model.patch_size=4,8", "recipe.lr=5e-3", f"hydra.sweep.dir={tmp_path}"])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["study=nothing"], "study=nothing  is unknown"),
        (["model.patch_size=5,7"], "model.patch_size=5  does not divide"),
        (["seed=0,1", "--config-dir", "nowhere"], "--config-dir=nowhere  is not a folder; name one that holds"),
        (["model.patch_size"], "model.patch_size  cannot be parsed"),
    ],
)
def test_plan_refuses_with_the_right_words(arguments, sentence):
    with pytest.raises(ConfigError) as refusal:
        price.main(arguments)
    assert str(refusal.value).startswith(sentence)


def test_plan_command_needs_no_torch(tmp_path):
    code = (
        "import json, sys; from vitsweep.commands.plan import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, sorted({'torch', 'wandb', 'pandas', 'matplotlib'} & set(sys.modules))]))"
    )
    command = [sys.executable, "-c", code, "model.patch_size=4,8", "seed=0,1,2", "study=null"][:-1]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(ran.stdout.splitlines()[-1]) == [0, []]


def test_plan_reads_overrides_with_hyphens_as_those_without(capsys):
    words = ["model.patch_size=4,8", "seed=0,1", "data=shapes", "data.train_limit=null"]
    printed = []
    for hyphens in ("", "--"):
        assert price.main([hyphens + word for word in words]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "2 arms x 2 seeds" in printed[0]


def test_plan_refuses_an_unknown_option_in_one_sentence():
    with pytest.raises(ConfigError, match=r"^--dry-run  is no option.*; a setting is written key=value"):
        price.main(["study=parts", "--dry-run"])


FACTORS = {"bias": ["model.bias=false"], "depth": ["model.num_hidden_layers=4"], "patch": ["model.patch_size=8"]}


def write_study(folder, **entries) -> list[str]:
    """Write a study file; return the words that name it."""
    (folder / "study").mkdir()
    content = {"name": "mine", "design": "grid", "factors": FACTORS, "seeds": 5} | entries
    (folder / "study" / "mine.yaml").write_text(json.dumps(content))
    return ["--config-dir", str(folder), "study=mine"]


def test_plan_of_a_grid_prints_the_power_of_its_main_effects(capsys, tmp_path):
    text = printed(capsys, *write_study(tmp_path, interactions=[["bias", "depth"]]))
    effect = detectable_effect(5, PUBLISHED_SPREAD / 2, 4)
    assert "questions: 3 main effects and 1 interaction, each of which uses many arms: the smallest main" in text
    assert f"found with 80 % probability is {effect:.2f} points after Holm over 4 effects" in text


def test_plan_prints_the_chance_of_each_claim_of_equality_and_what_would_do(capsys, tmp_path):
    claim = {"claim": "no bias is as good", "kind": "equivalent", "arm": "bias=false"}
    text = printed(capsys, *write_study(tmp_path, design="ofat", claims=[claim, claim | {"claim": "restated"}]))
    seeds, chance = seeds_for_equivalence(0.0, PUBLISHED_SPREAD, 0.5), equivalence_power(0.0, PUBLISHED_SPREAD, 5, 0.5)
    rope = rope_to_show("equivalent", PUBLISHED_SPREAD / math.sqrt(5), 4)
    for words in (
        f"warning: study.claims[0] (no bias is as good): {100 * chance:.0f} % chance to be shown equivalent within 0.5",
        f"if there is no difference at all; 80 % needs {seeds} seeds, or a ROPE of {rope:.2f} points with these",
        "] for one claim",
    ):
        assert words in text


def test_power_of_a_claim_about_a_main_effect_is_that_of_its_contrast(tmp_path):
    write_study(tmp_path, claims=[{"claim": "x", "main_effect": "depth"}])
    found = study_power(build_plan(["study=mine"], Composer(price.make_loader(str(tmp_path)), "config")), None)
    assert found.effect_of_claims == pytest.approx(detectable_effect(5, found.spread / 2, 1))
