"""No-op check: refuse arms that change the configuration but nothing in training, before any cell is trained.

Such an arm (momentum of an optimizer that has none, a crop of zero pixels) would be trained for nothing, and its "no
difference" reported as a finding. An arm that changes more than its keys can (one that disturbs the initialization of
other parts) is a warning. effects.py measures.
"""

import dataclasses
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch

from vitsweep.added_fields import neutral_values
from vitsweep.config.convert import flatten, from_dict, hashed_settings
from vitsweep.config.model_schema import DROPOUT_PLACES, ModelConfig
from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config, DataConfig, RecipeConfig
from vitsweep.errors import ConfigError, DataError
from vitsweep.study.arms import FINGERPRINT, IMAGE_FORM, differences
from vitsweep.study.plan import Plan
from vitsweep.train.optimizers import require_library
from vitsweep.train.trial.effects import EFFECTS, Baseline

log = logging.getLogger(__name__)

NETWORK = {"weights", "evaluation"}
COURSE = {"data", "length", "schedule"}
RANDOM_IMAGES = {"images", "augmentation"}
EXPECTED = {
    "model.image_size": NETWORK | {"images"},
    "model.patch_size": NETWORK | {"initialization"},
    "model.num_classes": NETWORK | COURSE,
    "model.num_channels": NETWORK | {"initialization", "images"},
    "model.num_attention_heads": {"evaluation"},
    "model.pos_embed_std": {"initialization elsewhere"},
    "model.layerscale_value": NETWORK | {"initialization elsewhere"},
    "model.weight_init": {"initialization elsewhere"},
    "model.patchify_method": NETWORK | {"initialization"},
    FINGERPRINT: COURSE,
    "data.split_seed": {"data"},
    "data.shapes_test": {"data"},
    "data.test_limit": {"data"},
} | {
    f"{group}.{name}": effects
    for group, names, effects in (
        ("model", "name hidden_size num_hidden_layers intermediate_size bias", NETWORK),
        ("model", "patch_kernel_size pos_embed", NETWORK | {"initialization"}),
        ("model", "global_pool num_register_tokens fc_norm final_norm norm_layer qk_norm", NETWORK),
        ("model", "use_swiglu_ffn qkv_bias head_dim lsa parallel_block", NETWORK),
        ("model", "rope_theta rope_coords register_rope_theta norm_place hidden_act", {"evaluation"}),
        ("model", "drop_path_rate drop_path_schedule patch_drop_rate drop_key_rate", {"training"}),
        ("model", " ".join(f"{place}_dropout_prob" for place in DROPOUT_PLACES), {"training"}),
        ("data", "name val val_fraction train_limit shapes_train", COURSE),
        ("recipe", "epochs batch_size", {"length", "schedule"}),
        ("recipe", "lr schedule warmup_epochs plateau_factor plateau_patience", {"schedule"}),
        ("recipe", "warmup_lr min_lr cooldown_epochs decay_epochs", {"schedule"}),
        ("recipe", "optimizer weight_decay momentum label_smoothing clip_norm loss", {"step"}),
        ("recipe", "decay_groups beta1 beta2 gradient_accumulation_steps", {"step"}),
        ("recipe", "ema_decay average_last", {"average"}),
        ("recipe", "crop_padding crop_padding_mode resized_crop_min_area resized_crop_interpolation", {"images"}),
        ("recipe", "horizontal_flip auto_augment augment_fill", {"images"}),
        ("recipe", "randaugment_num_ops randaugment_magnitude randaugment_magnitude_std", {"images"}),
        ("recipe", "random_erasing_prob random_erasing_max_area random_erasing_mode", RANDOM_IMAGES),
        ("recipe", "mixup_alpha cutmix_alpha mixup_prob mixup_switch_prob mixup_off_epoch", RANDOM_IMAGES),
    )
    for name in names.split()
}
"""Dotted key -> effects that it may have; what follows from them (see FOLLOWS) is left out."""
KINDS: dict[str, type] = {"model": ModelConfig, "data": DataConfig, "recipe": RecipeConfig}
SPELLINGS = {"model.patchify_method": {"conv", "linear"}}
"""Dotted key -> values that mean one function with other first values."""
FOLLOWS = {"evaluation": {"training"}, "training": {"step"}, "images": {"step"}, "weights": {"step"}}
NEVER_ALONE = ("fraction", "path")  # designs in which a factor may occur only beside others, so it is refused there


