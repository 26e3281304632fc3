"""Allowed words of the recipe, rules of its augmentation, and settings that are read beside certain others only."""

import math
from collections.abc import Callable
from typing import Any

from vitsweep.added_fields import neutral_values
from vitsweep.config.checks import check, is_finite_and_not_negative, within

OPTIMIZERS = ("adamw", "lion", "muon", "schedule_free_adamw", "sgd")
SCHEDULES = ("constant", "cosine", "linear", "plateau", "warmup_stable_decay")
AUTO_AUGMENTS = ("autoaugment", "none", "randaugment", "timm_randaugment", "trivialaugment")
LOSSES = ("binary_cross_entropy", "cross_entropy", "multi_margin")
TEXTS = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "crop_padding_mode": ("constant", "reflect"),
    "resized_crop_interpolation": ("bicubic", "bilinear", "random"),
    "auto_augment": AUTO_AUGMENTS,
    "augment_fill": ("black", "gray", "mean"),
    "random_erasing_mode": ("const", "pixel"),
    "loss": LOSSES,
    "decay_groups": ("all", "none", "timm"),
}
"""Field -> its allowed words."""
HARD_LOSSES = ("multi_margin",)
"""Losses whose targets are class indices: neither mixing nor label smoothing."""
RANDAUGMENTS = ("randaugment", "timm_randaugment")
MAX_MAGNITUDE = {"randaugment": 30, "timm_randaugment": 10}
FALLING = ("cosine", "linear", "warmup_stable_decay")
"""Schedules that end at min_lr."""
HAS_BETAS = ("recipe.optimizer is not sgd", lambda recipe: recipe.optimizer != "sgd")
IS_MIXING = ("recipe.mixup_alpha or recipe.cutmix_alpha is above 0", lambda recipe: recipe.is_mixing)
IS_ERASING = ("recipe.random_erasing_prob is above 0", lambda recipe: recipe.random_erasing_prob > 0)
IS_RANDAUGMENT = (
    "recipe.auto_augment is randaugment or timm_randaugment",
    lambda recipe: recipe.auto_augment in RANDAUGMENTS,
)
READ_WHERE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "crop_padding_mode": (
        "recipe.crop_padding is above 0 and recipe.resized_crop_min_area is null",
        lambda recipe: recipe.crop_padding > 0 and recipe.resized_crop_min_area is None,
    ),
    "resized_crop_interpolation": (
        "recipe.resized_crop_min_area is given",
        lambda recipe: recipe.resized_crop_min_area is not None,
    ),
    "augment_fill": ("recipe.auto_augment is not none", lambda recipe: recipe.auto_augment != "none"),
    "randaugment_num_ops": IS_RANDAUGMENT,
    "randaugment_magnitude": IS_RANDAUGMENT,
    "randaugment_magnitude_std": (
        "recipe.auto_augment is timm_randaugment",
        lambda recipe: recipe.auto_augment == "timm_randaugment",
    ),
    "random_erasing_max_area": IS_ERASING,
    "random_erasing_mode": IS_ERASING,
    "mixup_prob": IS_MIXING,
    "mixup_off_epoch": IS_MIXING,
    "mixup_switch_prob": (
        "recipe.mixup_alpha and recipe.cutmix_alpha are above 0",
        lambda recipe: recipe.mixup_alpha > 0 and recipe.cutmix_alpha > 0,
    ),
    "beta1": HAS_BETAS,
    "beta2": HAS_BETAS,
    "warmup_lr": ("recipe.warmup_epochs is above 0", lambda recipe: recipe.warmup_epochs > 0),
    "min_lr": ("recipe.schedule is not constant", lambda recipe: recipe.schedule != "constant"),
    "cooldown_epochs": (f"recipe.schedule is one of {', '.join(FALLING)}", lambda recipe: recipe.schedule in FALLING),
    "decay_epochs": (
        "recipe.schedule is warmup_stable_decay",
        lambda recipe: recipe.schedule == "warmup_stable_decay",
    ),
}
"""Added field -> condition in words, and as a function of the recipe, under which it is read."""


