"""A sweep for the tests of the commands on a sweep's directory."""

from pathlib import Path

import pytest

from tests.support.made_plans import made_plan, made_record
from vitsweep.study.record import METRIC_NAMES


@pytest.fixture
def metrics() -> dict[str, dict]:
    """Metrics of a finished record: 0.5 for all."""
    return {"final": dict.fromkeys(METRIC_NAMES, 0.5), "best": {"epoch": 1} | dict.fromkeys(METRIC_NAMES, 0.5)}


@pytest.fixture
def study(tmp_path: Path, metrics: dict):
    """A sweep of two arms and two seeds: done, failed, running without an owner, never started."""
    directory = tmp_path / "study"
    plan = made_plan(directory, ["a", "b"], [0, 1])
    made_record(directory, plan, plan.cells[0], "done", metrics=metrics, epoch=1, attempts=1, time_seconds=7.0)
    error = {"type": "RuntimeError", "message": "out of\nmemory", "traceback": ""}
    made_record(directory, plan, plan.cells[1], "failed", error=error)
    made_record(directory, plan, plan.cells[2], "running")
    for name in ("last.safetensors", "best.safetensors"):
        (directory / plan.cells[0].id / name).write_bytes(b"x" * 1024)
    (directory / plan.cells[2].id / "state.pt").write_bytes(b"state")
    return directory, plan
