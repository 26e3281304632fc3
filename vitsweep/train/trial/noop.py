"""Does an arm change anything, and no more than it says? Asked before a second of training (effects.py measures).

An arm that changes the configuration but nothing that a cell does (momentum of an optimizer that has none, a crop of
zero pixels) would be trained for nothing, and its "no difference" would be reported as a finding: it is refused. An arm
that changes more than the keys it sets can account for (one that disturbs the initialisation of others) is a warning.
"""

import dataclasses
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch

from vitsweep.config.convert import flatten, from_dict, hashed_settings
from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError, DataError
from vitsweep.study.plan import Plan
from vitsweep.train.trial.effects import EFFECTS, Baseline

log = logging.getLogger(__name__)

NETWORK = {"weights", "evaluation"}
COURSE = {"data", "length", "schedule"}
DROPOUT = {"training"}
EXPECTED = {
    "model.name": NETWORK,
    "model.image_size": NETWORK | {"images"},
    "model.patch_size": NETWORK | {"initialisation"},
    "model.num_classes": NETWORK | COURSE,
    "model.num_channels": NETWORK | {"initialisation", "images"},
    "model.patchify_method": {"weights", "initialisation"},
    "model.hidden_size": NETWORK,
    "model.num_hidden_layers": NETWORK,
    "model.num_attention_heads": {"evaluation"},
    "model.intermediate_size": NETWORK,
    "model.embedding_dropout_prob": DROPOUT,
    "model.attention_probs_dropout_prob": DROPOUT,
    "model.attention_output_dropout_prob": DROPOUT,
    "model.mlp_hidden_dropout_prob": DROPOUT,
    "model.mlp_output_dropout_prob": DROPOUT,
    "model.head_dropout_prob": DROPOUT,
    "model.bias": NETWORK,
    "data.name": COURSE,
    "data.val": COURSE,
    "data.val_fraction": COURSE,
    "data.split_seed": {"data"},
    "data.train_limit": COURSE,
    "data.shapes_train": COURSE,
    "data.shapes_test": {"data"},
    "recipe.epochs": {"length", "schedule"},
    "recipe.batch_size": {"length", "schedule"},
    "recipe.optimizer": {"step"},
    "recipe.lr": {"schedule"},
    "recipe.weight_decay": {"step"},
    "recipe.momentum": {"step"},
    "recipe.schedule": {"schedule"},
    "recipe.warmup_epochs": {"schedule"},
    "recipe.plateau_factor": {"schedule"},
    "recipe.plateau_patience": {"schedule"},
    "recipe.label_smoothing": {"step"},
    "recipe.clip_norm": {"step"},
    "recipe.crop_padding": {"images"},
    "recipe.horizontal_flip": {"images"},
}
"""What a key may change; what follows from that need not be listed (see FOLLOWS)."""
FOLLOWS = {"evaluation": {"training"}, "training": {"step"}, "images": {"step"}, "weights": {"step"}}
NEVER_ALONE = ("fraction", "path")  # designs in which a factor may appear in company only, so must be seen there


@dataclass(kw_only=True)
class Finding:
    """What was found out about one arm."""

    arm: str
    changes: dict[str, Any]
    """Dotted key -> value of what differs from the baseline in model, data and recipe."""
    effects: dict[str, str]
    """Names of EFFECTS -> how the arm differs there."""
    idle: list[str] = field(default_factory=list)
    """Keys that do nothing in this arm, while others do."""

    @property
    def is_noop(self) -> bool:
        """Whether the arm is configured differently, but does nothing differently."""
        return bool(self.changes) and not self.effects

    @property
    def unexpected(self) -> dict[str, str]:
        """Effects that none of the changed keys accounts for."""
        expected = set().union(*(EXPECTED.get(key, set(EFFECTS)) for key in self.changes))
        for cause, consequences in FOLLOWS.items():
            expected |= consequences if cause in expected else set()
        return {name: how for name, how in self.effects.items() if name not in expected}


def inspect_arms(baseline: Config, arms: dict[str, Config]) -> list[Finding]:
    """Compare what each arm does with what the baseline does.

    Args:
        baseline: what the arms are compared with.
        arms: name -> configuration.

    Raises:
        ConfigError: an arm's images cannot be divided as it asks.
    """
    findings, faults = [], []
    # Our streams of chance must not disturb those of a cell that is trained in this process later.
    with torch.random.fork_rng(devices=[]):
        compared = compared_with(baseline, "baseline")
        for name, config in arms.items():
            try:
                findings.append(inspect(compared, name, config))
            except DataError as fault:
                faults.append(f"{fault}    [arm {name}]")
    if faults:
        raise ConfigError(faults)
    return findings


def compared_with(config: Config, name: str) -> Baseline:
    """The baseline, measured.

    Raises:
        ConfigError: its images cannot be divided as it asks.
    """
    try:
        return Baseline(config)
    except DataError as fault:
        raise ConfigError([f"{fault}    [{name}]"]) from fault


