"""Changes of an arm against the baseline: every setting that differs, or in short the options that were chosen."""

from typing import Any

import pandas as pd

from vitsweep.study.arms import FINGERPRINT, IMAGE_FORM, differences, written_settings

MAX_SETTINGS = 4
"""Largest number of settings in a short text."""


def setting_changes(records: pd.Series, arms: list[str], baseline: str) -> dict[str, str]:
    """Return arm -> every setting that differs from the baseline, as `patch_size 4 -> 8, ...`; '' for the baseline."""
    return {arm: ", ".join(texts.values()) for arm, (texts, _) in _changes(records, arms, baseline).items()}


def option_changes(records: pd.Series, arms: list[str], baseline: str) -> dict[str, str]:
    """Return arm -> its changes in short: of a config group that sets several fields its option, as `dropout none`."""
    return {arm: _short(*change) for arm, change in _changes(records, arms, baseline).items()}


def _changes(records: pd.Series, arms: list[str], baseline: str) -> dict[str, tuple[dict[str, str], list[str]]]:
    """Return arm -> dotted key -> text of the setting, and the overrides that the baseline does not have."""
    configs = {arm: written_settings(records[arm].config) for arm in arms}
    known = records[baseline].overrides if baseline in records else []
    return {
        arm: (_texts(configs[arm], configs[baseline]), [o for o in records[arm].overrides if o not in known])
        if arm != baseline
        else ({}, [])
        for arm in arms
    }


def _short(texts: dict[str, str], overrides: list[str]) -> str:
    pairs = [override.lstrip("+~").partition("=")[::2] for override in overrides]
    groups = {key: option for key, option in pairs if "." not in key}
    by_value = {key for key, _ in pairs}
    of_group = [key for key in texts if key not in by_value and key.split(".")[0] in {g.split("/")[0] for g in groups}]
    if len(of_group) <= len(groups):  # a setting says more than the name of an option
        groups, of_group = {}, []
    named = {f"{key.split('/')[0]}.{key.split('/')[-1]}": key for key in groups}
    parts = []
    for field, key in named.items():
        parts.append(texts[field] if field in of_group else f"{key.split('/')[-1]} {groups[key]}")
    settings = [text for key, text in texts.items() if key not in of_group]
    more = len(settings) - MAX_SETTINGS
    shown = settings if more <= 1 else [*settings[:MAX_SETTINGS], f"{more} more settings"]
    return ", ".join([*parts, *shown])


def _texts(config: dict[str, Any], baseline: dict[str, Any]) -> dict[str, str]:
    keys = differences(baseline, config)
    if IMAGE_FORM.intersection(keys):
        keys.pop(FINGERPRINT, None)  # it follows
    return {
        key: f"{key.split('.')[-1]} {_effective_value(baseline, key)} -> {_effective_value(config, key)}"
        for key in keys
    }


def _effective_value(config: dict[str, Any], key: str) -> Any:
    """Return a field's value; for a dropout place without one (null) the common rate."""
    value = config.get(key)
    if key == FINGERPRINT:
        return str(value or "")[:8] or "not stated"
    if value is None and key.endswith("_dropout_prob"):
        value = config.get("model.hidden_dropout_prob")
    return "null" if value is None else value
