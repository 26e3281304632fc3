"""The findings: three to ten sentences made from the numbers.

A difference that is not significant is never called absent: an arm is `equivalent` only if a test says that its effect
lies within the ROPE, else it is `undecided` and the sentence names the seeds that would decide.
"""

import math
import re

import pandas as pd

from vitsweep.study.status import NOT_NEEDED

from ..attention.measures import COLUMNS
from ..records.selection import DEFAULT_METRIC
from ..statistics.effects import decimal_places, display_scale, metric_text, unit
from ..statistics.factorial import additive_p, format_effect, interaction_name
from ..statistics.judgement import Judgement, Power, family_error, is_main_first, placebo_rows, whole_images
from ..statistics.paired import ALPHA
from ..statistics.sequential import looks_sentences
from ..statistics.validity.attrition import lost_runs, planned_seeds
from ..statistics.validity.changed_later import RESTATED, earlier_hashes, extension_sentence
from ..statistics.validity.plausibility import implausible
from ..statistics.validity.pooling import pooling_findings, pooling_remark
from ..text import bounds, decimals, p_value, seeds_text
from .factors.sentences import DECIDED_EFFECTS, named_effects, secondary_arms
from .tuning.section import tuning_findings

MAX_NAMED = 4
MAX_SENTENCES = 10
UNFINISHED = ("planned", "running", "interrupted")
DECIDED = {"helps": "Better than the baseline", "hurts": "Worse than the baseline"}
DECIDED |= {"differs": "Different from the baseline"}
WITHDRAWN = "`{}` on the finished runs alone, which does not hold with lost ones counted as chance"
CLAIM_TEXT = {
    "supported": "{} supported",
    "contradicted": "{} contradicted",
    "not supported": "{} not supported",
    "undecided": "{} undecided",
    "single": "{} with one seed so far, which cannot be judged",
    "missing": "{} without the runs that it needs",
    "not testable": "{} that cannot be tested here",
}


def findings(judgement: Judgement) -> list[str]:
    """Return the sentences of FINDING_RULES in reading order, at most MAX_SENTENCES of them."""
    if judgement.effects.empty:
        return [
            "No cell with a readable record was found.",
            "There is nothing to compare and nothing to draw.",
            f"{_count(len(judgement.problems), 'problem')} with reading the directory are listed under Health.",
        ]
    ranked = [(rank, sentence) for rank, rule in FINDING_RULES for sentence in rule(judgement) if sentence]
    return most_important(ranked)


def most_important(ranked: list[tuple[int, str]]) -> list[str]:
    """Return the texts of the lowest ranks that together have at most MAX_SENTENCES full stops, in their order."""
    kept: set[int] = set()
    room = MAX_SENTENCES
    for index, (_, text) in sorted(enumerate(ranked), key=lambda item: (item[1][0], item[0])):
        room -= len(re.findall(r"\.(?= |$)", text))
        if room < 0:
            break
        kept.add(index)
    return [text for index, (_, text) in enumerate(ranked) if index in kept]


def _interim(judgement: Judgement) -> list[str]:
    """Return the sentence about runs still to come, which make the verdicts provisional."""
    selection = judgement.selection
    statuses = selection.cells["status"]
    if not statuses.isin(UNFINISHED).any():
        return []
    statuses = statuses[statuses != NOT_NEEDED]
    bad = statuses[statuses != "done"].value_counts().sort_index()
    parts = ", ".join(f"{number} {'not started' if status == 'planned' else status}" for status, number in bad.items())
    so = ", so verdicts are provisional: p values hold for a number of seeds fixed in advance, not for looks in between"
    so = so if selection.sequence is None else "; verdicts are those of the last complete look"
    finished = f"{(statuses == 'done').sum()} of {_count(len(statuses), 'run')} finished ({parts}; see Health)"
    return [f"Interim: {finished}{so if len(selection.arms) > 1 else ''}."]


def alarms(judgement: Judgement) -> list[str]:
    """Return what must be read before any verdict: excluded runs, a placebo that differs, runs still to come."""
    return [*judgement.selection.alarms, *_placebo_alarm(judgement), *_interim(judgement)]


def _extension(judgement: Judgement) -> list[str]:
    return [extension_sentence(judgement.selection)]


