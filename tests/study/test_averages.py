"""Claims on averages of the weights: accepted where every arm keeps one, refused word for word elsewhere."""

import pytest

from vitsweep.study.claims import claims_form_errors
from vitsweep.study.rules import unmeasured_errors

CLAIM = {"claim": "x", "arm": "a", "metric": "average/test/accuracy"}


def test_claim_on_an_average_is_accepted_where_every_arm_keeps_one():
    assert claims_form_errors([CLAIM], 0.5) == []
    assert unmeasured_errors([CLAIM], {"baseline": {"average_last": 5}, "a": {"average_last": 5}}) == []


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (
            "average/test/accuracy",
            "study.claims[0].metric=average/test/accuracy  is measured only where recipe.average_last is set, which a "
            "lacks; add recipe.average_last=5 to study.baseline",
        ),
        (
            "ema/val/loss",
            "study.claims[0].metric=ema/val/loss  is measured only where recipe.ema_decay is set, which a lacks; add "
            "recipe.ema_decay=0.99 to study.baseline",
        ),
    ],
)
def test_claim_on_an_average_that_an_arm_lacks_is_refused(metric, sentence):
    recipes = {"baseline": {"average_last": 5, "ema_decay": 0.9}, "a": {"average_last": 0, "ema_decay": None}}
    assert unmeasured_errors([CLAIM | {"metric": metric}], recipes) == [sentence]


def test_unknown_metric_is_refused_with_the_rows_that_there_are():
    assert claims_form_errors([CLAIM | {"metric": "mean/test/accuracy"}], 0.5) == [
        "study.claims[0].metric=mean/test/accuracy  is unknown; allowed: train/loss, train/accuracy, val/loss, "
        "val/accuracy, test/loss, test/accuracy, or one of them behind best/, ema/, average/"
    ]
