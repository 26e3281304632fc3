"""Sections Health (what could make the numbers wrong) and Methods (how they were made), and the report's signature."""

import math

import pandas as pd

from vitsweep.study.claims import OF_EQUALITY
from vitsweep.study.record import SCHEMA, package_version

from ..attention.measures import COLUMNS
from ..records.consistency import NOT_STARTED
from ..records.selection import DEFAULT_METRIC, Selection
from ..statistics.effects import column_name, decimal_places, display_scale, image_text, metric_text, seed_values
from ..statistics.judgement import Judgement, is_main_first
from ..statistics.sequential import NEXT_LOOK
from ..statistics.validity.changed_later import RESTATED, earlier_hashes
from ..statistics.validity.plausibility import implausible
from ..statistics.validity.pooling import pooling_definition
from ..text import bounds, decimals, duration, format_ranges
from .page import Bullets, Details, KeyValues, Text
from .study_tables import about_accuracy

ALL_WELL = "Every planned run finished; nothing was left out."
ON_TEST = "the test images (data.val=test, published practice): what was chosen on them is optimistic"
ON_LAST_AND_BEST = "scored with the last and the best weights"
MAX_ERROR = 1.0
"""Percent points: a larger standard error of a validation accuracy is a problem of Health."""
MAX_NAMED, MAX_VALUES = 10, 4
NUMERIC = ("torch", "torchvision", "numpy")
STATUS_TEXT = {
    "planned": "not started",
    "running": "running, or killed without a word",
    "interrupted": "interrupted",
    NEXT_LOOK: "finished, and counted at the next look only",
    "failed": "failed",
    "diverged": "diverged (loss no longer a number)",
}
INTERVALS = {
    "paired": "Interval: 95 % paired t interval over shared seeds, not adjusted for the number of arms. p: paired t "
    "test",
    "pooled": "Interval: 95 % t interval of the pooled error, not adjusted for the number of arms. p: t test of the "
    "pooled error; Dunnett p: step-down test of arms against the baseline; of all else",
    "welch": "Interval: 95 % Welch interval, unpaired, each arm's own spread, not adjusted for the number of arms. p: "
    "Welch's t test",
}
"""Error of the tests -> how intervals and p values are made."""
ESTIMAND = (
    "Estimand: the difference of mean {} on {}, at these hyper-parameters, over the random "
    "streams of initialisation, data order, augmentation and dropout, for this one set of training and validation "
    "images. It says nothing about other hyper-parameters, nor about other training images."
)
SEEDS_TO_DECIDE = (
    "Seeds to decide: the fewest in all that reach 80 % power in a fresh study if the observed difference and "
    "spread were the true ones, and for the ends of the spread's 95 % interval; none below 5 seeds, which know too "
    "little of it. To add seeds here until something is found finds too "
    "much."
)
NEW_IMAGES = (
    "Intervals for new test images: seeds and images resampled together, with one shared seed the images alone; "
    "coverage from three seeds up in docs/calibration."
)
LOST_RUNS = (
    "Lost runs: a verdict in favor of a side with diverged or failed runs holds only if a second one agrees, in which "
    "they count as chance (1 / classes; a loss as ln(classes)), since the seeds that are left are no random sample. "
    "Runs that only the other side lost are left out of both. Equivalence needs both verdicts if either side lost runs."
)
CLAIM_VERDICTS = (
    "Verdict of a claim: supported or contradicted if Holm p < 0.05, by the sign of the difference; not supported if "
    "two one-sided t tests place every comparison within the ROPE; else undecided. Single: one shared seed, so no "
    "test; missing: no shared seed, or no such arm; not testable: the study file says so, or the claim cannot be read."
)
EQUALITY_VERDICTS = (
    "Verdict of a claim of equality: supported if Holm p < 0.05 for all differences lying within the ROPE (equivalent: "
    "two one-sided t tests) or for none being worse by as much (not_worse: one of them); contradicted for a difference "
    "beyond the ROPE, of not_worse on the worse side; else undecided."
)
MEASURED = (
    "Rollout measures: of the weights with the lowest validation loss, heads averaged, alpha 0.5, means over the same "
    "test images for every run; definitions and sources in docs/rollout.md. Agreement between seeds has no interval, "
    "since each of its values uses all seeds."
)


def health_items(judgement: Judgement) -> list:
    """Return the sentences of HEALTH_RULES after the problems, then each failed cell with its error."""
    selection = judgement.selection
    lines = [*judgement.problems, *(line for rule in HEALTH_RULES for line in rule(judgement))]
    items: list = [Bullets(lines=lines)] if lines else [Text(text=ALL_WELL)]
    for _, cell in selection.cells.iterrows():
        error = cell["record"].error
        if error:
            title = f"{cell['cell']} {cell['status']}: {error.get('type', '')}: {error.get('message', '')}"
            items.append(Details(title=title, text=error.get("traceback") or "no traceback"))
    return items


