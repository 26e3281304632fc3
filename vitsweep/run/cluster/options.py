"""Options of sbatch from the settings of hydra/launcher=submitit_slurm; refusal of those that jobs cannot obey."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsweep.config.overrides import override_key

SAME_NAME = (
    "partition qos account comment constraint exclude gres cpus_per_task gpus_per_node cpus_per_gpu gpus_per_task "
    "mem_per_gpu mem_per_cpu"
).split()
"""Settings that sbatch has under the same name."""
SUBMITIT_ONLY = ("submitit_folder", "max_num_timeout", "stderr_to_stdout")
OUR_OPTIONS = "array dependency output job_name open_mode signal time requeue no_requeue export".split()
"""Options of sbatch that a study sets itself."""
MEGABYTES = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}
"""Units of sbatch's --mem."""
SIGNAL_SHARE = 0.25
"""Largest share of the time limit that lies behind the warning signal."""


def launcher_settings(config: DictConfig) -> dict[str, Any]:
    """Return the launcher's settings as plain values."""
    values: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    return values


def setting_errors(config: DictConfig) -> list[str]:
    """Return a message for each setting that detached jobs cannot obey."""
    values, found = launcher_settings(config), []
    for override in config.hydra.overrides.hydra:
        key = override_key(override)
        if key.removeprefix("hydra.launcher.") in SUBMITIT_ONLY:
            found.append(f"{override}  is read by sweep.detach=false only; leave it out")
    for key in ("nodes", "tasks_per_node"):
        if values.get(key) not in (None, 1):
            found.append(f"hydra.launcher.{key}={values[key]}  must be 1: a cell is one process on one node")
    for key in values.get("additional_parameters") or {}:
        if key.replace("-", "_") in OUR_OPTIONS:
            found.append(
                f"hydra.launcher.additional_parameters.{key}  is set by sweep.detach=true itself; leave it out"
            )
    return found


def sbatch_options(values: dict[str, Any]) -> list[str]:
    """Return the options that all jobs of a study share, from the launcher's settings."""
    options = [f"--{key.replace('_', '-')}={values[key]}" for key in SAME_NAME if values.get(key) is not None]
    if values.get("mem_gb") is not None:
        options.append(f"--mem={round(values['mem_gb'] * 1024)}M")
    minutes = int(values["timeout_min"])
    seconds = warning_seconds(minutes, int(values["signal_delay_s"]))
    options += [f"--time={minutes}", f"--signal=USR2@{seconds}", "--nodes=1", "--ntasks=1"]
    for key, value in (values.get("additional_parameters") or {}).items():
        name = f"--{key.replace('_', '-')}"
        options += [name] if value is True else [f"{name}={value}"]
    return options


def launcher_size(options: list[str]) -> tuple[int, int | None]:
    """Return the time limit in minutes and the memory in MB that these options ask for; None: no memory of a node."""
    found = re.fullmatch(r"(\d+)([KMGT]?)", option_value(options, "--mem") or "")
    memory = round(int(found[1]) * MEGABYTES[found[2]]) if found else None
    return int(option_value(options, "--time") or 0), memory


def launcher_warning(options: list[str]) -> int:
    """Return how many seconds before the time limit these options warn a job."""
    return int((option_value(options, "--signal") or "@0").rpartition("@")[2])


def with_size(options: list[str], size: list[int]) -> list[str]:
    """Return the options with a time limit in minutes and a memory in MB, 0 for none; size=[] changes nothing."""
    if not size:
        return options
    minutes, megabytes = size
    values = {"--time": minutes, "--signal": f"USR2@{warning_seconds(minutes, launcher_warning(options))}"}
    values |= {"--mem": f"{megabytes}M"} if megabytes else {}
    kept = [option for option in options if option.partition("=")[0] not in values]
    return kept + [f"{name}={value}" for name, value in values.items()]


def warning_seconds(minutes: int, delay_seconds: int) -> int:
    """Return how long before the time limit a job is warned: the delay, or SIGNAL_SHARE of the limit if it is less."""
    return max(1, round(min(delay_seconds, SIGNAL_SHARE * 60 * minutes)))


def option_value(options: list[str], name: str) -> str | None:
    """Return the value of an option such as `--partition`; None if it is not set."""
    values = [option.partition("=")[2] for option in options if option.startswith(f"{name}=")]
    return values[-1] if values else None
