"""Limits of a site on the number of jobs, read from Slurm where it allows that."""

import getpass
from collections.abc import Iterable
from dataclasses import dataclass

from vitsweep.run.cluster.options import option_value
from vitsweep.run.cluster.scheduler import SlurmError, call, settings

UNREADABLE_ARRAY = 1000
"""Tasks of one array where Slurm does not state a limit; its default allows 1,001 indices."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest numbers of array tasks in one job and of jobs of one user in the queue."""

    array: int
    jobs: int | None = None
    """None: no limit, or one that this user may not read."""


def site_limits(options: list[str]) -> Limits:
    """Return the limits for jobs with these options of sbatch."""
    try:
        array = int(settings("config").get("MaxArraySize", UNREADABLE_ARRAY))
    except (SlurmError, ValueError):
        array = UNREADABLE_ARRAY
    found = [*association_limits(option_value(options, "--account")), *qos_limits(option_value(options, "--qos"))]
    return Limits(array=max(1, array), jobs=min(found, default=None))


def association_limits(account: str | None) -> list[int]:
    """Return MaxSubmitJobs of this user's associations, of one account if it is named."""
    words = ["sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=Account,MaxSubmitJobs"]
    rows = table(words)
    return numbers(row[1] for row in rows if len(row) > 1 and account in (None, row[0]))


def qos_limits(qos: str | None) -> list[int]:
    """Return the submit limits of a QOS for one user and for one account; none without a name."""
    if qos is None:
        return []
    columns = "format=Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount"
    rows = table(["sacctmgr", "-nP", "show", "qos", columns])
    return numbers(cell for row in rows if row[0] == qos for cell in row[1:])


def table(words: list[str]) -> list[list[str]]:
    """Return the rows that a command of the accounting prints; none if there is no accounting, or no right to read."""
    try:
        return [line.split("|") for line in call(*words, seconds=20).splitlines() if line]
    except SlurmError:
        return []


def numbers(texts: Iterable[str]) -> list[int]:
    """Return the texts that are numbers."""
    return [int(text) for text in texts if text.isdigit()]