def _changed_claims(judgement: Judgement) -> list[str]:
    return [RESTATED] if earlier_hashes(judgement.selection) else []


def _selection_notes(judgement: Judgement) -> list[str]:
    return judgement.selection.notes


def _unfinished_cells(judgement: Judgement) -> list[str]:
    cells, lines = judgement.selection.cells, []
    for status, words in STATUS_TEXT.items():
        names = list(cells.loc[cells["status"] == status, "cell"])
        if names:
            lines.append(f"{len(names)} of {len(cells)} cells {words}: {_listed(names, MAX_NAMED, ', ')}.")
    return lines


def _seeds_without_a_pair(judgement: Judgement) -> list[str]:
    """Return a sentence for each arm whose seeds are not those of the baseline."""
    selection = judgement.selection
    if selection.done().empty:
        return []
    values, lines = seed_values(selection, judgement.metric), []
    base = set(values[selection.baseline].dropna().index)
    for arm in selection.non_baseline():
        own = set(values[arm].dropna().index)
        if own and own != base:
            lines.append(
                f"{arm} is compared on seeds {format_ranges(sorted(own & base)) or 'none'}; "
                f"seeds without a pair: {format_ranges(sorted(own ^ base))}."
            )
    return lines


def _mixed_code(judgement: Judgement) -> list[str]:
    records = _started(judgement.selection.cells)["record"]
    codes = [code for record in records for code in (record.code, *record.code.get("before", []))]
    commits = sorted({str(code.get("commit", ""))[:8] for code in codes} - {""})
    lines = [f"The runs come from {len(commits)} commits: {', '.join(commits)}."] if len(commits) > 1 else []
    if any(code.get("dirty") for code in codes):
        lines.append("Some runs come from a checkout with uncommitted changes.")
    if continued := sum("before" in record.code for record in records):
        lines.append(f"{continued} of the runs were interrupted and continued by another version of the code.")
    if continued := sum("before" in record.pack for record in records):
        lines.append(f"{continued} of the runs were continued from another pack; they repeat to rounding only.")
    return lines


def _mixed_machines(judgement: Judgement) -> list[str]:
    started = _started(judgement.selection.cells)
    found = {name: sorted(set(started[name]) - {""}) for name in ("device", "precision")}
    versions = [record.versions for record in started["record"]]
    for name in NUMERIC:  # the same seed gives other numbers under another version
        found[f"{name} version"] = sorted({version[name] for version in versions if version.get(name)})
    return [f"The runs differ in {name}: {', '.join(v)}." for name, v in found.items() if len(v) > 1]


def _missing_values(judgement: Judgement) -> list[str]:
    done, metric = judgement.selection.done(), judgement.metric
    names = list(done.loc[done[column_name(metric)].isna(), "cell"])
    return [f"Finished without a {metric_text(metric)}, so not counted: {', '.join(names)}."] if names else []


def _validation_on_test(judgement: Judgement) -> list[str]:
    return [f"Validation used {ON_TEST}."] if _validation(judgement.selection.cells) == ON_TEST else []


def _few_validation_images(judgement: Judgement) -> list[str]:
    """Return a sentence if the standard error of a validation accuracy exceeds MAX_ERROR."""
    done = judgement.selection.done()
    sizes = [record.num_images.get("val", 0) for record in done["record"]]
    share = done["final/val/accuracy"].mean()
    if not sizes or not min(sizes) or not 0 < share < 1:
        return []
    error = 100 * math.sqrt(share * (1 - share) / min(sizes))
    if error <= MAX_ERROR:
        return []
    return [
        f"There are only {min(sizes)} validation images: a validation accuracy near {100 * share:.0f} % has a standard "
        f"error of {error:.1f} points from them alone, and they decide the best epoch, the saturation epoch and a "
        "plateau schedule."
    ]


def _implausible(judgement: Judgement) -> list[str]:
    return implausible(judgement.selection)


HEALTH_RULES = (
    _changed_claims,
    _selection_notes,
    _unfinished_cells,
    _seeds_without_a_pair,
    _mixed_code,
    _mixed_machines,
    _missing_values,
    _validation_on_test,
    _few_validation_images,
    _implausible,
)
"""Functions from a judgement to sentences about what is unfinished, left out or mixed, in the order of the page."""


def methods_items(judgement: Judgement) -> list:
    """Return protocol, data, versions and cost, then definitions of the report's statistics."""
    if judgement.selection.cells.empty:
        return [Text(text="There are no cells.")]
    items: list = [KeyValues(pairs=protocol(judgement.selection, judgement.metric))]
    return [*items, Bullets(lines=_definitions(judgement))] if len(judgement.effects) else items


