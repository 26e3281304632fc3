"""Checks before the first job of a study: partition, time limit, options, and a directory that the nodes can see."""

import re
from pathlib import Path

from vitsweep.run.cluster.options import option_value
from vitsweep.run.cluster.scheduler import SlurmError, call, test_submission

LOCAL_DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "overlay", "f2fs")
"""Types of file systems of one machine, whose folders other nodes do not see."""
IMMEDIATE_SECONDS = 15
"""Time in which a node must be free to look whether it sees the study's directory."""
NOT_ASKED = ("Unable to allocate resources", "error: Immediate", "Job allocation", "has been revoked", "did not answer")


def submission_errors(options: list[str]) -> list[str]:
    """Return a message for each reason for which Slurm would refuse jobs with these options, or never start them."""
    found = partition_errors(option_value(options, "--partition"), int(option_value(options, "--time") or 0))
    if found:
        return found
    try:
        test_submission(options)
    except SlurmError as error:
        words = re.sub(r"^sbatch {2}failed: ((allocation failure|Batch job submission failed): )?", "", str(error))
        return [f"hydra.launcher  asks for what Slurm refuses: {words}; see sinfo, and sacctmgr show assoc user=$USER"]
    return []


def partition_errors(name: str | None, minutes: int) -> list[str]:
    """Return a message if a partition does not exist, is closed, or ends jobs before `minutes`."""
    partitions = read_partitions()
    if name is None:
        chosen = [values for values in partitions.values() if values.get("Default") == "YES"]
        if not chosen:
            return [f"hydra.launcher.partition  must be set, since this cluster has no default; {allowed(partitions)}"]
        name = chosen[0]["PartitionName"]
    errors = []
    names = name.split(",")
    if unknown := [one for one in names if one not in partitions]:
        return [f"hydra.launcher.partition={name}  has no partition {', '.join(unknown)}; {allowed(partitions)}"]
    if all(partitions[one].get("State") != "UP" for one in names):
        state = partitions[names[0]].get("State", "unknown")
        errors.append(f"hydra.launcher.partition={name}  is {state} and starts no jobs; {allowed(partitions)}")
    limits = [time_minutes(partitions[one].get("MaxTime", "UNLIMITED")) for one in names]
    if all(limit is not None and minutes > limit for limit in limits):
        most = max(limit for limit in limits if limit is not None)
        errors.append(f"hydra.launcher.timeout_min={minutes}  is above the limit of partition {name}, {most} min")
    return errors


def read_partitions() -> dict[str, dict[str, str]]:
    """Return name -> settings of each partition.

    Raises:
        SlurmError: Slurm does not answer.
    """
    rows = [
        dict(re.findall(r"(\S+?)=(\S*)", line)) for line in call("scontrol", "show", "partition", "-o").splitlines()
    ]
    return {row["PartitionName"]: row for row in rows if "PartitionName" in row}


def allowed(partitions: dict[str, dict[str, str]]) -> str:
    """Return the partitions that can be named, as the end of a message."""
    return f"allowed: {', '.join(name for name, values in partitions.items() if values.get('State') == 'UP')}"


def time_minutes(text: str) -> int | None:
    """Return a time of Slurm (`1-02:30:00`, `02:30:00`, `30:00`) in whole minutes; None for UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (24 * days + hours) * 60 + minutes


def disk_type(directory: Path) -> str:
    """Return the type of the file system that holds a directory; empty where the system does not list its mounts."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    mounts = [(line.split()[1].encode().decode("unicode_escape"), line.split()[2]) for line in lines]
    place = directory.resolve()
    held = [(point, kind) for point, kind in mounts if place == Path(point) or Path(point) in place.parents]
    return max(held, key=lambda mount: len(mount[0]))[1] if held else ""


def visibility_errors(directory: Path, options: list[str]) -> list[str]:
    """Return a message if a node does not see the study's directory.

    Only a disk of this machine raises the question; it is then put to a node, if one is free within IMMEDIATE_SECONDS.
    """
    kind = disk_type(directory)
    if kind not in LOCAL_DISKS:
        return []
    try:
        ask_a_node(directory, options)
    except SlurmError as error:
        if any(words in str(error) for words in NOT_ASKED):
            return []
        where = "use hydra.sweep.dir=... on a disk that all nodes share"
        return [
            f"hydra.sweep.dir={directory}  lies on a disk of this machine ({kind}) that a node does not see; {where}"
        ]
    return []


def ask_a_node(directory: Path, options: list[str]) -> None:
    """Let a node check that it sees the directory.

    Raises:
        SlurmError: it does not, or no node is free.
    """
    kept = ("--partition=", "--account=", "--qos=", "--constraint=", "--exclude=", "--gres=", "--gpus-per-node=")
    words = [option for option in options if option.startswith(kept)]
    limits = [f"--immediate={IMMEDIATE_SECONDS}", "--time=1", "--ntasks=1", "--quiet"]
    call("srun", *words, *limits, "test", "-d", str(directory), seconds=3 * IMMEDIATE_SECONDS)
