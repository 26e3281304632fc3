"""Small studies whose tables are fitted: three arms, fourteen changed one at a time, a grid of forty."""

import itertools
import random

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_sweep

GRID = {"patch_size": ["4", "2", "8", "16"], "num_hidden_layers": ["8", "2", "4", "6", "12"], "dropout": ["no", "yes"]}
OFAT = {
    "patch_size": ["2", "8", "16"],
    "num_hidden_layers": ["2", "4", "12"],
    "dropout": ["none", "head", "mlp"],
    "lr": ["1e-4", "5e-3"],
    "pool": ["avg", "seqpool"],
}


def seeds(number: int, name: str) -> list[float]:
    """Return accuracies that depend on the name alone."""
    rng = random.Random(name)
    return [0.7 + 0.1 * rng.random() + rng.gauss(0, 0.008) for _ in range(number)]


def arms_of(size: int) -> dict[str, list[float]]:
    """Return the arms of one of the studies with their accuracies."""
    if size == 3:
        names = ["patch_size=8", "dropout=none"]
    elif size == 14:
        names = [f"{factor}={level}" for factor, levels in OFAT.items() for level in levels]
    else:
        crossed = itertools.product(*([f"{factor}={level}" for level in levels] for factor, levels in GRID.items()))
        names = ["+".join(arm) for arm in list(crossed)[1:]]
    return {name: seeds(3, name) for name in ["baseline", *names]}


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """Return a function from a number of arms to their judgement."""
    known = {}

    def of(size: int):
        if size not in known:
            plan = {"design": "grid" if size == 40 else "ofat"}
            known[size] = judge(load(make_sweep(tmp_path_factory.mktemp("paper"), arms_of(size), epochs=1, plan=plan)))
        return known[size]

    return of