@dataclass(kw_only=True)
class Finding:
    """Effects of one arm."""

    arm: str
    changes: dict[str, Any]
    """Dotted key -> value of the settings of model, data and recipe that are not the baseline's."""
    effects: dict[str, str]
    """Names of EFFECTS -> how the arm differs there."""
    unused: list[str] = field(default_factory=list)
    """Changed keys without an effect, beside others that have one."""

    spellings: set[str] = field(default_factory=set)
    """Changed keys of SPELLINGS whose two values mean one function."""

    @property
    def is_noop(self) -> bool:
        """True if settings differ, but nothing in training."""
        return bool(self.changes) and not self.effects

    @property
    def unexpected(self) -> dict[str, str]:
        """Effects that none of the changed keys may have."""
        acting = [EXPECTED.get(key, set(EFFECTS)) for key in self.changes if key not in self.spellings]
        expected = set().union(*acting, {"weights", "initialization"} if self.spellings else set())
        for cause, consequences in FOLLOWS.items():
            expected |= consequences if cause in expected else set()
        return {name: how for name, how in self.effects.items() if name not in expected}


def refuse_noops(plan: Plan, wanted: Collection[str] | None = None) -> list[str]:
    """Refuse the arms of a plan that have no effect; log and return warnings about the others.

    Args:
        wanted: names of the arms to check; None: all.

    Raises:
        ConfigError: naming each refused arm and its overrides.
    """
    cells = {cell.arm: cell for cell in reversed(plan.cells) if cell.role != "placebo"}
    overrides = {row["arm"]: row["overrides"] for row in plan.arms if row["arm"] in cells}
    names = [name for name in overrides if name != plan.baseline and (wanted is None or name in wanted)]
    log.info("%s: comparing %d arm%s with the baseline (sweep.check)", plan.study, len(names), "s" * (len(names) > 1))
    configs = {name: from_dict(cells[name].config) for name in [plan.baseline, *names]}
    findings = inspect_arms(configs.pop(plan.baseline), configs)
    errors = [noop_message(found, overrides[found.arm]) for found in findings if found.is_noop]
    unused = [unused_message(found, key) for found in findings for key in found.unused]
    if plan.design in NEVER_ALONE:
        errors, unused = errors + unused, []
    if errors:
        raise ConfigError(errors)
    warnings = unused + [message for found in findings for message in leak_messages(found, overrides[found.arm])]
    for message in warnings:
        log.warning("%s", message)
    return warnings


def inspect_arms(baseline: Config, arms: dict[str, Config]) -> list[Finding]:
    """Compare each arm (name -> configuration) with the baseline; torch's random state is restored.

    Raises:
        ConfigError: the images of the baseline or of an arm cannot be divided as it asks; or an optimizer's library is
            not installed.
    """
    findings, errors = [], []
    for config in (baseline, *arms.values()):
        require_library(config.recipe)
    with torch.random.fork_rng(devices=[]):
        try:
            base = Baseline(baseline)
        except DataError as error:
            raise ConfigError([f"{error}    [baseline]"]) from error
        for name, config in arms.items():
            try:
                found = Finding(arm=name, changes=changes_of(baseline, config), effects=base.effects_of(config))
                found.spellings = spellings_of(baseline, found.changes)
                if len(found.changes) > 1 and not found.is_noop:
                    found.unused = unused_keys(base, config, list(found.changes))
                findings.append(found)
            except DataError as error:
                errors.append(f"{error}    [arm {name}]")
    if errors:
        raise ConfigError(errors)
    return findings


