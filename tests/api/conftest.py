"""One tiny study, trained by vs.run, for every example and test of the public API."""

import os
from pathlib import Path

import pytest

import vitsweep as vs

SMALL = {
    "model": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    "data.shapes_train": 200,
    "data.shapes_test": 50,
    "data.train_limit": None,
    "recipe": "quick",
    "recipe.epochs": 2,
}


PLACE = "outputs/patch_size-shapes-quick-d24647"


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """Working folder with outputs/patch_size-shapes-quick-d24647, two arms by two seeds, without its report."""
    folder, before = tmp_path_factory.mktemp("home"), Path.cwd()
    os.chdir(folder)
    try:
        small = SMALL | {"sweep.isolate": "none"}
        vs.run("model.patch_size=4,8", seed=[0, 1], data="shapes", tracker="none", report=False, **small)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def study(home) -> vs.Study:
    return vs.load(home / PLACE)