def _baseline(judgement: Judgement) -> list[str]:
    base, metric = judgement.effects.iloc[0], judgement.metric
    what, places, sd_unit = metric_text(metric), decimal_places(metric), unit(metric)
    sign = " %" if display_scale(metric) == 100.0 else ""
    name = "The baseline" if base["arm"] == "baseline" else f"The baseline, {base['arm']},"
    if not base["n"]:
        return [f"{name} has no finished run with a {what}, so no arm can be judged."]
    verb = "has" if metric in COLUMNS else "reaches"
    mean = f"{name} {verb} a {what} of {decimals(base['mean'], places)}{sign}"
    if base["n"] == 1:
        return [f"{mean} (one seed)."]
    return [f"{mean} (mean of {base['n']} seeds, standard deviation {decimals(base['sd'], places)}{sd_unit})."]


def _claims(judgement: Judgement) -> list[str]:
    claims = judgement.claims
    restated = [RESTATED] if earlier_hashes(judgement.selection) else []
    if claims.empty:
        return restated  # all claims may have been removed
    late = int(claims["changed_after_start"].sum())
    own = claims[~claims["changed_after_start"].astype(bool)]
    was, counts_as = ("was", "counts") if late == 1 else ("were", "count")
    changed = (
        f"{late} {'more ' if len(own) else ''}{was} changed after the first run started and {counts_as} as exploratory"
    )
    if own.empty:
        return [f"No claim stands as it did before the runs: {changed}."]
    counts = own["verdict"].value_counts()
    parts = ", ".join(words.format(counts[verdict]) for verdict, words in CLAIM_TEXT.items() if verdict in counts)
    stated = f"Claims as stated before the runs, {len(own)} in all: {parts}{f'; {changed}' if late else ''}."
    return [" ".join([stated, *([] if late else restated)])]


def _single_arm(judgement: Judgement) -> list[str]:
    effects = judgement.effects
    if len(effects) > 1:
        return []
    return [f"{effects.iloc[0]['arm']} is the only arm, so there is nothing to compare it with."]


def _decided_arms(judgement: Judgement) -> list[str]:
    metric, sentences = judgement.metric, []
    rope = judgement.selection.rope if display_scale(metric) == 100.0 else math.nan
    for verdict, words in (DECIDED_EFFECTS if is_main_first(judgement) else DECIDED).items():
        rows = rows_of_verdict(judgement, verdict)
        parts = []
        for _, row in _largest(rows).iterrows():
            notes = [f"{p_name(row)} p {_p_text(row['p_holm'])}"]
            notes += [f"less than {rope:g} points"] if max(abs(row["ci_low"]), abs(row["ci_high"])) < rope else []
            parts.append(f"{row['arm']} by {_size(row, metric)} ({', '.join([*notes, *_remarks(row, judgement)])})")
        sentences += [f"{words}: {'; '.join(parts)}{_more(rows)}."] if parts else []
    return sentences


def _equivalent_arms(judgement: Judgement) -> list[str]:
    rows = rows_of_verdict(judgement, "equivalent")
    if rows.empty:
        return []
    remarks = [", ".join(_remarks(row, judgement)) for _, row in rows.iterrows()]
    named = [f"{arm} ({remark})" if remark else arm for arm, remark in zip(rows["arm"], remarks, strict=True)]
    within = f"{judgement.selection.rope:g} points (two one-sided tests, 5 %)"
    begin = "No difference beyond" if is_main_first(judgement) else "Equivalent to it within"
    return [f"{begin} {within}: {', '.join(named[:MAX_NAMED])}{_more(rows)}."]


def _undecided_arms(judgement: Judgement) -> list[str]:
    rows = rows_of_verdict(judgement, "undecided")
    if rows.empty:
        return []
    parts = "; ".join(_undecided(row, judgement) for _, row in _largest(rows).iterrows())
    # Seeds added until something is found would find something: these numbers are for planning only.
    fresh = "; to decide, run that many in a fresh study" if "would decide" in parts else ""
    return [f"The data do not decide about {parts}{_more(rows)}: neither a difference nor its absence is shown{fresh}."]


def _undecided(row: pd.Series, judgement: Judgement) -> str:
    # An interval without zero is no finding: it is not adjusted for the number of arms, the p is.
    notes = [_size(row, judgement.metric)]
    notes += [] if math.isnan(row["p_holm"]) else [f"{p_name(row)} p {_p_text(row['p_holm'])}"]
    notes += _remarks(row, judgement)
    needed = row["seeds_needed"]
    notes += [] if math.isnan(needed) else [f"about {seeds_text(row)} seeds in all would decide"]
    return f"{row['arm']} ({', '.join(notes)})"


def _one_seed_arms(judgement: Judgement) -> list[str]:
    rows = rows_of_verdict(judgement, "single")
    if rows.empty:
        return []
    parts = "; ".join(f"{row['arm']} {_size(row, judgement.metric)}" for _, row in _largest(rows).iterrows())
    return [f"With one shared seed there is a difference but no measure of how sure it is: {parts}{_more(rows)}."]


