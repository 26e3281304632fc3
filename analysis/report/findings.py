"""Three to ten sentences, written from the numbers, that say what was found and what was not.

A difference that is not significant is never called absent: an arm is `equivalent` only if a test says that its effect
lies within the ROPE, else it is `undecided` and the sentence says what it would take to know.
"""

import math
import re

import pandas as pd

from ..attention.measures import COLUMNS
from ..records.selection import DEFAULT_METRIC, Selection
from ..statistics.attrition import lost_runs, planned_seeds
from ..statistics.changed_later import RESTATED, earlier_hashes, extension_sentence
from ..statistics.effects import display_scale
from ..statistics.factorial import additive_p, format_effect, interaction_name
from ..statistics.judgement import Judgement, family_error, placebo_rows
from ..text import decimals, format_ranges, integer, interval, p_value, signed

MAX_NAMED = 4
MAX_SENTENCES = 10
UNFINISHED = ("planned", "running", "interrupted")
CLAIM_WORDS = {
    "supported": "{} supported",
    "contradicted": "{} contradicted",
    "not supported": "{} not supported",
    "undecided": "{} undecided",
    "single": "{} with one seed so far, which cannot be judged",
    "missing": "{} without the runs that it needs",
    "not testable": "{} that cannot be tested here",
}


def findings(judgement: Judgement) -> list[str]:
    """The sentences in reading order; if there are too many, the least important ones are left out."""
    effects, selection = judgement.effects, judgement.selection
    if effects.empty:
        return [
            "No cell with a readable record was found.",
            "There is nothing to compare and nothing to draw.",
            f"{_count(len(judgement.problems), 'problem')} with reading the directory are listed under Health.",
        ]
    said = [(1, interim_sentence(selection)), (1, extension_sentence(selection))]
    said += [(1, _baseline(effects.iloc[0], judgement.metric)), (1, _claims(judgement))]
    if len(effects) == 1:
        said.append((1, f"{effects.iloc[0]['arm']} is the only arm, so there is nothing to compare it with."))
    said += [(1, sentence) for sentence in _arms(judgement)]
    said += [(2, _images(judgement)), (2, _power(judgement)), (3, _health(selection))]
    said += [(4, sentence) for sentence in _interactions(judgement)] + [(5, s) for s in _placebo(judgement)]
    return most_important([(rank, sentence) for rank, sentence in said if sentence])


def most_important(said: list[tuple[int, str]]) -> list[str]:
    """Those sentences of the lowest ranks that together have no more than MAX_SENTENCES full stops, in their order."""
    kept: set[int] = set()
    room = MAX_SENTENCES
    for place, (_, text) in sorted(enumerate(said), key=lambda item: (item[1][0], item[0])):
        room -= len(re.findall(r"\.(?= |$)", text))
        if room < 0:
            break
        kept.add(place)
    return [text for place, (_, text) in enumerate(said) if place in kept]


def interim_sentence(selection: Selection) -> str:
    """That runs are still to come, so that verdicts are looks in between; empty when all have ended."""
    statuses = selection.cells["status"]
    if not statuses.isin(UNFINISHED).any():
        return ""
    bad = statuses[statuses != "done"].value_counts().sort_index()
    parts = ", ".join(f"{number} {'not started' if status == 'planned' else status}" for status, number in bad.items())
    so = ", so verdicts are provisional: p values hold for a number of seeds fixed in advance, not for looks in between"
    finished = f"{(statuses == 'done').sum()} of {_count(len(statuses), 'run')} finished ({parts}; see Health)"
    return f"Interim: {finished}{so if len(selection.arms) > 1 else ''}."


def _baseline(base: pd.Series, metric: str) -> str:
    usual = metric == DEFAULT_METRIC
    what, places, sign, sd_unit = ("test accuracy", 2, " %", " points") if usual else (metric, 4, "", "")
    name = "The baseline" if base["arm"] == "baseline" else f"The baseline, {base['arm']},"
    if not base["n"]:
        return f"{name} has no finished run with a {what}, so no arm can be judged."
    verb = "has" if metric in COLUMNS else "reaches"
    mean = f"{name} {verb} a {what} of {decimals(base['mean'], places)}{sign}"
    if base["n"] == 1:
        return f"{mean} (one seed)."
    return f"{mean} (mean of {base['n']} seeds, standard deviation {decimals(base['sd'], places)}{sd_unit})."


