"""From a study to its cells: arms are named, compared, crossed with seeds and frozen in plan.json. No torch, no Hydra.

Whoever plans passes a `compose` function that turns overrides into a Config; so the same code serves the sweeper, the
`plan` command and the tests.
"""

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitsweep.config import Config, config_hash, flat, from_dict, science, to_dict
from vitsweep.errors import ConfigError, RecordError
from vitsweep.record import PLAN_NAME, write_json

PLAN_SCHEMA = 1
SLUG_LENGTH = 80
NOT_SCIENCE = ("tracker", "device", "precision", "compile", "deterministic", "checkpoint_seconds")
NOT_SCIENCE_DATA = ("data.root", "data.download")

Compose = Callable[[list[str]], Config]


@dataclass(kw_only=True)
class Arm:
    """One set of overrides against the baseline."""

    name: str
    """Slug of what it changes; `baseline` changes nothing."""
    role: str
    """baseline, arm or placebo."""
    levels: dict[str, str]
    """Factor -> level."""
    overrides: list[str]
    """What is put on top of the baseline's own overrides."""
    config: Config
    """Resolved, with the seed of the baseline."""

    @property
    def folder(self) -> str:
        """The arm's directory inside the sweep directory."""
        return f"{self.name}-{config_hash(self.config)[:8]}"


@dataclass(kw_only=True)
class Cell:
    """Arm x seed: one training run, as plan.json keeps it."""

    id: str
    """`<arm folder>/seed=<n>`: its directory inside the sweep directory."""
    arm: str
    role: str
    levels: dict[str, str]
    seed: int
    overrides: list[str]
    """All overrides that compose it again."""
    config: dict[str, Any]
    config_hash: str


@dataclass(kw_only=True)
class Plan:
    """A frozen study: plan.json."""

    schema: int = PLAN_SCHEMA
    study: str
    design: str
    baseline: str
    factors: dict[str, list[str]]
    seeds: list[int]
    arms: list[dict[str, Any]]
    cells: list[Cell]
    notes: list[str] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    claims_hash: str = ""
    rope: float = 0.5
    published: dict[str, float] = field(default_factory=dict)
    plan_hash: str = ""


def grid_arms(base: list[str], factors: dict[str, list[str]], compose: Compose) -> tuple[list[Arm], list[str]]:
    """Every combination of levels, the arm that equals the configuration without them first, or else the first one.

    Args:
        base: overrides that every arm has.
        factors: swept key -> its overrides, e.g. {"model.patch_size": ["model.patch_size=4", "model.patch_size=8"]}.
        compose: overrides -> Config.

    Returns:
        The arms and notes about what was merged.

    Raises:
        ConfigError: cells break a rule (all of them are named), or two arms resolve equal.
    """
    combinations = [list(c) for c in itertools.product(*factors.values())]
    configs = compose_all([base + c for c in combinations], compose)
    default = config_hash(compose(base))
    hashes = [config_hash(c) for c in configs]
    first = hashes.index(default) if default in hashes else 0
    baseline = configs[first]
    arms = []
    for combination, config in zip(combinations, configs, strict=True):
        levels = {short_key(o): override_value(o) for o in combination}
        is_baseline = config is baseline
        name = "baseline" if is_baseline else arm_name(baseline, config, levels)
        role = "baseline" if is_baseline else "arm"
        arms.append(Arm(name=name, role=role, levels=levels, overrides=combination, config=config))
    refuse_equal_arms(arms)
    arms.insert(0, arms.pop(first))
    return arms, []


def compose_all(all_overrides: list[list[str]], compose: Compose) -> list[Config]:
    """The configuration of each list of overrides.

    Raises:
        ConfigError: with the faults of all of them, each told once with the first overrides that have it.
    """
    configs, faults = [], {}
    for overrides in all_overrides:
        try:
            configs.append(compose(overrides))
        except ConfigError as refused:
            for fault in refused.faults:
                faults.setdefault(fault, overrides)
    if faults:
        raise ConfigError([f"{fault}    [{' '.join(overrides)}]" for fault, overrides in faults.items()])
    return configs


