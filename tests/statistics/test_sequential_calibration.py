"""The published calibration of looks: its page says what its tables say, they keep the promises, the code gives them.

Kinds: agreement (page with tables, fresh simulation with the published rates), property (promises kept).
"""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "calibration"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("sequential_calibration", FOLDER / "sequential.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def errors():
    return pd.read_csv(FOLDER / "sequential.csv")


@pytest.fixture(scope="module")
def costs():
    return pd.read_csv(FOLDER / "sequential_cost.csv")


def test_page_says_what_the_tables_say(script, errors, costs):
    assert (FOLDER / "sequential.md").read_text() == script.readme(errors, costs)


def test_published_run_has_every_setting_and_enough_draws(script, errors):
    found = set(errors[["arms", "looks", "error", "spread"]].itertuples(index=False, name=None))
    assert found == set(script.error_settings()) and errors["draws"].min() >= 5000


def test_published_rates_keep_every_promise(script, errors, costs):
    assert script.verdict(errors, costs) == []


@pytest.mark.parametrize("error", ["paired", "pooled", "welch"])
def test_fresh_simulation_agrees_with_the_published_rates(script, errors, error):
    fresh = script.simulate_errors(3, "after 3, 5, 10 seeds", error, "equal", draws=1500, seed=1)
    rows = errors.query("arms == 3 and looks == 'after 3, 5, 10 seeds' and error == @error and spread == 'equal'")
    for name in ("family_error", "with_stops", "coverage"):
        assert fresh[name] == pytest.approx(rows.iloc[0][name], abs=4 * fresh[f"{name}_se"] + 0.001), name
