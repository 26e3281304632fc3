"""No-ops and leaks are found before training: each key of the configuration with the effect that it must have.

Obeys properties that are known by construction: what adamw never reads is a no-op, what only acts after fifty epochs is
not; a network whose parts share one stream of chance leaks. And refuses images with the right words.
"""

import dataclasses

import pytest
import torch
from torch import nn

from tests.support.changed_config import make
from tests.support.make_images import make_pixels, write_folders
from vitsweep.config.schema import Config, DataConfig, ModelConfig, RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.model import build as models
from vitsweep.model import vit
from vitsweep.train.optim import Schedule
from vitsweep.train.trial import steps
from vitsweep.train.trial.effects import EFFECTS, Baseline
from vitsweep.train.trial.noop import EXPECTED, Finding, inspect_arms


def inspect(changes: str, base: str = "") -> Finding:
    return inspect_arms(make(base), {"arm": make(base, changes)})[0]


# One row a key: what is changed, and all that this must change.
RESNET = "model.name=resnet model.num_hidden_layers=4 model.num_attention_heads=8 model.intermediate_size=512"
ACTING = {
    RESNET: {"weights", "evaluation", "training"},
    "model.image_size=16 data.name=image_folder": {"images", "weights", "evaluation", "training"},
    "model.patch_size=8": {"weights", "initialization", "evaluation", "training"},
    "model.num_classes=7 data.name=image_folder": {"data", "length", "schedule", "weights", "evaluation", "training"},
    "model.num_channels=1 data.name=image_folder": {"images", "weights", "initialization", "evaluation", "training"},
    "model.patchify_method=linear": {"weights", "initialization"},
    "model.hidden_size=64": {"weights", "evaluation", "training"},
    "model.num_hidden_layers=3": {"weights", "evaluation", "training"},
    "model.num_attention_heads=2": {"evaluation", "training"},
    "model.intermediate_size=64": {"weights", "evaluation", "training"},
    "model.hidden_dropout_prob=0.1": {"training"},
    "model.embedding_dropout_prob=0.0": {"training"},
    "model.attention_probs_dropout_prob=0.0": {"training"},
    "model.attention_output_dropout_prob=0.0": {"training"},
    "model.mlp_hidden_dropout_prob=0.0": {"training"},
    "model.mlp_output_dropout_prob=0.0": {"training"},
    "model.head_dropout_prob=0.001": {"training"},
    "model.bias=false": {"weights", "evaluation", "training"},
    "model.patchify_method=overlap model.patch_kernel_size=5": {"weights", "initialization", "evaluation", "training"},
    "model.pos_embed=rope2d": {"weights", "evaluation", "training"},
    "model.pos_embed=relative": {"weights", "evaluation", "training"},
    "model.pos_embed_std=0.2": {"initialization elsewhere"},
    "model.global_pool=avg": {"weights", "evaluation", "training"},
    "model.num_register_tokens=2": {"weights", "evaluation", "training"},
    "model.global_pool=seqpool model.fc_norm=true": {"weights", "evaluation", "training"},
    "model.final_norm=false": {"weights", "evaluation", "training"},
    "model.norm_place=res_post": {"evaluation", "training"},
    "model.parallel_block=true": {"weights", "evaluation", "training"},
    "model.norm_layer=rmsnorm": {"weights", "evaluation", "training"},
    "model.qk_norm=true": {"weights", "evaluation", "training"},
    "model.layerscale_value=0.1": {"weights", "evaluation", "training"},
    "model.hidden_act=relu": {"evaluation", "training"},
    "model.use_swiglu_ffn=true": {"weights", "evaluation", "training"},
    "model.qkv_bias=false": {"weights", "evaluation", "training"},
    "model.head_dim=16": {"weights", "evaluation", "training"},
    "model.lsa=true": {"weights", "evaluation", "training"},
    "model.drop_path_rate=0.5": {"training"},
    "model.patch_drop_rate=0.25": {"training"},
    "model.drop_key_rate=0.1": {"training"},
    "model.weight_init=torch": {"initialization elsewhere"},
    "data.name=shapes": {"data", "length", "schedule"},
    "data.val=test": {"data", "length", "schedule"},
    "data.val_fraction=0.2": {"data", "length", "schedule"},
    f"data.fingerprint={'a' * 64}": {"data"},
    "data.split_seed=1": {"data"},
    "data.train_limit=1000": {"data", "length", "schedule"},
    "data.test_limit=1000": {"data"},
    "recipe.epochs=12": {"length"},
    "recipe.batch_size=64": {"length", "schedule"},
    "recipe.optimizer=sgd": {"step"},
    "recipe.lr=1.0e-4": {"schedule"},
    "recipe.weight_decay=0.0101": {"step"},
    "recipe.schedule=cosine": {"schedule"},
    "recipe.warmup_epochs=5.0": {"schedule"},
    "recipe.plateau_factor=0.5": {"schedule"},
    "recipe.plateau_patience=5": {"schedule"},
    "recipe.label_smoothing=0.01": {"step"},
    "recipe.clip_norm=1.0": {"step"},
    "recipe.clip_norm=100.0": {"step"},
    "recipe.crop_padding=3": {"images", "step"},
    "recipe.crop_padding=0": {"images", "step"},
    "recipe.horizontal_flip=false": {"images", "step"},
    "recipe.crop_padding_mode=reflect": {"images", "step"},
    "recipe.resized_crop_min_area=0.8": {"images", "step"},
    "recipe.auto_augment=autoaugment": {"images", "step"},
    "recipe.auto_augment=randaugment": {"images", "step"},
    "recipe.random_erasing_prob=0.25": {"images", "step", "augmentation"},
    "recipe.mixup_alpha=0.8": {"images", "step", "augmentation"},
    "recipe.cutmix_alpha=1.0": {"images", "step", "augmentation"},
    "recipe.optimizer=lion": {"step"},
    "recipe.optimizer=muon": {"step"},
    "recipe.decay_groups=all": {"step"},
    "recipe.beta1=0.95": {"step"},
    "recipe.beta2=0.95": {"step"},
    "recipe.min_lr=5.0e-4": {"schedule"},
    "recipe.ema_decay=0.999": {"average"},
    "recipe.average_last=2": {"average"},
    "recipe.loss=binary_cross_entropy": {"step"},
    "recipe.loss=multi_margin": {"step"},
}
# Keys that act under another baseline only.
ACTING_THERE = [
    ("recipe.optimizer=sgd", "recipe.momentum=0.5", {"step"}),
    ("model.pos_embed=rope2d", "model.rope_theta=10.0", {"evaluation", "training"}),
    ("model.pos_embed=rope2d", "model.rope_coords=index", {"evaluation", "training"}),
    (
        "model.pos_embed=rope2d model.num_register_tokens=4",
        "model.register_rope_theta=100.0",
        {"evaluation", "training"},
    ),
    ("model.drop_path_rate=0.5", "model.drop_path_schedule=constant", {"training"}),
    ("model.layerscale_value=0.1", "model.layerscale_value=0.2", {"initialization elsewhere"}),
    ("model.qk_norm=true", "model.qk_norm=false", {"weights", "evaluation", "training"}),
    ("recipe.schedule=cosine", "recipe.epochs=12", {"length", "schedule"}),
    ("data.name=shapes", "data.shapes_train=2000", {"data", "length", "schedule"}),
    ("data.name=shapes", "data.shapes_test=500", {"data"}),
    ("recipe.warmup_epochs=5.0", "recipe.warmup_lr=1.0e-5", {"schedule"}),
    ("recipe.schedule=cosine", "recipe.cooldown_epochs=2.0", {"schedule"}),
    ("recipe.schedule=warmup_stable_decay recipe.decay_epochs=2.0", "recipe.decay_epochs=3.0", {"schedule"}),
    ("model.hidden_dropout_prob=0.2", "recipe.gradient_accumulation_steps=2", {"step"}),
    ("recipe.resized_crop_min_area=0.5", "recipe.resized_crop_interpolation=bicubic", {"images", "step"}),
    ("recipe.auto_augment=randaugment", "recipe.augment_fill=gray", {"images", "step"}),
    ("recipe.auto_augment=randaugment", "recipe.randaugment_num_ops=1", {"images", "step"}),
    ("recipe.auto_augment=randaugment", "recipe.randaugment_magnitude=10.0", {"images", "step"}),
    ("recipe.auto_augment=timm_randaugment", "recipe.randaugment_magnitude_std=0.5", {"images", "step"}),
    ("recipe.random_erasing_prob=0.5", "recipe.random_erasing_max_area=0.4", {"images", "step"}),
    ("recipe.random_erasing_prob=0.5", "recipe.random_erasing_mode=pixel", {"images", "step"}),
    ("recipe.mixup_alpha=0.8", "recipe.mixup_prob=0.999", {"augmentation"}),
    ("recipe.mixup_alpha=0.8", "recipe.mixup_off_epoch=5", {"augmentation"}),
    ("recipe.mixup_alpha=0.8 recipe.cutmix_alpha=1.0", "recipe.mixup_switch_prob=0.501", {"augmentation"}),
]
IDLE = [
    ("", "recipe.momentum=0.5"),
    ("recipe.schedule=cosine", "recipe.plateau_factor=0.5"),
    ("recipe.schedule=constant", "recipe.plateau_patience=5"),
    ("recipe.epochs=5", "recipe.plateau_patience=6"),
    ("recipe.epochs=1", "recipe.plateau_factor=0.5"),
    ("data.val=test", "data.val_fraction=0.3"),
    ("data.val=test", "data.split_seed=3"),
    ("data.train_limit=10 recipe.batch_size=64", "recipe.batch_size=128"),
    ("", "recipe.warmup_epochs=0.001"),
    ("", "data.train_limit=45000"),
]


