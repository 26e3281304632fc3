"""The caption of a table for a paper: what was measured on how many seeds, and how intervals and p values were made."""

import pandas as pd

from vitsweep.study.published import scale_sentence
from vitsweep.study.status import NOT_NEEDED

from ...attention.measures import COLUMNS
from ...records.selection import Selection
from ...statistics.claims import family_size
from ...statistics.effects import display_scale, metric_text
from ...statistics.judgement import Judgement
from ...text import NO_BREAK, PLUS_MINUS
from ..findings import UNFINISHED
from ..health import data_names
from .fit import PaperColumn

MAKERS = {
    "paired": "compared seed by seed (paired t interval and test)",
    "pooled": "with one error pooled over the arms (t interval and test)",
    "welch": "unpaired (Welch's t interval and test)",
}
"""Error of the study -> how differences are estimated."""
VERDICTS = {
    "helps": "helps, hurts: adjusted p < 0.05",
    "hurts": "helps, hurts: adjusted p < 0.05",
    "differs": "differs: adjusted p < 0.05",
    "equivalent": "equivalent: two one-sided t tests place the difference within {rope:g} points",
    "undecided": "undecided: neither a difference nor equivalence is shown",
    "single": "single: one shared seed, so no test",
    "missing": "missing: no shared seed",
}
EMPTY_LEVEL = "An empty cell is the baseline's level."
PLACEBO = "The placebo is the baseline again under other random streams."


def title(judgement: Judgement) -> str:
    """Return the short caption: metric, moment, data and study."""
    moment = "with the lowest validation loss" if judgement.metric in COLUMNS else "at the last epoch"
    data = ", ".join(data_names(judgement.selection.cells))
    study = f", study {judgement.selection.study}" if judgement.selection.study else ""
    return f"{metric_text(judgement.metric).capitalize()} {moment}{f' on {data}' if data else ''}{study}."


def p_title(judgement: Judgement) -> str:
    """Return the heading of the adjusted p values."""
    return f"{'adjusted' if judgement.selection.error == 'pooled' else 'Holm'}{NO_BREAK}p"


def caption(judgement: Judgement, frame: pd.DataFrame, columns: list[PaperColumn], notes: list[str]) -> str:
    """Return the long caption, which says only what the shown columns need.

    Args:
        frame: the effects, in the order of the rows.
        notes: sentences for the end.
    """
    shown, selection = {column.key for column in columns}, judgement.selection
    parts = [title(judgement)]
    parts += [_means(frame)] if "mean" in shown and len(frame) else []
    parts += [_differences(judgement)] if "difference" in shown and len(frame) > 1 else []
    parts += [_p_values(judgement)] if "p" in shown and len(frame) > 1 else []
    parts += _verdicts(selection, frame) if "verdict" in shown else []
    is_empty = any("" in column.cells for column in columns if column.turn)
    parts += [EMPTY_LEVEL] if is_empty else []
    parts += [PLACEBO] if (frame["role"] == "placebo").any() else []
    scale = scale_sentence(selection.scale)
    parts += [f"This is {scale}."] if scale else []
    return " ".join([*parts, *_limits(judgement), *notes])


def _means(frame: pd.DataFrame) -> str:
    numbers = sorted(set(frame["n"].astype(int)))
    if numbers == [1]:
        return "One seed."
    seeds = f"{numbers[0]} seeds" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"
    return f"Mean {PLUS_MINUS} standard deviation over {seeds}."


def _differences(judgement: Judgement) -> str:
    selection = judgement.selection
    unit = ", in percentage points" if display_scale(judgement.metric) == 100.0 else ""
    how = MAKERS[selection.error]
    if selection.sequence is not None:
        how = "with repeated confidence intervals, which hold at all looks together"
    return f"Differences are to {selection.baseline}{unit}, {how}; intervals are not adjusted for the number of arms."


def _p_values(judgement: Judgement) -> str:
    selection = judgement.selection
    arms = len(selection.family())
    way = "Dunnett's step-down procedure" if selection.error == "pooled" else "Holm's procedure"
    if selection.sequence is not None:
        way = "the group-sequential Holm procedure"
    over = f"{arms} arm{'' if arms == 1 else 's'} of the plan"
    if (judgement.effects["family"] == "claims").any():
        claims = family_size(selection)
        stated = f"{claims} claim{'' if claims == 1 else 's'} stated before the runs"
        return (
            f"p of arms that a claim is about: adjusted by Holm's procedure over the {stated}; of the others "
            f"(exploratory): by {way} over the {over}."
        )
    return f"p: adjusted by {way} over the {over}."


def _verdicts(selection: Selection, frame: pd.DataFrame) -> list[str]:
    found = [VERDICTS[verdict] for verdict in VERDICTS if verdict in set(frame["verdict"])]
    words = "; ".join(dict.fromkeys(found)).format(rope=selection.rope)
    return [f"{words[0].upper()}{words[1:]}."] if words else []


def _limits(judgement: Judgement) -> list[str]:
    """Return sentences about runs that are missing, lost or left out."""
    selection = judgement.selection
    statuses = selection.cells["status"]
    statuses = statuses[statuses != NOT_NEEDED]
    done, lines = int((statuses == "done").sum()), []
    if statuses.isin(UNFINISHED).any():
        lines.append(f"Interim: {done} of {len(statuses)} runs finished, so p values and verdicts are provisional.")
    elif done < len(statuses):
        lines.append(f"{done} of {len(statuses)} runs finished; those that failed or diverged have no value.")
    if selection.alarms:
        lines.append("Some runs or arms are not as planned or are left out: the report names them.")
    return lines
