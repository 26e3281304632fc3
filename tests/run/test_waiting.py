"""Waiting threads: asleep, unless the user has said otherwise; it reaches torch's OpenMP, which is imported later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitsweep.cli import set_wait_policy

ROOT = Path(__file__).resolve().parents[2]


def test_waiting_threads_sleep_soon(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    set_wait_policy()
    assert os.environ.pop("GOMP_SPINCOUNT") == "1000"


@pytest.mark.parametrize("name, value", [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_waiting_is_the_users_choice(monkeypatch, name, value):
    for other in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    set_wait_policy()
    assert os.environ.get("GOMP_SPINCOUNT") == ("7" if name == "GOMP_SPINCOUNT" else None)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is what torch uses on Linux")
def test_waiting_is_settled_before_torchs_openmp_is_loaded():
    code = "from vitsweep.cli import set_wait_policy; set_wait_policy(); import torch; torch.ones(1)"
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