def refuse_equal_arms(arms: list[Arm]) -> None:
    """Two differently written arms that are the same experiment would be trained twice and compared with each other.

    Raises:
        ConfigError: such a pair, both named.
    """
    seen: dict[str, Arm] = {}
    for arm in arms:
        if arm.role == "placebo":
            continue
        twin = seen.setdefault(config_hash(arm.config), arm)
        if twin is not arm:
            both = f"`{' '.join(twin.overrides)}` and `{' '.join(arm.overrides)}`"
            raise ConfigError([f"{both}  resolve to the same model, data and recipe; keep one of them"])


def differences(baseline: Config, config: Config) -> dict[str, Any]:
    """Dotted key -> value of everything in model, data and recipe that differs from the baseline."""
    before, after = flat(science_values(baseline)), flat(science_values(config))
    return {key: value for key, value in after.items() if before.get(key, ...) != value}


def science_values(config: Config) -> dict[str, Any]:
    """model, data and recipe as configured, without paths (unlike config.science nothing is filled in)."""
    values = {group: dataclasses.asdict(getattr(config, group)) for group in ("model", "data", "recipe")}
    del values["data"]["root"], values["data"]["download"]
    return values


def arm_name(baseline: Config, config: Config, levels: dict[str, str]) -> str:
    """The arm's slug: the leaves that differ, or, when they are many (a group was chosen), its levels."""
    changed = differences(baseline, config)
    parts = {key.rpartition(".")[2]: as_text(value) for key, value in changed.items()}
    if len(parts) > 2 or not parts:
        parts = levels
    return slug("+".join(f"{key}={value}" for key, value in parts.items()))


def slug(text: str) -> str:
    """`text` as a file name: letters, digits and . _ = + -; a long one is cut and ends in its hash."""
    clean = re.sub(r"[^A-Za-z0-9._=+-]+", "-", text).strip("-.") or "unnamed"
    if len(clean) <= SLUG_LENGTH:
        return clean
    return f"{clean[: SLUG_LENGTH - 9]}-{hashlib.sha256(clean.encode()).hexdigest()[:8]}"


def as_text(value: Any) -> str:
    """A value as YAML spells it: true, null, 8, 0.002."""
    return value if isinstance(value, str) else json.dumps(value)


def override_key(override: str) -> str:
    """`+model/patch_size@x=p4` -> `model/patch_size`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def short_key(override: str) -> str:
    """The last word of an override's key: `model/patch_size=p4` and `model.patch_size=4` -> `patch_size`."""
    return re.split(r"[./]", override_key(override))[-1]


def override_value(override: str) -> str:
    """`model.patch_size=4` -> `4`."""
    return override.partition("=")[2]


def counts_as_science(override: str) -> bool:
    """Whether an override can change what is learned, rather than where and how it is computed."""
    key = override_key(override)
    return re.split(r"[./]", key)[0] not in (*NOT_SCIENCE, "hydra", "study", "sweep") and key not in NOT_SCIENCE_DATA


def single_name(overrides: list[str]) -> str:
    """The name of a single run: its overrides, or `baseline`."""
    parts = [f"{short_key(o)}={override_value(o)}" for o in overrides if counts_as_science(o)]
    return slug("+".join(parts)) if parts else "baseline"


def sweep_name(overrides: list[str]) -> str:
    """The name of a plain sweep: the keys it sweeps."""
    keys = [short_key(o) for o in overrides if is_swept(o) and counts_as_science(o)]
    factors = [key for key in keys if key != "seed"]
    return slug("+".join(factors or keys)) if keys else single_name(overrides)


def is_swept(override: str) -> bool:
    """Whether an override's text gives several values: `4,8`, `choice(...)`, `range(...)`, `glob(...)`.

    Hydra's own parser decides what is run; this looks at the text alone, for names.
    """
    value = override_value(override)
    without_quotes = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^]]*\]|\{[^}]*\}", "", value)
    return bool(re.match(r"(choice|range|glob|interval|shuffle|sort|tag)\(", value)) or "," in without_quotes