def protocol(selection: Selection, metric: str) -> list[tuple[str, str]]:
    """Return how the runs were made, as names with their values; what is unknown is left out."""
    cells = selection.cells
    moment = "of the weights with the lowest validation loss" if metric in COLUMNS else "at the last epoch"
    pairs = [
        ("Seeds", _seeds(cells)),
        ("Metric", f"{metric_text(metric)} {moment}; {_use_of_test(cells)}"),
        ("Design", selection.design or "plain sweep"),
        ("Data", f"{', '.join(data_names(cells))}; fingerprint {_distinct(cells['data_fingerprint'].str[:16])}"),
        ("Images", _distinct(_image_counts(record.num_images) for record in selection.done()["record"])),
        ("Validation", _validation(cells)),
        ("Recipe of the baseline", _recipe(selection)),
        ("Device", f"{_distinct(cells['device'])}, {_distinct(cells['precision'])}"),
        ("Code", _distinct(_code(record.code) for record in cells["record"])),
        ("Versions", _distinct(_versions(record.versions) for record in cells["record"])),
        ("Device time", f"{duration(cells['time_seconds'].sum())} {_over(cells)}"),
    ]
    return [(name, value) for name, value in pairs if value]


def _definitions(judgement: Judgement) -> list[str]:
    words = INTERVALS[judgement.selection.error]
    interval = f"{words}; Holm p: {_families(judgement)}; sign-flip p: every pattern of signs up to 16 seeds."
    interval = _looked_interval(judgement) or interval
    metric = judgement.metric
    name = "accuracy" if metric == DEFAULT_METRIC else metric_text(metric)
    lines = [seeds_sentence(judgement), ESTIMAND.format(name, image_text(metric)), interval, _verdicts(judgement)]
    lines += [SEEDS_TO_DECIDE] if judgement.selection.sequence is None else []
    lines += [pooled] if (pooled := pooling_definition(judgement.effects)) else []
    lines += [LOST_RUNS] if "p_lost" in judgement.effects else []
    lines += [NEW_IMAGES + about_accuracy(metric)] if metric == DEFAULT_METRIC or len(judgement.images) else []
    lines += [CLAIM_VERDICTS] if len(judgement.claims) else []
    lines += [EQUALITY_VERDICTS] if len(judgement.claims) and judgement.claims["kind"].isin(OF_EQUALITY).any() else []
    lines += [MEASURED] if len(judgement.measures) else []
    return lines + _detectable_effect(judgement)


def _looked_interval(judgement: Judgement) -> str:
    """Return the definition of intervals and p values of a study with looks; empty without."""
    sequence = judgement.selection.sequence
    if sequence is None:
        return ""
    seeds = ", ".join(map(str, sequence.looks.seeds))
    return (
        f"Looks after {seeds} seeds, {sequence.looks.spending} error spending. Interval: repeated confidence interval, "
        "which holds at all looks together with 95 %, not adjusted for the number of arms. p: sequential p value, the "
        f"smallest level whose bound was crossed at a look so far; Holm p: {_families(judgement)} (group-sequential "
        "Holm). Bounds: docs/sequential-seeds.md, error rates: docs/calibration/sequential.py."
    )


def _verdicts(judgement: Judgement) -> str:
    p = "the adjusted p" if judgement.selection.error == "pooled" else "Holm p"
    differs = f"helps or hurts (of a rollout measure: differs) if {p} < 0.05"
    if display_scale(judgement.metric) == 100.0:
        differs += (
            "; else equivalent if two one-sided t tests (5 %, Holm over the same family) place it within "
            f"{judgement.selection.rope:g} points"
        )
    else:
        differs += "; never equivalent, since the ROPE is one of accuracies"
    return f"Verdict: {differs}; else undecided, which is not a finding of no effect."


def seeds_sentence(judgement: Judgement) -> str:
    """Return the study's seeds and the smallest p that the sign-flip test can reach with them."""
    pairs = judgement.effects["pairs"].max()
    shown = f"Seeds {format_ranges(sorted(set(judgement.selection.cells['seed'])))}."
    if not pairs > 1:
        return shown
    return f"{shown} With {int(pairs)} pairs the sign-flip p cannot be below {2 ** (1 - int(pairs)):.3g}."


def _families(judgement: Judgement) -> str:
    arms = "over all arms of the plan, finished or not"
    if is_main_first(judgement):
        arms += "; of main effects and the interactions that the study names over these"
    if judgement.selection.unplanned():
        arms += " (of an arm that is not in the plan: as if it were one more)"
    if not (judgement.effects["family"] == "claims").any():
        no_claim = f" (exploratory: no claim is about an arm's {metric_text(judgement.metric)})"
        return f"adjusted {arms}{no_claim if judgement.selection.claims else ''}"
    return f"of arms that a claim is about adjusted over the claims; of all others (exploratory) {arms}"


