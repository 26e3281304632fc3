"""Slurm's commands: submit, list, cancel and requeue jobs, and read the limits of a site."""

import getpass
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitsweep.errors import UserError

SECONDS = 60.0
"""Time that a command of Slurm has to answer."""
SUBMIT_SECONDS = 180.0
"""The same for sbatch, which retries for two minutes by itself when the controller has too many jobs."""
FULL = re.compile(r"submit\s*job|job submit limit|SubmitLimit|MaxSubmit|temporarily unable to accept", re.IGNORECASE)
"""Refusals of sbatch that pass when other jobs have ended."""
CLUSTER_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS")
STARVED = re.compile(r"error: (Exceeded job memory limit|Detected \d+ oom[_-]kill event)", re.IGNORECASE)
"""Slurm's words on a step that used more memory than its job had asked for, watched by it or by the kernel."""
CANCELLED = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+?(?: DUE TO ([A-Z ]+?))? \*\*\*")


class SlurmError(UserError):
    """A command of Slurm that failed; the message holds its own."""


class QueueFull(SlurmError):  # noqa: N818 - an event rather than a mistake
    """Slurm takes no further job now, since the user or the cluster has too many."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One job, or one task of an array, that waits or runs."""

    job_id: str
    name: str
    index: int
    """Place in its array; 0 for a job without one."""
    state: str
    """PENDING, RUNNING, COMPLETING, ..."""
    reason: str
    """Reason for waiting, as Slurm names it."""


def call(*words: str, seconds: float = SECONDS) -> str:
    """Run a command of Slurm and return its output.

    Raises:
        SlurmError: it failed, or did not answer in time.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, env=outer_environment())
    except FileNotFoundError as error:
        raise SlurmError(f"{words[0]}  is not on PATH; start on a machine of the cluster") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]}  did not answer within {seconds:g} s; run the command again later") from error
    if done.returncode:
        raise SlurmError(f"{words[0]}  failed: {last_words(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def outer_environment() -> dict[str, str]:
    """Return the environment without the variables of the job that this process is, which a new job would inherit."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SLURMD_", "SRUN_")) or name in CLUSTER_VARIABLES
    }


def last_words(text: str) -> str:
    """Return the messages of a Slurm command as one line, without the command's name."""
    lines = [re.sub(r"^\w+: (error: )?", "", line).strip() for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))


def submit(script: Path, arguments: Sequence[str], options: Sequence[str]) -> str:
    """Submit a script with its arguments and return the job's id.

    Raises:
        QueueFull: there are too many jobs now.
        SlurmError: Slurm refuses the job.
    """
    try:
        words = ["sbatch", "--parsable", *options, str(script), *arguments]
        return call(*words, seconds=SUBMIT_SECONDS).strip().partition(";")[0]
    except SlurmError as error:
        raise (QueueFull if FULL.search(str(error)) else SlurmError)(str(error)) from error


def test_submission(options: Sequence[str]) -> None:
    """Let sbatch check the options without starting a job.

    While nodes are drained, --test-only calls jobs impossible that Slurm would queue. So its refusal is checked by a
    job that may not start for a month, and is cancelled at once; a held one would be checked less.

    Raises:
        SlurmError: Slurm refuses them.
    """
    try:
        call("sbatch", "--test-only", *options, "--wrap", "true")
    except SlurmError:
        job_id = call("sbatch", "--parsable", "--begin=now+30days", "--output=/dev/null", *options, "--wrap", "true")
        call("scancel", job_id.strip().partition(";")[0])


test_submission.__test__ = False  # type: ignore[attr-defined]  # for pytest: not a test


def queued_jobs(names: Iterable[str]) -> list[QueuedJob]:
    """Return the jobs with these names that wait or run.

    Raises:
        SlurmError: squeue does not answer.
    """
    wanted = ",".join(names)
    if not wanted:
        return []
    found = []
    for line in call("squeue", "-h", "-r", f"--name={wanted}", "-o", "%i|%j|%K|%T|%r").splitlines():
        job_id, name, index, state, reason = line.split("|", 4)
        number = int(index) if index.isdigit() else 0
        found.append(QueuedJob(job_id=job_id, name=name, index=number, state=state, reason=reason))
    return found


def num_jobs_of_user() -> int:
    """Return the number of this user's jobs and array tasks that wait or run."""
    return len(call("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i").split())


def own_state() -> str:
    """Return Slurm's state of the job that this process belongs to; RUNNING if squeue does not answer."""
    try:
        return call("squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%T", seconds=30).strip()
    except SlurmError:
        return "RUNNING"


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that run get SIGTERM and time to save.

    Raises:
        SlurmError: Slurm refuses it.
    """
    for start in range(0, len(job_ids), 200):
        call("scancel", *job_ids[start : start + 200])


def settings(*words: str) -> dict[str, str]:
    """Return what `scontrol show ...` prints, as key -> value."""
    text = call("scontrol", "show", *words)
    if words[0] == "config":
        pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
        return {key.strip(): value.strip() for key, _, value in pairs}
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def cancelled_for(output: Path, marker: str) -> str | None:
    """Return why Slurm ended a job, from its output: "" for a person's scancel, `PREEMPTION`, `OUT OF MEMORY`, ...

    Args:
        output: file of the job's output.
        marker: text that each start of the job prints first; only what follows the last one counts.

    Returns:
        None if Slurm did not end it, or the file cannot be read.
    """
    try:
        text = output.read_text(encoding="utf-8", errors="replace").rpartition(marker)[2]
    except OSError:
        return None
    found = CANCELLED.findall(text)
    if not found and STARVED.search(text):
        return "OUT OF MEMORY"
    return max(found, key=bool) if found else None
