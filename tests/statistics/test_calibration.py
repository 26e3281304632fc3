"""The published calibration: its page says what its table says, its table keeps the promises, the code still gives it.

Kinds: agreement (page with table, fresh simulation with the published rates), property (promises kept).
"""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "calibration"
DRAWS = 4000


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("calibrate", FOLDER / "calibrate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(FOLDER / "calibration.csv")


def test_published_page_says_what_the_table_says(script, published):
    assert (FOLDER / "README.md").read_text() == script.readme(published)


def test_published_run_has_every_setting_and_enough_draws(script, published):
    wanted = len(script.SEEDS) * len(script.ARMS) * len(script.SEED_SD) * 2
    settings = published[["seeds", "arms", "seed_sd", "image_noise"]].drop_duplicates()
    assert len(settings) == len(published) == wanted
    assert published["draws"].min() >= 50_000


def test_published_rates_keep_every_promise(script, published):
    assert script.verdict(published) == []


@pytest.mark.parametrize(("seeds", "arms", "sd", "noise"), [(3, 3, 0.1, False), (5, 6, 0.3, True), (10, 12, 0.5, True)])
def test_fresh_simulation_agrees_with_the_published_rates(script, published, seeds, arms, sd, noise):
    fresh = script.simulate(seeds, arms, sd, noise, draws=DRAWS, seed=1)
    same = published.query("seeds == @seeds and arms == @arms and seed_sd == @sd and image_noise == @noise").iloc[0]
    for name in script.RATES:
        assert fresh[name] == pytest.approx(same[name], abs=4 * fresh[f"{name}_se"] + 0.001), name


def test_simulation_is_the_same_in_every_run(script):
    assert script.simulate(3, 3, 0.1, True, draws=200) == script.simulate(3, 3, 0.1, True, draws=200)


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_saturation_page_says_what_its_tables_say():
    script = load_script("saturation")
    table, claims = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("saturation", "saturation_claims"))
    page = script.readme(table, claims, script.published_noise(), script.DRAWS, script.STUDIES)
    assert (FOLDER / "saturation.md").read_text() == page


def test_fresh_saturation_epochs_agree_with_the_published_ones():
    published = pd.read_csv(FOLDER / "saturation.csv").query("shape == 'exponential' and epochs == 100")
    published = published[published["noise"] == 0.1]
    for fresh in load_script("saturation").simulate("exponential", 100, 0.10):
        same = published[published["rule"] == fresh["rule"]].iloc[0]
        assert fresh["mean"] == pytest.approx(same["mean"], abs=0.5), fresh["rule"]


def test_averaging_page_says_what_its_table_says():
    runs, page = pd.read_csv(FOLDER / "averaging.csv"), (FOLDER / "averaging.md").read_text()
    for schedule, group in runs.groupby("schedule"):
        for row in ("final", "average", "ema"):
            mean, sd = group[row].mean(), group[row].std()
            assert f"| {schedule} | {len(group)} | {row} | {mean:.2f} | {sd:.2f} |" in page
