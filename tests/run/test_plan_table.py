"""A plan's prices and its power: every formula against a measurement, and what is printed.

Agrees with references: torch's own saved tensors and a process's peak for memory, real files for disk, the split
itself for images, simulated studies for the smallest effect.
"""

import json
import math
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.make_records import make_record, make_sweep
from vitsweep.commands import plan as price
from vitsweep.config.composer import Composer
from vitsweep.config.schema import Config, DataConfig, ModelConfig, RecipeConfig
from vitsweep.data.counts import batch_and_steps, split_sizes
from vitsweep.data.load import stratified_split
from vitsweep.errors import ConfigError, RecordError
from vitsweep.model.cost import activation_bytes, checkpoint_bytes, training_bytes
from vitsweep.model.vit import ViT
from vitsweep.run.plan_table import describe_power, describe_powers
from vitsweep.significance.declared import Comparison
from vitsweep.significance.equivalence import rope_to_show
from vitsweep.significance.power import detectable_effect, equivalence_power, seeds_for_equivalence, spread_interval
from vitsweep.study.estimate import (
    PUBLISHED_RUNS,
    PUBLISHED_SPREAD,
    Power,
    arm_cost,
    arm_costs,
    measured_spread,
    power_warnings,
    study_power,
)
from vitsweep.study.plan import write_plan
from vitsweep.study.plan_builder import build_plan
from vitsweep.train.average import averages_state, make_averages
from vitsweep.train.checkpoint import save_model, save_state
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
    save_state(tmp_path, state | {"averages": averages_state(averages)})
    for epoch in range(1, 1 + config.recipe.epochs // 30):
        save_model(tmp_path / f"epoch-{epoch}.safetensors", model.state_dict(), config)
    done, state = checkpoint_bytes(config.model, config.recipe, every_epochs=30)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) == pytest.approx(done, rel=0.01)
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
    ],
    ids=str,
)
def test_num_images_are_those_of_the_division(changes):
    data = DataConfig(**changes)
    everything = data.shapes_train if data.name == "shapes" else 50_000
    train_N, val_N = stratified_split(np.sort(np.arange(everything) % 10), list("abcdefghij"), data)
    train, val, test = split_sizes(data)
    assert (train, val) == (len(train_N), test if data.val == "test" else len(val_N))


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


def sight(seeds: int, arms: int, spread: float = 1.0) -> Power:
    return Power(num_seeds=seeds, num_compared=arms, spread=spread, source="")


@pytest.mark.parametrize("seeds, arms", [(5, 1), (8, 6)])
def test_smallest_effect_is_found_in_four_of_five_simulated_studies(seeds, arms):
    """Paired t tests by scipy; for several arms the first step of Holm, the others being without effect."""
    from scipy import stats

    found = sight(seeds, arms)
    draws_SN = np.random.default_rng(0).normal(found.effect, 1.0, (seeds, 4000))
    assert np.mean(stats.ttest_1samp(draws_SN, 0.0).pvalue <= 0.05 / arms) == pytest.approx(0.8, abs=0.02)


def test_smallest_effect_grows_with_arms_and_spread_and_shrinks_with_seeds():
    assert sight(5, 1).effect < sight(5, 6).effect < sight(5, 6, 2.0).effect
    assert sight(10, 6).effect < sight(5, 6).effect and math.isinf(sight(1, 1).effect)


def test_power_of_the_claims_is_stated_beside_that_of_the_arms():
    one = Power(num_seeds=5, num_compared=12, spread=0.5, source="", num_claims=3)
    assert one.effect_of_claims == sight(5, 3, 0.5).effect < one.effect == sight(5, 12, 0.5).effect
    sizes = f"{one.effect_of_claims:.2f} points after Holm over 3 claims, {one.effect:.2f} points after Holm over 12"
    assert sizes in describe_power(one)


def test_power_is_stated_under_the_paired_and_the_pooled_error():
    for error, other in (("paired", "pooled"), ("pooled", "paired"), ("welch", "pooled")):
        one = Power(num_seeds=5, num_compared=6, spread=0.5, source="", num_claims=2, error=error)
        asked = Comparison(error=other, arms=6)
        arms, claims = (replace(asked, family=family).detectable_effect(5, 0.5) for family in (None, 2))
        assumes = " (if all arms spread alike)" if other == "pooled" else ""
        method = "Dunnett" if other == "pooled" else "Holm"
        begin = f"power under error={other}{assumes}: {claims:.2f} points after Holm over 2 claims"
        assert describe_powers(one)[1] == f"{begin}, {arms:.2f} points after {method} over 6 arms"


