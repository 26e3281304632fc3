"""Rules of a study file beyond its types: names, numbers, and the place of overrides."""

import math
import re
from typing import Any

from vitsweep.config.checks import one_of
from vitsweep.config.overrides import affects_result, chooses_images, override_key, yaml_text
from vitsweep.config.schema import ERRORS, FACTORIAL, StudyConfig, SweepConfig
from vitsweep.study.arms import PLACEBO_SEED_OFFSET
from vitsweep.study.claims import claims_form_errors, pair_errors
from vitsweep.study.design import NUM_SEEDS, ArmSpec, Factors
from vitsweep.study.plan import Plan
from vitsweep.study.published import published_errors, scale_errors
from vitsweep.study.record import AVERAGE, EMA
from vitsweep.study.tuning.space import search_form_errors

MAX_CELLS = 50_000
AVERAGES = {EMA: ("ema_decay", "recipe.ema_decay=0.99"), AVERAGE: ("average_last", "recipe.average_last=5")}
"""Row of the metrics -> field of the recipe that asks for it, and an example."""
TAKEN = ("baseline", "placebo")  # names of arms that every study has or may have
NOT_IN_STUDIES = ("hydra", "study", "sweep")


def study_errors(study: StudyConfig) -> list[str]:
    """Return a message for every rule that a study breaks apart from its factors."""
    found = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", study.name):
        found.append(f"study.name={study.name!r}  must be letters, digits, . _ or -; it names the directory")
    if not 0 <= study.rope < math.inf:
        found.append(f"study.rope={study.rope}  must be finite and not negative")
    found += one_of(ERRORS, "study", study, "error")
    found += published_errors(study.published) + scale_errors(study)
    if study.arms and study.design != "list":
        found.append(f"study.arms  is not read by design={study.design}; drop it, or use design=list")
    if study.factors and study.design == "list":
        found.append("study.factors  is not read by design=list; write them as arms, or use another design")
    for arm in study.arms:
        if str(arm) in TAKEN or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]*", str(arm)):
            found.append(
                f"study.arms.{arm}  must be letters, digits, . _ = + or -, and neither of {', '.join(TAKEN)}; "
                "it names a directory"
            )
    for override in study.baseline:
        found += misplaced_errors("study.baseline", override)
    return (
        found
        + interaction_errors(study)
        + claims_form_errors(study.claims, study.rope)
        + search_form_errors(study.tune)
    )


def interaction_errors(study: StudyConfig) -> list[str]:
    """Return a message for each named interaction that is no pair, comes twice, or is not read."""
    if study.interactions and study.design not in FACTORIAL:
        allowed = ", ".join(FACTORIAL)
        return [f"study.interactions  is not read by design={study.design}; drop it, or use one of {allowed}"]
    found, before = [], []
    for number, pair in enumerate(study.interactions):
        own = pair_errors(f"study.interactions[{number}]", pair)
        if not own and set(map(str, pair)) in before:
            own = [f"study.interactions[{number}]={yaml_text(pair)}  is named twice; keep one of them"]
        before.append(set(map(str, pair)) if not own else set())
        found += own
    return found


def unmeasured_errors(claims: list[dict[str, Any]], recipes: dict[str, dict[str, Any]]) -> list[str]:
    """Return a message for each claim on an average of the weights that an arm does not keep.

    Args:
        claims: of a valid form.
        recipes: arm -> its recipe as plain values.
    """
    found = []
    for number, claim in enumerate(claims):
        row = str(claim.get("metric") or "").partition("/")[0]
        field, example = AVERAGES.get(row, ("", ""))
        without = [arm for arm, recipe in recipes.items() if field and not recipe.get(field)]
        if without and claim.get("testable", True):
            found.append(
                f"study.claims[{number}].metric={claim['metric']}  is measured only where recipe.{field} is set, which "
                f"{', '.join(without[:3])} lacks; add {example} to study.baseline"
            )
    return found


def size_errors(what: str, num_arms: int, num_seeds: int) -> list[str]:
    """Return a message if a plan would have more than MAX_CELLS cells."""
    if num_arms * num_seeds <= MAX_CELLS:
        return []
    return [f"{what}  makes {num_arms} arms x {num_seeds} seeds; a study has at most {MAX_CELLS} cells: sweep less"]