@pytest.mark.parametrize("changes", ACTING)
def test_noop_detector_finds_every_effect_of_a_key_and_no_other(changes):
    base = "data.name=image_folder" if "image_folder" in changes else ""
    found = inspect(changes, base)
    assert set(found.effects) == ACTING[changes]
    assert not found.is_noop and not found.unexpected and not found.unused


@pytest.mark.parametrize("base, changes, wanted", ACTING_THERE)
def test_noop_detector_knows_that_a_key_acts_beside_another(base, changes, wanted):
    found = inspect(changes, base)
    assert set(found.effects) == wanted and not found.unexpected


def test_noop_detector_is_tried_on_every_key():
    tried = " ".join([*ACTING, *(changes for _, changes, _ in ACTING_THERE)])
    assert [key for key in all_keys() if f"{key}=" not in tried] == []


@pytest.mark.parametrize("base, changes", IDLE)
def test_noop_detector_finds_what_changes_nothing(base, changes):
    found = inspect(changes, base)
    assert found.changes and found.is_noop


def test_arm_that_is_the_baseline_is_no_noop():
    assert not inspect("").is_noop


@pytest.mark.parametrize(
    "changes, idle",
    [
        ("model.patch_size=8 recipe.momentum=0.5", ["recipe.momentum"]),
        ("recipe.schedule=cosine recipe.plateau_factor=0.5", ["recipe.plateau_factor"]),
        ("recipe.optimizer=sgd recipe.momentum=0.5", []),
        ("data.val=test data.val_fraction=0.3", ["data.val_fraction"]),
        ("data.name=shapes recipe.epochs=3", []),
        ("model.hidden_size=30 model.num_attention_heads=5", []),
    ],
)
def test_noop_detector_names_the_key_that_does_nothing_beside_others(changes, idle):
    assert inspect(changes).unused == idle