def test_power_of_one_arm_or_one_seed_is_the_same_under_either_error():
    assert len(describe_powers(sight(5, 1))) == len(describe_powers(sight(1, 4))) == 1


def test_interval_of_the_smallest_effect_is_that_of_the_spread():
    one = Power(num_seeds=5, num_compared=6, spread=0.5, source="", freedom=8)
    assert one.ends(one.effect) == pytest.approx([one.effect * end / 0.5 for end in spread_interval(0.5, 8)])
    assert f"{one.effect:.2f} points [{one.ends(one.effect)[0]:.2f}, " in describe_power(one)


def test_chance_of_equivalence_falls_with_the_family_and_the_spread():
    chances = [
        sight(8, 1, 0.3).chance_of_equivalence,
        sight(8, 6, 0.3).chance_of_equivalence,
        sight(8, 6, 0.6).chance_of_equivalence,
    ]
    assert 1 > chances[0] > chances[1] > chances[2] > 0
    assert Power(num_seeds=8, num_compared=6, spread=0.3, source="", num_claims=1).chance_of_equivalence == chances[0]


def test_claims_that_cannot_be_tested_are_in_no_family():
    found = plan()
    found.claims = [{"claim": "x", "arm": "patch_size=8"}, {"claim": "y", "testable": False}]
    assert study_power(found, None).num_claims == 1


def test_assumed_spread_is_that_of_the_published_runs():
    assert pytest.approx(stdev(PUBLISHED_RUNS) * math.sqrt(2)) == PUBLISHED_SPREAD
    assert round(PUBLISHED_SPREAD, 1) == 0.9


def test_spread_is_measured_on_the_paired_differences_of_earlier_records(tmp_path):
    accuracies = {"baseline": [0.70, 0.72, 0.71], "patch_size=8": [0.71, 0.71, 0.72], "lr=0.002": [0.60, 0.63, 0.61]}
    sweep = make_sweep(tmp_path / "sweep", accuracies)
    found = study_power(plan(), sweep)
    differences = [[1.0, -1.0, 1.0], [-10.0, -9.0, -10.0]]
    assert found.spread == pytest.approx(math.sqrt(sum(np.var(d, ddof=1) for d in differences) / 2))
    assert found.source == "of 6 paired differences in this directory"


def test_spread_of_the_baseline_alone_counts_twice():
    records = [make_record("baseline", seed, accuracy) for seed, accuracy in enumerate((0.70, 0.72, 0.71))]
    spread, source, freedom = measured_spread(records)
    assert spread == pytest.approx(math.sqrt(2) * 1.0) and source.startswith("of 3 cells, as if") and freedom == 2


def test_spread_of_one_cell_an_arm_is_not_measured():
    assert measured_spread([make_record("baseline", 0, 0.7), make_record("lr=0.002", 0, 0.6)]) is None


def test_spread_leaves_out_what_failed_or_is_damaged(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": [0.7, 0.72], "lr=0.002": [0.7, 0.74]})
    for path in sweep.glob("lr*/seed=1/record.json"):
        path.write_text("{")
    assert study_power(plan(), sweep).source.startswith("of 2 cells")


@pytest.mark.parametrize(
    "seeds, arms, wanted",
    [
        (2, 1, ["2 seeds are few", "cannot reach p = 0.05, its smallest is 0.5; use seeds=6"]),
        (4, 3, ["4 seeds are few", "after Holm over 3 arms, its smallest is 0.38; use seeds=7"]),
        (5, 1, ["cannot reach p = 0.05, its smallest is 0.062; use seeds=6"]),
        (6, 1, []),
        (7, 6, ["after Holm over 6 arms, its smallest is 0.094; use seeds=8"]),
        (8, 6, []),
    ],
)
def test_warnings_name_what_so_few_seeds_cannot_do(seeds, arms, wanted):
    found = power_warnings(sight(seeds, arms))
    assert len(found) == len(wanted) and all(words in sentence for words, sentence in zip(wanted, found, strict=True))


def test_seeds_named_for_the_exact_test_are_the_fewest():
    for arms in range(1, 40):
        needed = sight(5, arms).seeds_for_exact_test
        assert sight(needed, arms).smallest_p <= 0.05 < sight(needed - 1, arms).smallest_p


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