def until_errors(plan: Plan) -> list[str]:
    """Return a message if a plan that is trained until decided has no look, nothing to decide or too small a budget."""
    sweep = SweepConfig(**plan.cells[0].config["sweep"])
    if sweep.until != "decided":
        return []
    if not plan.looks:
        looks = "study.seeds={start: 3, max: 12} or study.looks=[3, 5, 10]"
        return [f"sweep.until=decided  needs a study with looks; declare {looks} in its file, or use sweep.until=all"]
    is_stated = any(claim.get("testable", True) for claim in plan.claims)
    if not is_stated and not any(row["role"] == "arm" for row in plan.arms):
        return ["sweep.until=decided  has nothing to decide: no arm and no testable claim; use sweep.until=all"]
    if plan.tune:
        return ["sweep.until=decided  does not go with study.tune; use sweep.until=all, or a study without a search"]
    first = len(plan.arms) * plan.looks[0]
    if sweep.budget_runs is not None and sweep.budget_runs < first:
        runs = f"the {first} runs of the first look ({len(plan.arms)} arms x {plan.looks[0]} seeds)"
        return [f"sweep.budget_runs={sweep.budget_runs}  must be at least {runs}"]
    return []


def design_size_errors(study: StudyConfig, factors: Factors) -> list[str]:
    """Return a message if a design combines its levels to more than MAX_CELLS arms."""
    counts = [len(levels) for levels in factors.values()]
    if study.design == "grid":
        num_arms = math.prod(count + 1 for count in counts)
    elif study.design == "pairs":
        num_arms = 1 + sum(counts) + (sum(counts) ** 2 - sum(count**2 for count in counts)) // 2
    else:
        num_arms = 1 + sum(counts)
    return size_errors(f"study.design={study.design}", num_arms, 1)


def placebo_seed_errors(seeds: list[int]) -> list[str]:
    """Return a message if the placebo, whose streams have another seed, cannot be made for some seeds.

    It trains with seed + PLACEBO_SEED_OFFSET, which must be a seed, and no other replicate's.
    """
    last = NUM_SEEDS - 1 - PLACEBO_SEED_OFFSET
    found = [f"study.seeds={seed}  must be at most {last} beside placebo: true" for seed in seeds if seed > last]
    return found + [
        f"study.seeds={seed}  has the placebo of seed {seed} train as seed {seed + PLACEBO_SEED_OFFSET}, another "
        "replicate; drop one of them"
        for seed in seeds
        if seed + PLACEBO_SEED_OFFSET in set(seeds)
    ]


def written_levels(study: StudyConfig, factors: Factors) -> list[tuple[str, tuple[str, ...]]]:
    """Return the place of each level or listed arm in the study file, with its overrides."""
    group = "arms" if study.design == "list" else "factors"
    return [(f"study.{group}.{name}", level.overrides) for name, levels in factors.items() for level in levels]


def level_errors(written: list[tuple[str, tuple[str, ...]]], ours: set[str]) -> list[str]:
    """Return a message for every level that affects no result, or that the command line sets for all arms.

    Args:
        written: written_levels of the study.
        ours: keys that the command line sets.
    """
    found = []
    for where, overrides in written:
        misplaced = [sentence for override in overrides for sentence in misplaced_errors(where, override)]
        if not misplaced and not any(affects_result(o) or chooses_images(o) for o in overrides):
            misplaced.append(
                f"{where}=`{' '.join(overrides)}`  changes where or how a cell is computed, not what is learned; "
                "pass it on the command line, for all arms"
            )
        found += misplaced
        found += [
            f"{override_key(override)}=...  on the command line is set for all arms, but {where} sets `{override}`; "
            "drop one of them"
            for override in overrides
            if override_key(override) in ours
        ]
    return found


def misplaced_errors(where: str, override: str) -> list[str]:
    """Return a message if an override cannot stand in a study file."""
    key = override_key(override)
    if key == "seed":
        return [f"{where}=`{override}`  sets the seed, which is the replicate; use study.seeds"]
    if re.split(r"[./]", key)[0] in NOT_IN_STUDIES:
        return [f"{where}=`{override}`  does not belong in a study file; pass it on the command line"]
    return []


def duplicate_key_errors(specs: list[ArmSpec]) -> list[str]:
    """Return a message for every arm in which two levels set one key, so that one has no effect."""
    found = []
    for spec in specs:
        first: dict[str, str] = {}
        for override in spec.overrides:
            other = first.setdefault(override_key(override), override)
            if other is not override:
                found.append(f"`{other}` and `{override}`  set one key in one arm; make them levels of one factor")
    return list(dict.fromkeys(found))
