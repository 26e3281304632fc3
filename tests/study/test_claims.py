"""Claims are checked before anything starts: their form, and that the arms they name exist.

Refuses word for word; properties (restatements ask the same).
"""

import pytest

from vitsweep.significance.contrasts import Contrast
from vitsweep.study.claims import (
    KINDS,
    claim_identity,
    claims_errors,
    claims_form_errors,
    find_arm,
    unstated_rule_errors,
)

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
KEYS_TEXT = (
    "arm, claim, direction, epoch, interaction, kind, main_effect, metric, rope, rule, testable, than, why, within"
)
ARM_NAMES = "baseline, patch_size=8, patch_size=8+bias=false"

WRONG_FORM = {
    "a number": (5, "study.claims[0]=5  must be a mapping such as {claim: ..., arm: ...}"),
    "unknown key": ({"arm": "a", "arn": 1}, f"study.claims[0].arn  is unknown; allowed: {KEYS_TEXT}"),
    "unknown kind": ({"kind": "b"}, f"study.claims[0].kind=b  is unknown; allowed: {', '.join(KINDS)}"),
    "no arm": (
        {"claim": "x"},
        "study.claims[0].arm=null  must name an arm, or a list of them (or main_effect, interaction)",
    ),
    "direction": (
        {"arm": "a", "direction": "up"},
        "study.claims[0].direction=up  is unknown; allowed: higher, lower, either",
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
    "unknown rule": (
        {"kind": "saturation", "epoch": 1, "within": 1, "rule": "best"},
        "study.claims[0].rule=best  is unknown; allowed: fitted, lowest",
    ),
    "rule of an effect": (
        {"arm": "a", "rule": "fitted"},
        "study.claims[0].rule  is not read by kind=effect; drop it",
    ),
    "two subjects": (
        {"arm": "a", "main_effect": "b"},
        "study.claims[0].main_effect  cannot stand beside arm; ask about one of them",
    ),
    "than": ({"main_effect": "b", "than": "a"}, "study.claims[0].than  is not read beside main_effect; drop it"),
    "one factor twice": (
        {"interaction": ["a=1", "a=2"]},
        'study.claims[0].interaction=["a=1", "a=2"]  must be two factors such as [depth, dropout] or '
        "[depth=l2, dropout=none]",
    ),
    "no margin": (
        {"kind": "equivalent", "arm": "a", "rope": 0},
        "study.claims[0].rope=0  must be above 0 for kind=equivalent",
    ),
    "margin of a loss": (
        {"kind": "not_worse", "arm": "a", "metric": "test/loss"},
        "study.claims[0].rope  is missing: study.rope is one of accuracies; give kind=not_worse of test/loss a rope "
        "of its own",
    ),
    "direction of equivalence": (
        {"kind": "equivalent", "arm": "a", "direction": "higher"},
        "study.claims[0].direction  is not read by kind=equivalent; drop it",
    ),
    "several arms": (
        {"kind": "saturation", "epoch": 1, "within": 1, "arm": ["a", "b"]},
        'study.claims[0].arm=["a", "b"]  must be one arm for kind=saturation',
    ),
}


@pytest.mark.parametrize("case", WRONG_FORM)
def test_claim_of_a_wrong_form_is_refused(case):
    claim, sentence = WRONG_FORM[case]
    assert claims_form_errors([claim], 0.5) == [sentence]


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
    assert claims_form_errors([claim], 0.5) == []


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


UNSTATED = {"kind": "saturation", "metric": "val/loss", "epoch": 75, "within": 10}


def test_saturation_claim_of_a_new_plan_states_its_rule():
    assert unstated_rule_errors([{"arm": "a"}, UNSTATED], []) == [
        "study.claims[1].rule=null  must be stated for kind=saturation; allowed: fitted, or lowest as in plans that "
        "state none; add rule: fitted"
    ]


@pytest.mark.parametrize(
    ("claim", "earlier"),
    [(UNSTATED, [UNSTATED]), (UNSTATED | {"rule": "lowest"}, []), (UNSTATED | {"testable": False}, [])],
)
def test_earlier_plan_keeps_its_claims_without_a_rule(claim, earlier):
    assert unstated_rule_errors([claim], earlier) == []


def test_arm_is_found_by_its_level_alone():
    levels = {"b": {"lr": "1"}, "x": {"lr": "2"}, "y": {"lr": "2", "bias": "false"}}
    assert [find_arm(name, levels) for name in ("x", "lr=2", "lr=1", "bias=false")] == ["x", "x", "b", None]


GRID = [
    {"arm": arm, "role": "arm" if levels else "baseline", "levels": levels, "changes": {}}
    for arm, levels in (
        ("baseline", {}),
        ("depth=2", {"depth": "2"}),
        ("bias=false", {"bias": "false"}),
        ("depth=2+bias=false", {"depth": "2", "bias": "false"}),
    )
]
HALF = [
    {
        "arm": "".join(own) or "baseline",
        "role": "arm" if own else "baseline",
        "levels": dict.fromkeys(own, "1"),
        "changes": {},
    }
    for own in ("", "ab", "ac", "ad", "bc", "bd", "cd", "abcd")
]


@pytest.mark.parametrize(
    "claim",
    [
        {"main_effect": "depth"},
        {"main_effect": ["depth=2", "bias=false"]},
        {"interaction": ["depth=2", "bias"]},
    ],
)
def test_effect_that_the_design_shows_is_accepted(claim):
    assert claims_errors([claim], GRID, BASELINE, "grid") == []


@pytest.mark.parametrize(
    ("claim", "arms", "design", "sentence"),
    [
        (
            {"main_effect": "width"},
            GRID,
            "grid",
            "main_effect=width  names no factor of this study; allowed: depth, bias",
        ),
        (
            {"main_effect": "depth=3"},
            GRID,
            "grid",
            "main_effect=depth=3  names depth=3, no level of this study; allowed: depth=2",
        ),
        (
            {"main_effect": "depth=2"},
            GRID[:3],
            "ofat",
            "main_effect=depth=2  cannot be seen by design=ofat; use arm: depth=2, or design=grid, fraction or pairs",
        ),
        (
            {"interaction": ["depth", "bias"]},
            GRID[:3],
            "ofat",
            'interaction=["depth", "bias"]  cannot be seen by design=ofat: no arm has both depth=2 and bias=false; '
            "use design=grid or pairs",
        ),
        (
            {"interaction": ["a", "b"]},
            HALF,
            "fraction",
            'interaction=["a", "b"]  cannot be seen by design=fraction: a=1 x b=1 cannot be told from c=1 x d=1; use '
            "design=grid or pairs, or a higher study.resolution",
        ),
        (
            {"interaction": ["c", "d"]},
            HALF,
            "fraction",
            'interaction=["c", "d"]  cannot be seen by design=fraction: c=1 x d=1 cannot be told from a=1 x b=1; use '
            "design=grid or pairs, or a higher study.resolution",
        ),
    ],
)
def test_effect_that_the_design_does_not_show_is_refused(claim, arms, design, sentence):
    assert claims_errors([claim], arms, BASELINE, design) == [f"study.claims[0].{sentence}"]


def test_named_interaction_that_the_design_does_not_show_is_refused():
    (sentence,) = claims_errors([], GRID[:3], BASELINE, "pairs", [["depth", "bias"]])
    assert sentence.startswith('study.interactions[0]=["depth", "bias"]  cannot be seen by design=pairs: no arm has')


ONE = {"a minus b": Contrast(weights={"a": 1.0, "b": -1.0})}
TURNED = {"b minus a": Contrast(weights={"b": 1.0, "a": -1.0})}


@pytest.mark.parametrize(
    ("claim", "other"),
    [
        (({}, ONE), ({"claim": "other words", "kind": "better"}, ONE)),
        (({}, ONE), ({"direction": "lower"}, TURNED)),
        (({"kind": "equivalent"}, ONE), ({"kind": "equivalent"}, TURNED)),
    ],
)
def test_restatement_asks_the_same(claim, other):
    assert claim_identity(*claim) == claim_identity(*other)


@pytest.mark.parametrize("other", [{"direction": "lower"}, {"kind": "not_worse"}, {"metric": "val/accuracy"}])
def test_claim_of_another_direction_kind_or_metric_asks_something_else(other):
    assert claim_identity({}, ONE) != claim_identity(other, ONE)