def all_keys() -> list[str]:
    """Keys of model, data and recipe that can change a result."""
    kinds = {"model": ModelConfig, "data": DataConfig, "recipe": RecipeConfig}
    keys = [f"{group}.{f.name}" for group, kind in kinds.items() for f in dataclasses.fields(kind)]
    return [key for key in keys if key not in ("data.root", "data.download", "data.soft_train_limit")]


def test_every_key_says_what_it_may_change():
    # hidden_dropout_prob only fills the places, which are listed.
    assert set(EXPECTED) == set(all_keys()) - {"model.hidden_dropout_prob"}
    assert set().union(*EXPECTED.values()) <= set(EFFECTS)


def test_leak_of_one_stream_of_chance_for_all_weights_is_found(monkeypatch):
    class Leaky(vit.ViT):
        def __init__(self, config, seed=0):
            super().__init__(config, seed)
            torch.manual_seed(seed)
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.02)

    monkeypatch.setitem(models.MODEL_CLASSES, "vit", Leaky)
    assert "initialization elsewhere" in inspect("model.patch_size=8").unexpected


def test_leak_of_a_patchify_method_that_computes_something_else_is_found(monkeypatch):
    class Other(vit.ViT):
        def forward(self, image_BCHW):
            factor = 1.01 if self.config.patchify_method == "linear" else 1.0
            return factor * super().forward(image_BCHW)

    monkeypatch.setitem(models.MODEL_CLASSES, "vit", Other)
    assert set(inspect("model.patchify_method=linear").unexpected) == {"evaluation", "training"}