def _claims(judgement: Judgement) -> str:
    claims = judgement.claims
    if claims.empty:
        # All of them may have been taken away.
        return RESTATED if earlier_hashes(judgement.selection) else ""
    late = int(claims["changed_after_start"].sum())
    own = claims[~claims["changed_after_start"].astype(bool)]
    counts = own["verdict"].value_counts()
    parts = ", ".join(words.format(counts[verdict]) for verdict, words in CLAIM_WORDS.items() if verdict in counts)
    more = f"{late} {'more ' if len(own) else ''}{'was' if late == 1 else 'were'} changed after the first run started"
    more += f" and {'counts' if late == 1 else 'count'} as exploratory"
    if own.empty:
        return f"No claim stands as it did before the runs: {more}."
    said = f"Claims as stated before the runs, {len(own)} in all: {parts}{f'; {more}' if late else ''}."
    return said if late or not earlier_hashes(judgement.selection) else f"{said} {RESTATED}"


def _arms(judgement: Judgement) -> list[str]:
    effects, selection = judgement.effects, judgement.selection
    arms = effects[(effects["role"] == "arm") & (effects["arm"] != selection.baseline)]
    arms = arms.assign(remark=[_remark(row, selection) for _, row in arms.iterrows()])
    of = {verdict: rows for verdict, rows in arms.groupby("verdict", sort=False)}
    metric = judgement.metric
    rope = selection.rope if display_scale(metric) == 100.0 else math.nan
    titles = {"helps": "Better than", "hurts": "Worse than", "differs": "Different from"}
    said = [_decided(of[verdict], words, rope, metric) for verdict, words in titles.items() if verdict in of]
    if "equivalent" in of:
        rows = of["equivalent"]
        named = ", ".join(f"{row['arm']}{_bracket(row['remark'])}" for _, row in rows.head(MAX_NAMED).iterrows())
        said.append(
            f"Equivalent to it within {selection.rope:g} points (two one-sided tests, 5 %): {named}{_more(rows)}."
        )
    if "undecided" in of:
        parts = "; ".join(_undecided(row, metric) for _, row in _largest(of["undecided"]).iterrows())
        # Seeds added until something is found would find something: what was seen counts for planning only.
        fresh = "; to decide, run that many in a fresh study" if "would decide" in parts else ""
        said.append(
            f"The data do not decide about {parts}{_more(of['undecided'])}: neither a difference nor its absence is "
            f"shown{fresh}."
        )
    if "single" in of:
        parts = "; ".join(f"{r['arm']} {_size(r, metric)}" for _, r in _largest(of["single"]).iterrows())
        said.append(
            "With one shared seed there is a difference but no measure of how sure it is: "
            f"{parts}{_more(of['single'])}."
        )
    if "missing" in of:
        named = _names(of["missing"])
        said.append(f"No finished run shares a seed with the baseline, so nothing can be said about {named}.")
    return said


def _remark(row: pd.Series, selection: Selection) -> str:
    """What a verdict must not be read without: that it is of no claim, and that seeds are missing."""
    parts = ["exploratory"] if row["family"] == "exploratory" else []
    pair = (row["arm"], selection.baseline)
    planned, lost = planned_seeds(selection, *pair), lost_runs(selection, *pair)
    if row["pairs"] < planned:
        parts.append(f"on {row['pairs']:.0f} of {planned} seeds{f': {lost} left out' if lost else ''}")
    return ", ".join(parts)


def _bracket(remark: str) -> str:
    return f" ({remark})" if remark else ""


def _decided(rows: pd.DataFrame, words: str, rope: float, metric: str) -> str:
    parts = []
    for _, row in _largest(rows).iterrows():
        notes = [f"Holm p {_with_sign(row['p_holm'])}"]
        notes += [f"less than {rope:g} points"] if max(abs(row["ci_low"]), abs(row["ci_high"])) < rope else []
        notes += [row["remark"]] if row["remark"] else []
        parts.append(f"{row['arm']} by {_size(row, metric)} ({', '.join(notes)})")
    return f"{words} the baseline: {'; '.join(parts)}{_more(rows)}."


def _undecided(row: pd.Series, metric: str) -> str:
    needed = row["seeds_needed"]
    # An interval without zero is no finding: it is not adjusted for the number of arms, the p is.
    notes = [_size(row, metric), *([] if math.isnan(row["p_holm"]) else [f"Holm p {_with_sign(row['p_holm'])}"])]
    notes += [row["remark"]] if row["remark"] else []
    notes += [] if math.isnan(needed) else [f"about {integer(needed)} seeds in all would decide"]
    return f"{row['arm']} ({', '.join(notes)})"


