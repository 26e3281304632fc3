"""A study file of the user's own, found through --config-dir: written, planned and refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.small_studies import THREE
from vitsweep.commands import plan as price
from vitsweep.config.composer import Composer
from vitsweep.errors import ConfigError
from vitsweep.study.plan import Plan
from vitsweep.study.plan_builder import build_plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mine")


@pytest.fixture(scope="module")
def composer(folder) -> Composer:
    return Composer(price.make_loader(str(folder)), "config")


@pytest.fixture
def written(folder) -> Callable[..., None]:
    """Write a study file: a text, or entries that are added to a small one."""

    def write(text: str = "", **entries) -> None:
        (folder / "study").mkdir(exist_ok=True)
        content = text or yaml.safe_dump({"name": "mine", "factors": THREE, "seeds": 2} | entries)
        (folder / "study" / "mine.yaml").write_text(content)

    return write


@pytest.fixture
def plan(written, composer) -> Callable[..., Plan]:
    """Write a study file and plan it with overrides beside it."""

    def make(*overrides: str, **entries) -> Plan:
        written(**entries)
        return build_plan(["study=mine", *overrides], composer)

    return make


@pytest.fixture
def refusal(plan) -> Callable[..., list[str]]:
    """The sentences with which a study file is refused."""

    def make(*overrides: str, **entries) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            plan(*overrides, **entries)
        return str(refused.value).splitlines()

    return make