def _missing_arms(judgement: Judgement) -> list[str]:
    rows = rows_of_verdict(judgement, "missing")
    if rows.empty:
        return []
    if is_main_first(judgement):
        return [f"No seed finished in all arms that they use, so nothing can be said about {_names(rows)}."]
    return [f"No finished run shares a seed with the baseline, so nothing can be said about {_names(rows)}."]


def _new_images(judgement: Judgement) -> list[str]:
    images = whole_images(judgement)
    if images.empty or judgement.metric != DEFAULT_METRIC:
        return []
    merged = images.merge(judgement.effects[["arm", "verdict"]], on="arm")
    lost = merged[merged["verdict"].isin(["helps", "hurts"]) & (merged["image_low"] < 0) & (merged["image_high"] > 0)]
    if lost.empty:
        return []
    return [f"On other test images the sign could differ for {_names(lost)}: that interval contains zero."]


def _implausible(judgement: Judgement) -> list[str]:
    return implausible(judgement.selection)


def _power(judgement: Judgement) -> list[str]:
    power = judgement.power
    if power is None or display_scale(judgement.metric) != 100.0 or judgement.selection.sequence is not None:
        return []
    seeds = f"{power.seeds} seeds"
    if power.most_seeds > power.fewest_seeds:
        seeds += f" (as most arms have; {power.fewest_seeds} to {power.most_seeds} of single ones)"
    effect = _among(power, power.effect, power.arms, "arm")
    if power.questions:
        effect = f"{_among(power, power.question_effect, power.questions, 'effect')} (a single arm: {effect})"
    if power.claims:
        effect = f"{_among(power, power.claims_effect, power.claims, 'claim')}, or of {effect}"
    return [
        f"With {seeds} this study finds with 80 % power a difference of {effect}, as far as its spread is known (95 % "
        "interval); smaller ones may be missed."
    ]


def _pooling(judgement: Judgement) -> list[str]:
    return pooling_findings(judgement.effects)


def _finished(judgement: Judgement) -> list[str]:
    statuses = judgement.selection.cells["status"]
    statuses = statuses[statuses != NOT_NEEDED]
    bad = statuses[statuses != "done"].value_counts().sort_index()
    runs = _count(len(statuses), "run")
    if bad.empty:
        return [f"All {runs} finished." if len(statuses) > 1 else "The one run finished."]
    if statuses.isin(UNFINISHED).any():
        return []  # the first sentence counts them
    parts = ", ".join(f"{number} {status}" for status, number in bad.items())
    return [f"{len(statuses) - bad.sum()} of {runs} finished ({parts}); see Health."]


def _interactions(judgement: Judgement) -> list[str]:
    found = judgement.factorial
    if found is None or found.interactions.empty:
        return [found.removal] if found else []
    p, rows = additive_p(found), found.interactions
    if "family" in rows:  # those that the study names have their own finding
        rows = rows[rows["family"] == "exploratory"]
        p = float(rows["p_holm"].min()) if len(rows) else math.nan
        if rows.empty:
            return []
    if p < 0.05:
        row = rows.loc[rows["p_holm"].idxmin()]
        difference = format_effect(row["effect"], row["ci_low"], row["ci_high"], judgement.metric)
        return [
            f"Effects do not add up: {interaction_name(row)} at {row['levels']} differ from the sum by {difference}."
        ]
    return [f"No interaction is significant (smallest Holm p {_p_text(p)}), which does not show that effects add up."]


def _placebo_alarm(judgement: Judgement) -> list[str]:
    """Return the sentence about placebos that differ significantly from the baseline."""
    rows = placebo_rows(judgement)
    parts = [
        f"{row['arm']} by {_size(row, judgement.metric)}, p {_p_text(row['p'])}"
        for _, row in rows[rows["p"] < ALPHA].iterrows()
    ]
    if not parts:
        return []
    return [
        "Alarm: a placebo, which is the baseline with other random streams, differs significantly from it: "
        f"{'; '.join(parts)}; by chance 1 of 20 does, else runs are mixed up, so check the records before trusting "
        "any verdict."
    ]


def _placebo(judgement: Judgement) -> list[str]:
    """Return the sentence about the first placebo, if it differs by no more than chance."""
    rows = placebo_rows(judgement)
    sentences = []
    for _, row in rows[~(rows["p"] < ALPHA)].head(1).iterrows():
        p = f", p {_p_text(row['p'])}" if not math.isnan(row["p"]) else ""
        name = "The placebo" if row["arm"] == "placebo" else f"The placebo {row['arm']}"
        effect = f"{_size(row, judgement.metric)}{p}"
        sentences.append(f"{name} (the baseline with other random streams) got an effect of {effect}, which is chance.")
    return sentences


