"""The published calibration of main effects, claims of equality and lost runs.

Kinds: agreement (page with table, fresh simulation with the published rates), property (promises kept).
"""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "calibration"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("questions", FOLDER / "questions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(FOLDER / "questions.csv")


def test_published_page_states_what_the_table_does(script, published):
    assert (FOLDER / "questions.md").read_text(encoding="utf-8") == script.page(published)


def test_published_rates_keep_every_promise(script, published):
    assert script.broken(published) == []


def test_published_rates_are_of_every_setting(script, published):
    wanted = {one[:4] for one in script.settings(1, 1)}
    assert set(published[["part", "setting", "error", "seeds"]].itertuples(index=False, name=None)) == wanted


@pytest.mark.parametrize(
    "chosen",
    [
        ("main effects", "grid 2x2x2", "paired", 5),
        ("main effects", "pairs of 3", "pooled", 5),
        ("equality", "equivalent, 3 claims", "paired", 5),
        ("lost runs", "worst 40 % of the arm's seeds diverge", "paired", 10),
    ],
)
def test_fresh_simulation_agrees_with_the_published_rates(script, published, chosen):
    draws, lost_draws = 1500, 150
    one = next(one for one in script.settings(draws, lost_draws) if one[:4] == chosen)
    keys = ["part", "setting", "error", "seeds", "quantity"]
    known = published.set_index(keys)["rate"]
    for *where, rate, _, number in script.simulate(*one):
        # Four standard errors, those of a rate of 5 % at least.
        se = (max(rate * (1 - rate), 0.05 * 0.95) / number) ** 0.5
        assert rate == pytest.approx(known[tuple(where)], abs=4 * se), where