def _health(selection: Selection) -> str:
    cells = selection.cells
    bad = cells[cells["status"] != "done"]["status"].value_counts().sort_index()
    if bad.empty:
        return f"All {_count(len(cells), 'run')} finished." if len(cells) > 1 else "The one run finished."
    if cells["status"].isin(UNFINISHED).any():
        return ""  # said first of all
    parts = ", ".join(f"{number} {status}" for status, number in bad.items())
    return f"{len(cells) - bad.sum()} of {_count(len(cells), 'run')} finished ({parts}); see Health."


def _placebo(judgement: Judgement) -> list[str]:
    said = []
    for _, row in placebo_rows(judgement).iterrows():
        p = f", p {_with_sign(row['p'])}" if not math.isnan(row["p"]) else ""
        name = "The placebo" if row["arm"] == "placebo" else f"The placebo {row['arm']}"
        found = f"{_size(row, judgement.metric)}{p}"
        said.append(f"{name} (the baseline with other random streams) got an effect of {found}, which is chance.")
    return said[:1]


def placebo_sentences(judgement: Judgement) -> list[str]:
    """What the placebo got and what it says about the family's error; empty without a placebo."""
    rows, tests = placebo_rows(judgement), len(judgement.selection.family())
    if rows.empty:
        return []
    found = rows[rows["p"] < 0.05]
    said = _placebo(judgement)
    said.append(
        f"By itself it {'would' if len(found) else 'would not'} have been called significant at 5 %."
        if rows["p"].notna().any()
        else "With one seed there is no test of it."
    )
    families = "each family: the claims, and all arms" if judgement.selection.claims else "the family of all arms"
    said.append(
        f"With {_count(tests, 'arm')} tested at 5 % each and nothing to find, the chance of at least one false finding "
        f"would be {100 * family_error(tests):.0f} % if the tests were independent; Holm keeps it at or below 5 % "
        f"within {families}."
    )
    return said


def _interactions(judgement: Judgement) -> list[str]:
    found = judgement.factorial
    if found is None or found.interactions.empty:
        return [found.removal] if found else []
    p, rows = additive_p(found), found.interactions
    if p < 0.05:
        row = rows.loc[rows["p_holm"].idxmin()]
        much = f"{signed(row['effect'])} points {interval(row['ci_low'], row['ci_high'])}"
        return [f"Effects do not add up: {interaction_name(row)} at {row['levels']} differ from the sum by {much}."]
    return [
        f"No interaction is significant (smallest Holm p {_with_sign(p)}), which does not show that effects add up."
    ]


def _images(judgement: Judgement) -> str:
    images = judgement.images
    if images.empty or not len(judgement.effects):
        return ""
    merged = images.merge(judgement.effects[["arm", "verdict"]], on="arm")
    lost = merged[merged["verdict"].isin(["helps", "hurts"]) & (merged["image_low"] < 0) & (merged["image_high"] > 0)]
    if lost.empty:
        return ""
    return f"On other test images the sign could differ for {_names(lost)}: that interval contains zero."


def _power(judgement: Judgement) -> str:
    power = judgement.power
    if power is None or display_scale(judgement.metric) != 100.0:
        return ""
    seeds = f"{power.seeds} seeds{' (of the arm with the fewest)' if power.most_seeds > power.seeds else ''}"
    effect = _among(power.effect, power.arms, "arm")
    if power.claims:
        effect = f"{_among(power.claims_effect, power.claims, 'claim')}, or of {effect}"
    return f"With {seeds} this study finds with 80 % power a difference of {effect}; smaller ones may be missed."


def _among(effect: float, number: int, what: str) -> str:
    return f"{decimals(effect)} points {'among' if number > 1 else 'for'} {_count(number, what)}"


def seeds_sentence(judgement: Judgement) -> str:
    """Which seeds, and the smallest p that the sign-flip test can reach with them."""
    cells = judgement.selection.cells
    pairs = judgement.effects["pairs"].max()
    shown = f"Seeds {format_ranges(sorted(set(cells['seed'])))}."
    if not pairs > 1:
        return shown
    return f"{shown} With {int(pairs)} pairs the sign-flip p cannot be below {2 ** (1 - int(pairs)):.3g}."


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


def _with_sign(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
