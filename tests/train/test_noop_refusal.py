"""Arms and keys without effect are refused or named before a sweep, once for each arm.

Refuses with the right words, and obeys properties: nothing is written, no arm is checked twice.
"""

import pytest

from tests.support.changed_config import make
from vitsweep.errors import ConfigError
from vitsweep.study.arms import named_arms
from vitsweep.study.design import ArmSpec
from vitsweep.study.plan import make_plan
from vitsweep.study.record import write_record
from vitsweep.train import fit as train
from vitsweep.train.trial import noop
from vitsweep.train.trial.effects import EFFECTS
from vitsweep.train.trial.noop import refuse_noops


def levels(arm: str) -> dict[str, str]:
    """Return the last word of each key -> its value."""
    pairs = [override.split("=") for override in arm.split()]
    return {key.rpartition(".")[2]: value for key, value in pairs}


def plan_of(*arms: str, design: str = "list"):
    """The plan of a baseline and of arms whose overrides are parted by blanks."""
    specs = [ArmSpec(levels=levels(arm), overrides=tuple(arm.split())) for arm in ("", *arms)]
    found = named_arms(specs, [make("", " ".join(spec.overrides)) for spec in specs])
    return make_plan("s", design, [], found, [0, 1], {})


def test_arm_that_changes_nothing_is_refused_with_its_override_and_the_remedy():
    with pytest.raises(ConfigError) as refusal:
        refuse_noops(plan_of("recipe.momentum=0.5", "model.patch_size=8"))
    assert refusal.value.errors == [
        "`recipe.momentum=0.5` of arm momentum=0.5  has no effect on training, although recipe.momentum=0.5 is "
        f"not the baseline's (compared: {', '.join(EFFECTS)}); "
        "remove it, add the setting that it needs, or use sweep.check=false"
    ]


def test_arms_that_change_nothing_are_all_named():
    with pytest.raises(ConfigError) as refusal:
        refuse_noops(plan_of("recipe.momentum=0.5", "recipe.momentum=0.7"))
    assert len(refusal.value.errors) == 2


def test_arms_that_act_pass_without_a_word():
    assert refuse_noops(plan_of("model.patch_size=8", "recipe.epochs=12", "data.val=test")) == []


def test_key_that_does_nothing_beside_others_is_a_warning():
    (warning,) = refuse_noops(plan_of("model.patch_size=8 recipe.momentum=0.5"))
    assert warning.startswith(
        "recipe.momentum=0.5  has no effect in arm patch_size=8+momentum=0.5, where other keys do"
    )


def test_key_that_does_nothing_is_refused_where_it_never_stands_alone():
    with pytest.raises(ConfigError, match="recipe.momentum=0.5  has no effect"):
        refuse_noops(plan_of("model.patch_size=8 recipe.momentum=0.5", design="fraction"))


def test_arm_that_changes_a_key_that_it_does_not_name_is_a_warning():
    plan = plan_of("model.patch_size=8 data.train_limit=100")
    plan.arms[1]["overrides"] = ["model/patch_size=p8"]
    assert refuse_noops(plan) == [
        "arm patch_size=8+train_limit=100 also changes data.train_limit=100, which `model/patch_size=p8` does not name"
    ]


def test_arm_whose_images_cannot_be_divided_is_refused():
    with pytest.raises(ConfigError, match=r"data.train_limit=49000  is more than there are.*\[arm train_limit=49000\]"):
        refuse_noops(plan_of("data.train_limit=49000"))


@pytest.fixture
def sweep(vitsweep_main, tiny, monkeypatch):
    """A sweep in this process whose cells are done at once."""

    def done(config, record, directory):
        record.status, record.metrics = "done", {"final": {"test/accuracy": 0.5}}
        write_record(directory, record)
        return record

    monkeypatch.setattr(train, "run_cell", done)
    return lambda *words: vitsweep_main("-m", *tiny, "sweep.isolate=none", "~hydra.callbacks.report", *words)


def test_sweep_is_refused_before_anything_is_written(sweep, tmp_path):
    code, _, err = sweep("recipe.momentum=0.9,0.5")
    assert code == 2 and "`recipe.momentum=0.5` of arm momentum=0.5  has no effect" in err
    assert not list(tmp_path.rglob("plan.json")) and "Traceback" not in err


def test_sweep_without_the_check_runs_what_changes_nothing(sweep):
    assert sweep("recipe.momentum=0.9,0.5", "sweep.check=false")[0] == 0


def test_sweep_checks_an_arm_once(sweep, monkeypatch):
    checked = []
    monkeypatch.setattr(noop, "refuse_noops", lambda plan, wanted: checked.append(sorted(wanted)))
    assert sweep("recipe.lr=1e-3,2e-3", "seed=0")[0] == 0
    assert sweep("recipe.lr=1e-3,2e-3", "seed=0,1")[0] == 0  # other seeds, no new arm
    assert sweep("recipe.lr=1e-3,2e-3,3e-3", "seed=0")[0] == 0
    assert checked == [["lr=0.002"], ["lr=0.003"]]
