"""The published simulation of the pooled error: the code still gives its table, and the table keeps the promises.

Kinds: is deterministic (a setting simulated again), property (promises kept).
"""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "calibration"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pooled", FOLDER / "pooled.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_published_rates_keep_every_promise(script):
    assert script.broken(pd.read_csv(FOLDER / "pooled.csv")) == []


def test_setting_simulated_again_gives_the_published_rates(script):
    rows = pd.read_csv(FOLDER / "pooled.csv").query("seeds == 5 and arms == 3 and wide == 'baseline' and ratio == 3")
    same = rows[rows["image_noise"] == 1].iloc[0]
    fresh = script.simulate(5, 3, "baseline", 3.0, True, draws=int(same["draws"]))
    for name in (name for name in fresh if name.endswith("_se")):
        assert fresh[name.removesuffix("_se")] == pytest.approx(same[name.removesuffix("_se")], abs=1e-4), name
