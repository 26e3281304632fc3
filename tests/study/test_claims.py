"""Claims are checked before anything starts: their form, and that the arms they name exist.

Refuses word for word; agrees with the form and the names that the report reads.
"""

import pytest

from analysis.statistics import claims as judged
from vitsweep.study.claims import CURVES, KEYS, KINDS, claims_errors, claims_form_errors, find_arm

ARMS = [
    {"arm": "baseline", "role": "baseline", "levels": {}, "changes": {}},
    {
        "arm": "patch_size=8",
        "role": "arm",
        "levels": {"patch_size": "8"},
        "changes": {"model.patch_size": 8},
    },
    {
        "arm": "patch_size=8+bias=false",
        "role": "arm",
        "levels": {"patch_size": "8", "bias": "false"},
        "changes": {"model.patch_size": 8, "model.bias": False},
    },
    {"arm": "placebo", "role": "placebo", "levels": {}, "changes": {}},
]
BASELINE = {"model": {"patch_size": 4, "bias": True}, "data": {}, "recipe": {}}
KEYS_TEXT = "arm, claim, direction, epoch, kind, metric, rope, testable, than, why, within"
ARM_NAMES = "baseline, patch_size=8, patch_size=8+bias=false"

WRONG_FORM = {
    "a number": (5, "study.claims[0]=5  must be a mapping such as {claim: ..., arm: ...}"),
    "unknown key": ({"arm": "a", "arn": 1}, f"study.claims[0].arn  is unknown; allowed: {KEYS_TEXT}"),
    "unknown kind": ({"kind": "b"}, "study.claims[0].kind=b  is unknown; allowed: effect, saturation"),
    "no arm": ({"claim": "x"}, "study.claims[0].arm=null  must name an arm, or a list of them"),
    "direction": (
        {"arm": "a", "direction": "up"},
        "study.claims[0].direction=up  is unknown; allowed: higher, lower",
    ),
    "curve": (
        {"kind": "saturation", "epoch": 1, "within": 1, "metric": "test/accuracy"},
        "study.claims[0].metric=test/accuracy  is unknown; allowed: train/loss, train/accuracy, val/loss, val/accuracy",
    ),
    "no epoch": (
        {"kind": "saturation", "within": 1},
        "study.claims[0].epoch=null  must be a number of at least 0",
    ),
    "rope": ({"arm": "a", "rope": "big"}, "study.claims[0].rope=big  must be a number of at least 0"),
    "testable": ({"arm": "a", "testable": "no"}, "study.claims[0].testable=no  must be true or false"),
    "unread": ({"arm": "a", "epoch": 3}, "study.claims[0].epoch  is not read by kind=effect; drop it"),
    "several arms": (
        {"kind": "saturation", "epoch": 1, "within": 1, "arm": ["a", "b"]},
        'study.claims[0].arm=["a", "b"]  must be one arm for kind=saturation',
    ),
}


@pytest.mark.parametrize("case", WRONG_FORM)
def test_claim_of_a_wrong_form_is_refused(case):
    claim, sentence = WRONG_FORM[case]
    assert claims_form_errors([claim]) == [sentence]


@pytest.mark.parametrize(
    "claim",
    [
        {"claim": "x", "arm": "patch_size=8"},
        {"arm": ["patch_size=8", "bias=false"], "than": "baseline", "metric": "val/loss", "direction": "lower"},
        {"kind": "saturation", "metric": "val/loss", "epoch": 75, "within": 10.5},
        {"claim": "x", "testable": False, "why": "no such arm"},
    ],
)
def test_claim_of_a_right_form_is_accepted(claim):
    assert claims_form_errors([claim]) == []


@pytest.mark.parametrize(
    "claim, sentence",
    [
        ({"arm": "patch_sise=8"}, f"arm=patch_sise=8  is no arm of this study; allowed: {ARM_NAMES}"),
        ({"arm": "patch_size=8", "than": "x"}, f"than=x  is no arm of this study; allowed: {ARM_NAMES}"),
        ({"kind": "saturation", "arm": "x"}, f"arm=x  is no arm of this study; allowed: {ARM_NAMES}"),
        ({"arm": "bias=false"}, f"arm=bias=false  is no arm of this study; allowed: {ARM_NAMES}"),
        ({"arm": "baseline"}, "arm=baseline  would be compared with itself; name another arm, or than: ..."),
    ],
)
def test_claim_about_an_absent_arm_is_refused(claim, sentence):
    assert claims_errors([claim], ARMS, BASELINE) == [f"study.claims[0].{sentence}"]


@pytest.mark.parametrize(
    "claim",
    [
        {"arm": "patch_size=8"},
        {"arm": "patch_size=8", "than": "patch_size=4"},  # the baseline by its level
        {"arm": "placebo"},
        {"arm": ["patch_size=8", "baseline"], "than": "patch_size=8+bias=false"},
        {"kind": "saturation"},
        {"claim": "x", "arm": "absent", "testable": False},
    ],
)
def test_claim_about_arms_of_the_plan_is_accepted(claim):
    assert claims_errors([claim], ARMS, BASELINE) == []


def test_arm_is_found_by_its_level_alone():
    levels = {"b": {"lr": "1"}, "x": {"lr": "2"}, "y": {"lr": "2", "bias": "false"}}
    assert [find_arm(name, levels) for name in ("x", "lr=2", "lr=1", "bias=false")] == ["x", "x", "b", None]


def test_claims_are_read_by_the_report_in_the_same_form():
    assert set(KEYS) == judged.KEYS and KINDS == judged.KINDS and CURVES == judged.CURVES