FINDING_RULES = (
    (0, lambda judgement: judgement.selection.alarms),
    (0, _placebo_alarm),
    (1, _interim),
    (1, _extension),
    (1, lambda judgement: looks_sentences(judgement.selection)),
    (1, _baseline),
    (1, _claims),
    (1, _single_arm),
    (1, _decided_arms),
    (1, _equivalent_arms),
    (1, _pooling),
    (1, _undecided_arms),
    (1, _one_seed_arms),
    (1, _missing_arms),
    (1, _implausible),
    (3, secondary_arms),
    (1, tuning_findings),
    (2, _new_images),
    (2, _power),
    (3, _finished),
    (4, _interactions),
    (5, _placebo),
)
"""Rank (0 is never cut, 1 is the most important) and function from a judgement to sentences, in reading order."""


def placebo_sentences(judgement: Judgement) -> list[str]:
    """Return the placebo's effect and the chance of false findings that it stands for; empty without a placebo."""
    rows, tests = placebo_rows(judgement), len(judgement.selection.family())
    if rows.empty:
        return []
    significant = f"By itself it {'would' if (rows['p'] < ALPHA).any() else 'would not'} have been called significant"
    families = "each family: the claims, and all arms" if judgement.selection.claims else "the family of all arms"
    if is_main_first(judgement):
        families = "each family: the claims, the main effects, and all arms"
    return [
        *_placebo_alarm(judgement),
        *_placebo(judgement),
        f"{significant} at 5 %." if rows["p"].notna().any() else "With one seed there is no test of it.",
        f"With {_count(tests, 'arm')} tested at 5 % each and nothing to find, the chance of at least one false finding "
        f"would be {100 * family_error(tests):.0f} % if the tests were independent; Holm keeps it at or below 5 % "
        f"within {families}.",
    ]


def rows_of_verdict(judgement: Judgement, verdict: str) -> pd.DataFrame:
    """Return the main effects of a factorial design, else the effects of arms but baseline and placebos, so judged."""
    if judgement.factorial is not None and is_main_first(judgement):
        return named_effects(judgement.factorial, verdict)
    effects = judgement.effects
    arms = effects[(effects["role"] == "arm") & (effects["arm"] != judgement.selection.baseline)]
    return arms[arms["verdict"] == verdict]


def _remarks(row: pd.Series, judgement: Judgement) -> list[str]:
    """Return what a verdict must be read with: that no claim is about it, and that seeds are missing."""
    parts = ["exploratory"] if row["family"] == "exploratory" else []
    selection = judgement.selection
    pair = row["uses"].split() if "uses" in row else (row["arm"], selection.baseline)
    planned, lost = planned_seeds(selection, *pair), lost_runs(selection, *pair)
    if row["pairs"] < planned:
        parts.append(f"on {row['pairs']:.0f} of {planned} seeds{f': {lost} left out' if lost else ''}")
    parts += [WITHDRAWN.format(row["verdict_finished"])] if is_withdrawn(row) else []
    return parts + pooling_remark(row)


def is_withdrawn(row: pd.Series) -> bool:
    """Return True if lost runs, counted as chance, take back the verdict of the finished ones."""
    return row.get("verdict_finished", "") in ("helps", "hurts", "equivalent") and row["verdict"] == "undecided"


def _among(power: Power, effect: float, number: int, noun: str) -> str:
    size = f"{decimals(effect)} points {bounds(*power.ends(effect))}".strip()
    return f"{size} {'among' if number > 1 else 'for'} {_count(number, noun)}"


def p_name(row: pd.Series) -> str:
    """Return the name of the correction of a verdict's p: Dunnett for arms under a pooled error, else Holm."""
    is_arm = row["family"] in ("arms", "secondary", "exploratory") and "p_holm_paired" in row
    return "Dunnett" if is_arm and row["joint_low"] > -math.inf and row["pooling"] in ("pooled", "doubtful") else "Holm"


def _size(row: pd.Series, metric: str) -> str:
    return format_effect(row["delta"], row["ci_low"], row["ci_high"], metric)


def _largest(rows: pd.DataFrame) -> pd.DataFrame:
    order = rows["delta"].abs().sort_values(ascending=False, kind="stable").index
    return rows.loc[order].head(MAX_NAMED)


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(rows["arm"].head(MAX_NAMED)) + _more(rows)


def _more(rows: pd.DataFrame) -> str:
    rest = len(rows) - MAX_NAMED
    return f" and {rest} more" if rest > 0 else ""


def _p_text(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