def augmentation_errors(recipe: Any) -> list[str]:
    """Return one message for each broken rule of augmentation, mixing and loss."""
    found = check("recipe", recipe, ["random_erasing_prob"], lambda v: 0 <= v <= 1, "must lie in [0, 1]")
    found += check("recipe", recipe, ["mixup_prob"], lambda v: 0 < v <= 1, "must lie in (0, 1]")
    found += check("recipe", recipe, ["mixup_switch_prob"], lambda v: 0 < v < 1, "must lie in (0, 1)")
    found += check("recipe", recipe, ["random_erasing_max_area"], lambda v: 0.02 < v < 1, "must lie in (0.02, 1)")
    area_rule = "must lie in (0, 1], or be null for no resized crop"
    found += check("recipe", recipe, ["resized_crop_min_area"], lambda v: v is None or 0 < v <= 1, area_rule)
    not_negative = ["mixup_alpha", "cutmix_alpha", "mixup_off_epoch", "randaugment_magnitude_std"]
    found += check("recipe", recipe, not_negative, is_finite_and_not_negative, "must be finite and not negative")
    found += within(1, 16, "recipe", recipe, ["randaugment_num_ops"])
    found += magnitude_errors(recipe)
    if recipe.is_mixing and recipe.loss in HARD_LOSSES:
        key = "mixup_alpha" if recipe.mixup_alpha > 0 else "cutmix_alpha"
        found.append(
            f"recipe.{key}={getattr(recipe, key)}  makes soft targets, which recipe.loss={recipe.loss} cannot take; "
            f"use recipe.{key}=0, or recipe.loss=cross_entropy"
        )
    if recipe.label_smoothing > 0 and recipe.loss in HARD_LOSSES:
        found.append(
            f"recipe.label_smoothing={recipe.label_smoothing}  makes soft targets, which recipe.loss={recipe.loss} "
            "cannot take; use recipe.label_smoothing=0, or recipe.loss=cross_entropy"
        )
    return found


def optimization_errors(recipe: Any) -> list[str]:
    """Return one message for each broken rule of optimizer, schedule, average and accumulation."""
    not_negative = ["warmup_lr", "min_lr", "cooldown_epochs", "decay_epochs"]
    found = check("recipe", recipe, not_negative, is_finite_and_not_negative, "must be finite and not negative")
    found += check(
        "recipe", recipe, ["warmup_lr", "min_lr"], lambda v: not v > recipe.lr > 0, "must be at most recipe.lr"
    )
    beta_rule = "must lie in (0, 1), or be null for the optimizer's own"
    found += check("recipe", recipe, ["beta1", "beta2"], lambda v: v is None or 0 < v < 1, beta_rule)
    average_rule = "must lie in (0, 1), or be null for no average"
    found += check("recipe", recipe, ["ema_decay"], lambda v: v is None or 0 < v < 1, average_rule)
    last_rule = f"must be 0, or a number of epochs from 2 to recipe.epochs={recipe.epochs}"
    found += check("recipe", recipe, ["average_last"], lambda v: v == 0 or 2 <= v <= recipe.epochs, last_rule)
    accumulation = recipe.gradient_accumulation_steps
    if accumulation < 1 or recipe.batch_size % accumulation:
        rule = f"must be at least 1 and divide recipe.batch_size={recipe.batch_size}"
        found.append(f"recipe.gradient_accumulation_steps={accumulation}  {rule}")
    return found + schedule_errors(recipe)


def schedule_errors(recipe: Any) -> list[str]:
    """Return a message for each contradiction between schedule, lengths, optimizer and average."""
    found = []
    parts = {name: getattr(recipe, name) for name in ("warmup_epochs", "decay_epochs", "cooldown_epochs")}
    if sum(parts.values()) > recipe.epochs >= parts["warmup_epochs"]:
        text = " ".join(f"recipe.{name}={value}" for name, value in parts.items() if value)
        found.append(f"recipe.epochs={recipe.epochs}  is shorter than {text} together")
    if recipe.schedule == "warmup_stable_decay" and recipe.decay_epochs == 0:
        found.append("recipe.decay_epochs=0.0  must be above 0 for recipe.schedule=warmup_stable_decay")
    if recipe.optimizer == "schedule_free_adamw" and recipe.schedule != "constant":
        found.append(
            f"recipe.schedule={recipe.schedule}  must be constant for recipe.optimizer=schedule_free_adamw, "
            "whose averages take the place of a schedule; use recipe.schedule=constant, with a warm-up"
        )
    for name, neutral in (("ema_decay", "null"), ("average_last", "0")):
        if recipe.optimizer == "schedule_free_adamw" and getattr(recipe, name):
            found.append(
                f"recipe.{name}={getattr(recipe, name)}  must be {neutral} for recipe.optimizer=schedule_free_adamw, "
                "whose weights are averages already"
            )
    return found


def magnitude_errors(recipe: Any) -> list[str]:
    """Return a message if the magnitude of RandAugment is not one that the policy has."""
    highest = MAX_MAGNITUDE.get(recipe.auto_augment, 30)
    value = recipe.randaugment_magnitude
    is_whole = recipe.auto_augment != "randaugment" or float(value).is_integer()
    if 0 <= value <= highest and is_whole and math.isfinite(value):
        return []
    kind = "a whole number" if recipe.auto_augment == "randaugment" else "a number"
    return [f"recipe.randaugment_magnitude={value}  must be {kind} from 0 to {highest}"]


def unread_errors(recipe: Any, kind: type) -> list[str]:
    """Return a message for each added field that has a value of its own and that nothing reads beside the others."""
    found = []
    neutral = neutral_values(kind)
    for name, (condition, is_read) in READ_WHERE.items():
        value = getattr(recipe, name)
        if value != neutral[name] and not is_read(recipe):
            found.append(f"recipe.{name}={value}  is read only where {condition}; leave it out, or set that")
    return found