def changes_of(baseline: Config, config: Config) -> dict[str, Any]:
    """Return dotted key -> value of the differences in model, data and recipe, dropout rates filled in."""
    before, after = flatten(filled_settings(baseline)), flatten(filled_settings(config))
    changes = {key: value for key, (_, value) in differences(before, after).items() if key in after}
    if IMAGE_FORM.intersection(changes) and baseline.data.root == config.data.root:
        changes.pop(FINGERPRINT, None)
    return changes


def spellings_of(baseline: Config, changes: dict[str, Any]) -> set[str]:
    """Return the changed keys of SPELLINGS whose old and new values mean one function."""
    before = flatten(filled_settings(baseline))
    return {key for key, same in SPELLINGS.items() if {before.get(key), changes.get(key)} <= same}


def filled_settings(config: Config) -> dict[str, Any]:
    """Return config.hashed_settings with the neutral values, which a change back to one needs; none for a resnet."""
    settings = hashed_settings(config)
    groups = ("data", "recipe") if config.model.name == "resnet" else tuple(settings)
    return settings | {g: {**neutral_values(KINDS[g]), **settings[g]} for g in groups}


def unused_keys(base: Baseline, config: Config, keys: list[str]) -> list[str]:
    """Return those of an arm's several changed keys that have no effect in it."""
    baseline, arm = base.trial.config, Baseline(config)
    num_course = sum(not key.startswith("model.") for key in keys)
    unused = []
    for key in keys:
        # A key of the network acts whatever else is set; several of data and recipe can cancel each other.
        is_independent = key.startswith("model.") or num_course == 1
        if is_independent and has_effect(base, with_value_of(baseline, config, key)):
            continue
        if not has_effect(arm, with_value_of(config, baseline, key)):
            unused.append(key)
    return unused


def has_effect(base: Baseline, config: Config) -> bool:
    """Return True if a configuration acts otherwise than `base`, or is not allowed."""
    if config.errors() or not changes_of(base.trial.config, config):
        return True
    try:
        return bool(base.effects_of(config))
    except DataError:
        return True


def with_value_of(config: Config, other: Config, key: str) -> Config:
    """Return a copy of `config` with one key of model, data or recipe as in `other`, dropout rates filled in."""
    group, _, name = key.partition(".")
    value = hashed_settings(other)[group].get(name, getattr(getattr(other, group), name))
    return dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **{name: value})})


def settings_text(settings: dict[str, Any]) -> str:
    """Return `key=value, key=value`."""
    return ", ".join(f"{key}={yaml_text(value)}" for key, value in settings.items())


def noop_message(found: Finding, overrides: list[str]) -> str:
    """Return the refusal of an arm without effect."""
    return (
        f"`{' '.join(overrides)}` of arm {found.arm}  has no effect on training, although "
        f"{settings_text(found.changes)} is not the baseline's (compared: {', '.join(EFFECTS)}); "
        "remove it, add the setting that it needs, or use sweep.check=false"
    )


def unused_message(found: Finding, key: str) -> str:
    """Return the message about a key without effect in an arm that has one."""
    setting = settings_text({key: found.changes[key]})
    return f"{setting}  has no effect in arm {found.arm}, where other keys do; remove it or add the setting it needs"


def leak_messages(found: Finding, overrides: list[str]) -> list[str]:
    """Return warnings about changes that an arm's overrides do not account for."""
    messages = [
        f"arm {found.arm} changes its {name} ({how}), which none of its keys should"
        for name, how in found.unexpected.items()
    ]
    unnamed = {key: value for key, value in found.changes.items() if not is_named(key, overrides)}
    if unnamed:
        named = " ".join(overrides)
        messages.append(f"arm {found.arm} also changes {settings_text(unnamed)}, which `{named}` does not name")
    return messages


def is_named(key: str, overrides: list[str]) -> bool:
    """Return True if an override names a key: itself, a dictionary that holds it, or its config group."""
    names = [override_key(override) for override in overrides]
    if key.endswith("_dropout_prob") and "model.hidden_dropout_prob" in names:
        return True  # sets all places
    if key == FINGERPRINT and "data.root" in names:
        return True
    return any(key == name or key.startswith(f"{name}.") or key.split(".")[0] == name.split("/")[0] for name in names)
