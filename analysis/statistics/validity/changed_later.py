"""Changes after the first run had started (claims, ROPE, error, number of seeds), and their effect on errors.

Records carry the hash of the claims they were started under (and of ROPE and error, where they are not the defaults).
"""

from functools import cache
from typing import Any

import numpy as np

from vitsweep.study.plan import DECLARED, claims_hash

from ...records.consistency import NOT_STARTED
from ...records.selection import Selection
from .. import paired as stats

RESTATED = "The claims or the ROPE were changed after the first run started."
NULL_STUDIES = 100_000
"""Simulated studies without any effect: the standard error of a rate of 8 % is then 0.09 %."""


def earlier_hashes(selection: Selection) -> list[str]:
    """Return the claims hashes of the study's started runs other than that of the plan's claims; [] without a plan.

    The hash is computed from what is declared as it stands, not taken from the plan.
    """
    plan = selection.plan
    if plan is None:
        return []
    planned = {(cell["arm"], cell["config_hash"], cell["seed"]) for cell in plan["cells"]}
    own = [
        row.claims_hash
        for row in selection.cells[~selection.cells["status"].isin(NOT_STARTED)].itertuples()
        if row.study == selection.study or (row.arm, row.config_hash, row.seed) in planned
    ]
    return sorted(set(own) - {claims_hash(plan.get("claims") or [], *(getattr(selection, name) for name in DECLARED))})


def changed_claims(selection: Selection) -> list[dict[str, Any]]:
    """Return the claims that differ from those when the first cell started.

    A claim counts as unchanged only if the plan's history (`claims_before`: hash -> claims) has it under every hash
    that a record carries.
    """
    older = earlier_hashes(selection)
    history = (selection.plan or {}).get("claims_before") or {}
    if any(h not in history and h for h in older):
        return list(selection.claims)
    return [claim for claim in selection.claims if not all(claim in history.get(h, []) for h in older)]


def extension_sentence(selection: Selection) -> str:
    """Describe seeds that were added, and training that was continued, after results were visible; else empty."""
    return " ".join(filter(None, (seeds_sentence(selection), epochs_sentence(selection))))


def epochs_sentence(selection: Selection) -> str:
    """Describe training that was continued after results were visible, and a bound of the error rate; else empty."""
    before = ((selection.plan or {}).get("continued_from") or {}).get("epochs") or []
    if not before:
        return ""
    path = ", then ".join(str(number) for number in before)
    return (
        f"The runs continue those of {path} epochs, whose results could be seen: for somebody who would have stopped "
        f"at a significant result there, errors of {100 * stats.ALPHA:g} % become at most "
        f"{100 * stats.ALPHA * (len(before) + 1):.0f} %."
    )


def seeds_sentence(selection: Selection) -> str:
    """Describe seeds that were added after results were visible, and the error rate; empty when none were."""
    plan = selection.plan or {}
    looks = [int(number) for number in plan.get("seeds_before") or [] if number > 1]
    if not looks:
        return ""
    looks.append(len(plan["seeds"]))
    path = " to ".join(str(number) for number in looks)
    return (
        f"Extended from {path} seeds after results could be seen: for somebody who would have stopped at a significant "
        f"result, errors of {100 * stats.ALPHA:g} % become about {100 * sequential_error(tuple(looks)):.0f} %."
    )


@cache
def sequential_error(looks: tuple[int, ...]) -> float:
    """Estimate the probability that a paired t test at 5 % finds an absent difference at any of these numbers of
    seeds.
    """
    difference_DS = np.random.default_rng(0).standard_normal((NULL_STUDIES, max(looks)))
    found_LD = [stats.p_paired(difference_DS[:, :number]) < stats.ALPHA for number in looks]
    return float(np.any(found_LD, axis=0).mean())