def inspect(compared: Baseline, name: str, config: Config) -> Finding:
    """One arm against the baseline.

    Raises:
        DataError: its images cannot be divided as it asks.
    """
    changes = changed_keys(compared.config, config)
    found = Finding(arm=name, changes=changes, effects=compared.effects_of(config))
    if len(changes) > 1 and not found.is_noop:
        found.idle = unused_keys(compared, config, list(changes))
    return found


def unused_keys(compared: Baseline, config: Config, keys: list[str]) -> list[str]:
    """Which of several changed keys do nothing in an arm."""
    in_arm = Baseline(config)
    on_course = [key for key in keys if not key.startswith("model.")]
    idle = []
    for key in keys:
        # A key of the network acts whatever else is set; those of data and recipe can put each other out of action.
        acts_in_any_case = key.startswith("model.") or len(on_course) == 1
        if acts_in_any_case and has_effect(compared, with_value_of(compared.config, config, key)):
            continue
        if not has_effect(in_arm, with_value_of(config, compared.config, key)):
            idle.append(key)
    return idle


def has_effect(compared: Baseline, config: Config) -> bool:
    """Whether a configuration does something else than the one it is compared with; assumed if it is impossible."""
    if config.errors() or not changed_keys(compared.config, config):
        return True
    try:
        return bool(compared.effects_of(config))
    except DataError:
        return True


def with_value_of(config: Config, other: Config, key: str) -> Config:
    """A configuration with one key of model, data or recipe as another has it, dropout rates filled in."""
    group, _, name = key.partition(".")
    value = hashed_settings(other)[group].get(name, getattr(getattr(other, group), name))
    return dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **{name: value})})


def changed_keys(baseline: Config, config: Config) -> dict[str, Any]:
    """Dotted key -> value of what differs in model, data and recipe, dropout rates filled in."""
    before, after = flatten(hashed_settings(baseline)), flatten(hashed_settings(config))
    return {key: value for key, value in after.items() if before.get(key, ...) != value}


def refuse_noops(plan: Plan, wanted: Collection[str] | None = None) -> list[str]:
    """Refuse the arms of a plan that do nothing differently; log and return what else is odd about the others.

    Args:
        wanted: names of the arms to look at; None: all.

    Raises:
        ConfigError: naming every such arm and its overrides.
    """
    configs = arm_configs(plan)
    baseline = configs.pop(plan.baseline)
    looked_at = {name: config for name, config in configs.items() if wanted is None or name in wanted}
    log.info("%s: comparing %d arms with the baseline (sweep.check)", plan.study, len(looked_at))
    findings = inspect_arms(baseline, looked_at)
    overrides = {row["arm"]: row["overrides"] for row in plan.arms}
    faults = [noop_message(found, overrides[found.arm]) for found in findings if found.is_noop]
    idle = [unused_message(found, key) for found in findings for key in found.idle]
    if plan.design in NEVER_ALONE:
        faults, idle = faults + idle, []
    if faults:
        raise ConfigError(faults)
    warnings = idle + [sentence for found in findings for sentence in leak_messages(found, overrides[found.arm])]
    for sentence in warnings:
        log.warning("%s", sentence)
    return warnings


def arm_configs(plan: Plan) -> dict[str, Config]:
    """The configuration of the baseline and of each arm, with the plan's first seed; placebos are left out."""
    cells = {cell.arm: cell for cell in reversed(plan.cells) if cell.role != "placebo"}
    return {name: from_dict(cells[name].config) for name in (row["arm"] for row in plan.arms) if name in cells}


def noop_message(found: Finding, overrides: list[str]) -> str:
    """Why an arm is refused."""
    keys = ", ".join(f"{key}={yaml_text(value)}" for key, value in found.changes.items())
    return (
        f"`{' '.join(overrides)}` of arm {found.arm}  changes nothing that a cell does, although {keys} is not the "
        f"baseline's (compared: {', '.join(EFFECTS)}); drop it, add what makes it count, or use sweep.check=false"
    )


def unused_message(found: Finding, key: str) -> str:
    """Why one of an arm's keys is pointless."""
    value = yaml_text(found.changes[key])
    return f"{key}={value}  does nothing in arm {found.arm}, where other keys do; drop it or add what makes it count"


def leak_messages(found: Finding, overrides: list[str]) -> list[str]:
    """What an arm changes beyond what it says, as warnings."""
    said = [
        f"arm {found.arm} changes its {name} ({how}), which none of its keys should"
        for name, how in found.unexpected.items()
    ]
    unnamed = {key: value for key, value in found.changes.items() if not is_named(key, overrides)}
    if unnamed:
        keys = ", ".join(f"{key}={yaml_text(value)}" for key, value in unnamed.items())
        said.append(f"arm {found.arm} also changes {keys}, which `{' '.join(overrides)}` does not name")
    return said


def is_named(key: str, overrides: list[str]) -> bool:
    """Whether an override names a key: itself, a dictionary that holds it, or the config group that it belongs to."""
    names = [override_key(override) for override in overrides]
    if key.endswith("_dropout_prob") and "model.hidden_dropout_prob" in names:
        return True  # fills all places
    return any(key == name or key.startswith(f"{name}.") or key.split(".")[0] == name.split("/")[0] for name in names)