def make_plan(
    name: str, design: str, base: list[str], arms: list[Arm], seeds: list[int], factors: dict[str, list[str]]
) -> Plan:
    """Cross arms with seeds, seeds outermost: after every pass of a seed there is a balanced partial study."""
    cells = [make_cell(base, arm, seed) for seed in seeds for arm in arms]
    rows = [
        {
            "arm": arm.name,
            "role": arm.role,
            "levels": arm.levels,
            "overrides": arm.overrides,
            "config_hash": config_hash(arm.config),
            "changes": differences(arms[0].config, arm.config),
        }
        for arm in arms
    ]
    plan = Plan(study=name, design=design, baseline=arms[0].name, factors=factors, seeds=seeds, arms=rows, cells=cells)
    plan.plan_hash = plan_hash(plan)
    return plan


def make_cell(base: list[str], arm: Arm, seed: int) -> Cell:
    """The cell of an arm and a seed."""
    config = dataclasses.replace(arm.config, seed=seed)
    return Cell(
        id=f"{arm.folder}/seed={seed}",
        arm=arm.name,
        role=arm.role,
        levels=arm.levels,
        seed=seed,
        overrides=[*base, *arm.overrides, f"seed={seed}"],
        config=to_dict(config),
        config_hash=config_hash(config),
    )


def plan_hash(plan: Plan) -> str:
    """SHA-256 of the plan without its own hash."""
    values = dataclasses.asdict(dataclasses.replace(plan, plan_hash=""))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_plan(directory: Path, plan: Plan) -> None:
    """Freeze the plan as plan.json."""
    write_json(directory / PLAN_NAME, dataclasses.asdict(plan))


def read_plan(directory: Path) -> Plan | None:
    """The plan of a sweep directory, or None if it has none.

    Raises:
        RecordError: plan.json is damaged or has another schema.
    """
    path = directory / PLAN_NAME
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != PLAN_SCHEMA:
            raise RecordError(f"{path}  has schema={values['schema']}, this version reads {PLAN_SCHEMA}")
        return Plan(**values | {"cells": [Cell(**cell) for cell in values["cells"]]})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as fault:
        raise RecordError(f"{path}  is not a plan ({fault}); move the directory away") from fault


def extend(old: Plan, new: Plan, directory: Path) -> Plan:
    """The old plan with the new one's arms, seeds and cells added.

    Raises:
        RecordError: the baselines differ, so the results could not be compared.
    """
    before, after = baseline_values(old), baseline_values(new)
    if before != after:
        differing = [key for key in after | before if before.get(key) != after.get(key)]
        keys = [f"{key}: {before.get(key)} there, {after.get(key)} now" for key in differing]
        raise RecordError(
            f"hydra.sweep.dir={directory}  holds a study with another baseline ({'; '.join(keys)}); "
            f"choose another hydra.sweep.dir=... or move that folder away"
        )
    known_arms, known_cells = {a["arm"] for a in new.arms}, {c.id for c in new.cells}
    merged = dataclasses.replace(
        new,
        arms=new.arms + [a for a in old.arms if a["arm"] not in known_arms],
        cells=new.cells + [c for c in old.cells if c.id not in known_cells],
        seeds=sorted(set(old.seeds) | set(new.seeds)),
        factors={
            key: list(dict.fromkeys(old.factors.get(key, []) + new.factors.get(key, [])))
            for key in new.factors | old.factors
        },
    )
    merged.plan_hash = plan_hash(merged)
    return merged


def baseline_values(plan: Plan) -> dict[str, Any]:
    """Dotted key -> value of the baseline's model, data and recipe, paths left out."""
    cell = next(cell for cell in plan.cells if cell.role == "baseline")
    return flat(science(from_dict(cell.config)))
