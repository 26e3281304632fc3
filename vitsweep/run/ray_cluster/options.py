"""Settings of hydra/launcher=ray; refusal of those that no cell could obey."""

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsweep.config.schema import SweepConfig
from vitsweep.errors import did_you_mean
from vitsweep.paths import install_command

KEY = "hydra.launcher"
RAYS_OWN = ("CPU", "GPU", "memory", "object_store_memory", "bundle")
"""Resources that Ray names itself; a cell asks for the first two by num_cpus and num_gpus."""


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Settings of the launcher; conf/hydra/launcher/ray.yaml explains them."""

    address: str = "auto"
    num_cpus: float = 1
    num_gpus: float | str = "auto"
    resources: dict[str, float] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    may_grow: bool = False

    def needs(self, device: str, cluster_has_gpus: bool) -> dict[str, float]:
        """Return what a cell with this device asks of a node, by Ray's names; resources of 0 are left out."""
        can_use = device == "cuda" or (device == "auto" and cluster_has_gpus)
        gpus = float(can_use) if self.num_gpus == "auto" else float(self.num_gpus)
        asked = {"CPU": self.num_cpus, "GPU": gpus, **self.resources}
        return {name: float(number) for name, number in asked.items() if number}


def ray_settings(config: DictConfig) -> RaySettings:
    """Return the launcher's settings, which setting_errors has accepted."""
    values: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    values.pop("_target_")
    return RaySettings(**values)


def setting_errors(config: DictConfig) -> list[str]:
    """Return a message if Ray is missing, and for each setting of the launcher that is not allowed."""
    if find_spec("ray") is None:
        return [f"hydra/launcher=ray  needs the package ray, which is not installed; {install_command('ray')}"]
    values: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    names = [known.name for known in fields(RaySettings)]
    found = [
        f"{KEY}.{name}  is unknown{did_you_mean(name, names)}; allowed: {', '.join(names)}"
        for name in values
        if name not in ("_target_", *names)
    ]
    rules = {
        "address": (is_address, "must be auto or host:port of the cluster's head; Ray Client (ray://) is not used"),
        "num_cpus": (is_amount, "must be a number above 0"),
        "num_gpus": (is_share, "must be auto or a number from 0 to 1, since a cell trains on one GPU"),
        "resources": (
            is_resources,
            "must map names to numbers above 0; CPU and GPU are num_cpus and num_gpus, memory is not asked for",
        ),
        "env": (is_environment, "must map names of variables to texts"),
        "may_grow": (lambda value: isinstance(value, bool), "must be true or false"),
    }
    broken = [name for name, (rule, _) in rules.items() if name in values and not rule(values[name])]
    return found + [f"{KEY}.{name}={values[name]}  {rules[name][1]}" for name in broken]


def sweep_errors(settings: SweepConfig) -> list[str]:
    """Return a message for each setting of the sweep that tasks cannot obey."""
    found = []
    if settings.jobs != "auto":
        found.append(f"sweep.jobs={settings.jobs}  is not read by hydra/launcher=ray; {KEY}.num_cpus=N divides nodes")
    if settings.isolate == "none":
        found.append("sweep.isolate=none  cannot train in this process with hydra/launcher=ray; leave one of them out")
    return found


def is_address(value: Any) -> bool:
    """Return whether a value is `auto` or `host:port`."""
    if not isinstance(value, str):
        return False
    host, colon, port = value.rpartition(":")
    return value == "auto" or bool(host and colon and port.isdigit() and "//" not in host)


def is_amount(value: Any) -> bool:
    """Return whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def is_share(value: Any) -> bool:
    """Return whether a value is `auto` or a number from 0 to 1."""
    return value == "auto" or value == 0 and value is not False or is_amount(value) and value <= 1


def is_resources(value: Any) -> bool:
    """Return whether a value maps names other than Ray's own to numbers above 0."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and name not in RAYS_OWN and is_amount(number) for name, number in value.items()
    )


def is_environment(value: Any) -> bool:
    """Return whether a value maps texts to texts."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    )