def _detectable_effect(judgement: Judgement) -> list[str]:
    power = judgement.power
    if not power or math.isinf(power.effect) or judgement.selection.sequence is not None:
        return []
    places = decimal_places(judgement.metric)
    effect, claims_effect, question_effect = (
        f"{decimals(x, places)} {bounds(*power.ends(x), places)}"
        for x in (power.effect, power.claims_effect, power.question_effect)
    )
    sd = f"{decimals(power.sd, places)} {bounds(power.sd_low, power.sd_high, places)}"
    questions = f"{question_effect} among {power.questions} main effects, " if power.questions else ""
    claims = f"{claims_effect} among {power.claims} claims, " if power.claims else ""
    name = "" if judgement.metric == DEFAULT_METRIC else f" on the {metric_text(judgement.metric)}"
    return [
        f"Minimum detectable effect{name}: {claims}{questions}{effect} among {power.arms} arms (80 % power, 0.05 "
        f"over that number, {power.error} error, {power.seeds} seeds, as most arms have; standard deviation of the "
        f"differences {sd}, pooled over arms; intervals 95 %, from the chi-square distribution of that spread)."
    ]


def signature(judgement: Judgement) -> str:
    """Return key:value pairs that say how the numbers were made, after sacreBLEU's signatures."""
    selection = judgement.selection
    known = [f for f in selection.cells["data_fingerprint"] if f]
    parts = {
        "metric": judgement.metric,
        "epoch": "best" if judgement.metric in COLUMNS else "last",
        "data": known[0][:8] if known else "unknown",
        "seeds": len(set(selection.done()["seed"])),
        "paired": "seed",
        "interval": "t95" if selection.sequence is None else "repeated95",
        "multiple": "holm" if selection.sequence is None else "sequential-holm",
        "baseline": selection.baseline,
        "schema": SCHEMA,
        "vitsweep": package_version("vitsweep"),
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())


def data_names(cells: pd.DataFrame) -> list[str]:
    """Return the data sets' names from the runs that saw them; before any run, from the configuration."""
    started = _started(cells)
    records = (started if len(started) else cells)["record"]
    names = [r.data_name or str((r.config.get("data") or {}).get("name", "")) for r in records]
    return sorted(set(names) - {""})


def _started(cells: pd.DataFrame) -> pd.DataFrame:
    return cells[~cells["status"].isin(NOT_STARTED)]


def _seeds(cells: pd.DataFrame) -> str:
    planned, done = (sorted(set(rows["seed"])) for rows in (cells, cells[cells["status"] == "done"]))
    return (
        format_ranges(planned)
        if planned == done
        else f"{format_ranges(planned)} planned, {format_ranges(done) or 'none'} with results"
    )


def _over(cells: pd.DataFrame) -> str:
    started, done = len(_started(cells)), int((cells["status"] == "done").sum())
    finished = "" if done == started else f" ({done} finished)"
    return f"over {started} started run{'' if started == 1 else 's'}{finished}"


def _use_of_test(cells: pd.DataFrame) -> str:
    after = "test images were used only after training: " if _validation(cells) != ON_TEST else "test images were "
    return f"{after}{ON_LAST_AND_BEST}"


def _validation(cells: pd.DataFrame) -> str:
    sources = {(record.config.get("data") or {}).get("val", "") for record in cells["record"]} - {""}
    if "test" in sources:
        return ON_TEST
    words = {"split": "held out of the training images", "folder": "images of the folder val/"}
    return "; ".join(words[source] for source in sorted(sources) if source in words)


def _image_counts(images: dict) -> str:
    return ", ".join(f"{number:,} {part}" for part, number in images.items())


def _recipe(selection: Selection) -> str:
    first = selection.cells.loc[selection.cells["arm"] == selection.baseline, "record"].iloc[0]
    recipe = first.config.get("recipe") or {}
    return ", ".join(f"{name} {value}" for name, value in recipe.items() if value is not None)


def _code(code: dict) -> str:
    commit = str(code.get("commit", ""))[:8]
    return f"vitsweep {code.get('version', '')}{' ' + commit if commit else ''}" if code else ""


def _versions(versions: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _distinct(values) -> str:
    """Return the distinct values that are not empty, at most MAX_VALUES of them."""
    return _listed(sorted({str(value) for value in values if str(value)}), MAX_VALUES, "; ")


def _listed(names: list[str], most: int, separator: str) -> str:
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
