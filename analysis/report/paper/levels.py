"""Levels of the factors as a paper shows them: the setting's value where a factor is one setting, else the level."""

from typing import Any

from vitsweep.study.arms import written_settings

from ...records.selection import Selection, arm_records

FULL_DESIGNS = ("grid", "fraction")
"""Designs in which an arm is known by all of its levels; in the others it is known by those it changes."""
NO_LEVEL = "baseline"
"""Level of the baseline in a factor that does not name it, as Selection.levels has it."""
MAX_SETTINGS = 4
"""Number of settings up to which they stand for factors in a study that names none."""


def factor_levels(selection: Selection) -> dict[str, dict[str, str]]:
    """Return factor -> arm -> level, of the factors in which arms differ; of a study without factors its settings."""
    arms = selection.arms
    configs = {arm: written_settings(record.config) for arm, record in arm_records(selection.cells).items()}
    factors = dict.fromkeys(factor for levels in selection.levels.values() for factor in levels)
    found = {factor: _shown_levels(factor, selection, configs) for factor in factors}
    found = {factor: levels for factor, levels in found.items() if len(set(levels.values())) > 1}
    return found or _varied_settings(arms, configs)


def without_repetition(levels: dict[str, str], selection: Selection) -> dict[str, str]:
    """Return arm -> level, empty where an arm of a design like ofat has the baseline's."""
    if selection.design in FULL_DESIGNS:
        return levels
    own = levels[selection.baseline]
    return {arm: "" if level == own and arm != selection.baseline else level for arm, level in levels.items()}


def _shown_levels(factor: str, selection: Selection, configs: dict[str, dict[str, Any]]) -> dict[str, str]:
    stated = {arm: levels.get(factor, NO_LEVEL) for arm, levels in selection.levels.items()}
    values = _values_of_setting(factor, stated, selection, configs)
    return {arm: values.get(level, "" if level == NO_LEVEL else level) for arm, level in stated.items()}


def _values_of_setting(
    factor: str, stated: dict[str, str], selection: Selection, configs: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """Return level -> value of the one setting that the factor is; {} if it is more than one.

    Read from the arms that differ from the baseline in this factor alone.
    """
    base = selection.baseline
    others = {arm: {f: level for f, level in levels.items() if f != factor} for arm, levels in selection.levels.items()}
    alone = [arm for arm in selection.arms if others[arm] == others[base] and selection.roles[arm] != "placebo"]
    levels = {stated[arm]: configs[arm] for arm in reversed(alone)}
    if set(levels) != set(stated.values()) or len(levels) < 2:
        return {}
    keys = dict.fromkeys(key for config in levels.values() for key in config)
    varied = [key for key in keys if len({str(config.get(key)) for config in levels.values()}) > 1]
    if len(varied) != 1:
        return {}
    values = {level: setting_text(config.get(varied[0])) for level, config in levels.items()}
    return values if len(set(values.values())) == len(values) else {}


def _varied_settings(arms: list[str], configs: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    keys = dict.fromkeys(key for arm in arms for key in configs[arm])
    varied = [key for key in keys if len({str(configs[arm].get(key)) for arm in arms}) > 1]
    if len(varied) > MAX_SETTINGS:
        return {}
    return {key.rpartition(".")[2]: {arm: setting_text(configs[arm].get(key)) for arm in arms} for key in varied}


def setting_text(value: Any) -> str:
    """Return a setting's value as YAML writes it: null, true, 0.001."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