def test_noop_of_a_branch_that_was_forgotten_is_found(monkeypatch):
    forget = lambda config, place: 0.2  # noqa: E731 - a method for one test
    monkeypatch.setattr(ModelConfig, "dropout_rate", forget)
    baseline, arm = make(), make("", "model.head_dropout_prob=0.0")
    assert not Baseline(baseline).effects_of(arm)


def test_effects_of_frozen_weights_are_seen_in_the_step_alone(monkeypatch):
    real = steps.make_optimizer

    def freezing(model, recipe):
        if recipe.momentum == 0.5 and hasattr(model, "head"):
            model.head.bias.requires_grad_(False)
        return real(model, recipe)

    monkeypatch.setattr(steps, "make_optimizer", freezing)
    assert set(inspect("recipe.momentum=0.5").effects) == {"step"}


@pytest.mark.parametrize("recipe", ["schedule=cosine", "schedule=constant", "schedule=plateau"])
def test_learning_rates_are_those_of_the_schedule(recipe):
    config = make(f"recipe.{recipe}", "recipe.epochs=6 recipe.warmup_epochs=1.5 recipe.plateau_patience=1").recipe
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule, wanted = Schedule(optimizer, config, 4), []
    for _ in range(6):
        for _ in range(4):
            wanted.append(schedule.next_lr)
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(1.0)
    assert list(steps.learning_rates(config, 4)) == pytest.approx(wanted, rel=1e-12)


def test_noop_detector_is_deterministic_and_leaves_chance_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second = inspect("model.hidden_dropout_prob=0.1"), inspect("model.hidden_dropout_prob=0.1")
    assert first == second and torch.equal(before, torch.random.get_rng_state())


def test_noop_detector_accepts_fifteen_arms_of_the_starting_model_with_two_blocks():
    def starting(changes: str) -> Config:
        config, small = make("", changes), dataclasses.asdict(make().model)
        changed = {name: value for name, value in vars(config.model).items() if value != small[name]}
        return dataclasses.replace(config, model=ModelConfig(**{"num_hidden_layers": 2} | changed))

    arms = {key: starting(key) for key in [key for key in ACTING if "image_folder" not in key][:15]}
    findings = inspect_arms(starting(""), arms)
    assert not any(found.is_noop or found.unexpected for found in findings)


def test_noop_check_counts_the_images_of_a_folder(tmp_path):
    write_folders(tmp_path, make_pixels(20, 2, ["cat", "dog"], size=8))
    base = f"data.name=image_folder data.root={tmp_path} model.num_classes=2"
    assert inspect("data.train_limit=36", base).is_noop  # 4 of 40 are held out, so these are all
    assert "length" in inspect("data.train_limit=12", base).effects
    with pytest.raises(ConfigError, match=r"data.train_limit=37  is more than there are: 36 training images"):
        inspect("data.train_limit=37", base)


def test_noop_check_names_a_broken_link_before_anything_is_trained(tmp_path):
    write_folders(tmp_path, make_pixels(20, 2, ["cat", "dog"], size=8))
    (tmp_path / "train/cat/z.png").symlink_to("/no/such/file.png")
    with pytest.raises(ConfigError, match=r"z\.png  is a link to /no/such/file\.png, which does not exist"):
        inspect("data.train_limit=12", f"data.name=image_folder data.root={tmp_path} model.num_classes=2")
