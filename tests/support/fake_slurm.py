"""Slurm's commands as a program in memory: a queue whose jobs end when a test says so."""

import re
import subprocess
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeSlurm:
    """Replacement for the module `subprocess` in scheduler.py."""

    TimeoutExpired = subprocess.TimeoutExpired
    max_array: int = 1001
    max_jobs: int | None = None
    """Largest number of queued jobs; sbatch refuses more."""
    stated_jobs: int | None = None
    """The limit that sacctmgr states; None: no accounting."""
    refusal: str = ""
    """Sbatch's refusal; empty: fine."""
    warning: str = ""
    """Refusal of --test-only alone, as for jobs that have to wait for drained nodes."""
    sees_directory: bool = True
    partitions: str = "PartitionName=main Default=YES MaxTime=1-00:00:00 State=UP\n"
    queue: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    """Job id as squeue shows it -> name, place in its array, state."""
    calls: list[list[str]] = field(default_factory=list)
    submitted: list[list[str]] = field(default_factory=list)
    """Words of each sbatch that was accepted."""
    updates: list[list[str]] = field(default_factory=list)
    """Words of each `scontrol update`."""

    def run(self, words: Any, **options: Any) -> subprocess.CompletedProcess:
        """Answer as the command would."""
        self.calls.append(list(words))
        answer = getattr(self, words[0])(*words[1:])
        code, out, err = answer if isinstance(answer, tuple) else (0, answer, "")
        return subprocess.CompletedProcess(words, code, out, err)

    def sbatch(self, *words: str) -> Any:
        if "--test-only" in words:
            refusal = self.refusal or self.warning
            return (1, "", f"allocation failure: {refusal}\n") if refusal else ""
        if self.refusal:
            return 1, "", f"sbatch: error: Batch job submission failed: {self.refusal}\n"
        array = next((word for word in words if word.startswith("--array=")), "--array=0-0")
        last = int(re.findall(r"=0-(\d+)", array)[0])
        if last >= self.max_array:
            return 1, "", "sbatch: error: Batch job submission failed: Invalid job array specification"
        if self.max_jobs is not None and len(self.queue) + last + 1 > self.max_jobs:
            return (
                1,
                "",
                "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job ...",
            )
        self.submitted.append(list(words))
        number, name = str(len(self.submitted)), value(words, "--job-name")
        is_array = "--array=" in " ".join(words)
        for index in range(last + 1):
            self.queue[f"{number}_{index}" if is_array else number] = (name, index, "PENDING")
        return f"{number}\n"

    def squeue(self, *words: str) -> str:
        names = next((word.partition("=")[2].split(",") for word in words if word.startswith("--name=")), None)
        rows = [(i, *job) for i, job in self.queue.items() if names is None or job[0] in names]
        return "".join(f"{i}|{name}|{index}|{state}|None\n" for i, name, index, state in rows)

    def scancel(self, *ids: str) -> str:
        for job_id in ids:
            del self.queue[job_id]
        return ""

    def scontrol(self, *words: str) -> Any:
        if words[0] == "update":
            self.updates.append(list(words[1:]))
            return (1, "", f"scontrol: error: {self.refusal}\n") if self.refusal else ""
        return self.partitions if "partition" in words else f"MaxArraySize            = {self.max_array}\n"

    def sacctmgr(self, *words: str) -> Any:
        if self.stated_jobs is None:
            return 1, "", "You are not running a supported accounting_storage plugin"
        return f"lab|{self.stated_jobs}\nother|\n" if "assoc" in words else ""

    def srun(self, *words: str) -> Any:
        return "" if self.sees_directory else (1, "", "srun: error: n1: task 0: Exited with exit code 1")

    def end(self, *ids: str) -> None:
        """End jobs."""
        for job_id in ids:
            del self.queue[job_id]


def value(words: Any, option: str) -> str:
    """Return the value of an option."""
    return next((word.partition("=")[2] for word in words if word.startswith(f"{option}=")), "")
