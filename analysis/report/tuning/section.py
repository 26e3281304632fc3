"""Items and sentences of the section Tuning; without a search there are none."""

import math

import pandas as pd

from ...records.tuning import setting_text
from ...statistics.effects import decimal_places, metric_text, unit
from ...statistics.factorial import format_effect
from ...statistics.judgement import Judgement
from ...statistics.tuning.own_settings import Tuning
from ...text import DASH, decimals, integer, interval, p_value, signed, text_or_dash
from ..page import Bullets, FigureItem, TableItem
from ..tables import Column, Table
from .figures import search_figure

CONDITIONAL = (
    "Intervals at the arms' own settings are conditional on the settings found: another search, on other seeds, might "
    "find others, and no interval contains that. They are a second family, adjusted by itself."
)
ONE_SIDED = (
    "A conclusion that holds at one setting only does not show that the effect differs between them; the column change "
    "has the difference of the two effects on shared seeds, with its own 95 % t interval."
)


def tuning_items(judgement: Judgement) -> list:
    """Return sentences, the arms at both settings, the claims at both, and the search's figure."""
    tuning = judgement.tuning
    if tuning is None:
        return []
    items: list = [Bullets(lines=[*flip_sentences(judgement), *search_sentences(tuning), CONDITIONAL, ONE_SIDED])]
    items.append(TableItem(table=settings_table(judgement, tuning)))
    if len(tuning.claims):
        items.append(TableItem(table=claims_table(tuning)))
    figure = search_figure(judgement, tuning)
    return items + ([FigureItem(figure=figure)] if figure else [])


def tuning_findings(judgement: Judgement) -> list[str]:
    """Return the sentences for Findings: conclusions that change with the setting, and best values at an edge."""
    tuning = judgement.tuning
    return [*flip_sentences(judgement), *edge_sentences(tuning)] if tuning else []


def flip_sentences(judgement: Judgement) -> list[str]:
    """Return what becomes of the conclusions when each arm has its own setting."""
    tuning = judgement.tuning
    if tuning is None:
        return []
    fields = ", ".join(parameter.key for parameter in tuning.search.parameters)
    if not tuning.is_complete:
        return [f"The study at each arm's own setting of {fields} has not finished, so effects hold at the baseline's."]
    rows = tuning.arms[tuning.arms["conclusion"].isin(["reversed", "gone", "new", "changed"])]
    shifted = [_shift(row, judgement.metric) for _, row in tuning.arms.iterrows() if _has_shifted(row)]
    size = f" Effects that differ between the settings: {'; '.join(shifted)}." if shifted else ""
    if rows.empty:
        return [f"No verdict changes when each arm has its own setting of {fields}.{size}"]
    parts = [f"{row['arm']} {_both(row, judgement.metric)}" for _, row in rows.iterrows()]
    return [f"With each arm at its own setting of {fields} verdicts change: {'; '.join(parts)}.{size}"]


def _has_shifted(row: pd.Series) -> bool:
    """Return whether the interval of the change lies on one side of zero."""
    return row["change_low"] > 0 or row["change_high"] < 0


def _shift(row: pd.Series, metric: str) -> str:
    places = decimal_places(metric)
    both = f"{signed(row['delta'], places)} and {signed(row['own_delta'], places)}{unit(metric)}"
    change = format_effect(row["change"], row["change_low"], row["change_high"], metric)
    return f"{row['arm']} {both} (change {change}, not adjusted)"


def _both(row: pd.Series, metric: str) -> str:
    effects = [format_effect(row[f"{p}delta"], row[f"{p}ci_low"], row[f"{p}ci_high"], metric) for p in ("", "own_")]
    return f"{row['verdict']} at the baseline's ({effects[0]}), {row['own_verdict']} at its own ({effects[1]})"


def edge_sentences(tuning: Tuning) -> list[str]:
    """Return a sentence if best values lie at an edge of their range."""
    rows = tuning.arms[tuning.arms["edge"] != ""]
    if rows.empty:
        return []
    parts = "; ".join(f"{row['arm']} {row['edge']}" for _, row in rows.iterrows())
    return [f"Best values at the edge of their range, beyond which better ones may lie: {parts}."]


def search_sentences(tuning: Tuning) -> list[str]:
    """Return the search's protocol and cost, what is missing of it, and best values at an edge."""
    search, arms = tuning.search, tuning.arms
    sizes = tuning.trials.groupby("arm").size()
    most = int(sizes.max()) if len(sizes) else 0
    seeds = f" on {len(search.seeds)} seeds each" if len(search.seeds) > 1 else ""
    lines = [
        f"Every arm had the same search: {most} settings{seeds} by {search.sampler}, of seeds that the study does not "
        f"use, chosen by {metric_text(search.metric)} at the last epoch; no test image was scored.",
        f"Cost of the search: {tuning.num_runs} runs, {decimals(tuning.hours, 3)} core-hours; of the study at both "
        f"settings {decimals(tuning.study_hours, 3)} core-hours.",
        *edge_sentences(tuning),
    ]
    if not search.contains(tuning.baseline):
        lines.append(
            f"The baseline's setting ({setting_text(tuning.baseline)}) lies outside the space and was not tried."
        )
    lacking = arms[arms["trials"] < most]
    if len(lacking):
        parts = ", ".join(f"{row['arm']} {row['trials']} of {most}" for _, row in lacking.iterrows())
        lines.append(f"Trials with a value are missing, so these arms had less of a search: {parts}.")
    return lines


def settings_table(judgement: Judgement, tuning: Tuning) -> Table:
    """Return the arms with their effects at the baseline's setting and at their own, side by side."""
    metric = judgement.metric
    places = decimal_places(metric)

    def effect(prefix: str) -> Column:
        def show(row: dict) -> str:
            low, high = row[f"{prefix}ci_low"], row[f"{prefix}ci_high"]
            return f"{signed(row[f'{prefix}delta'], places)} {interval(low, high, places)}".strip()

        place = "own setting" if prefix else "baseline's setting"
        return Column(f"effect at the {place}", show, f"{prefix}delta", keep=True)

    columns = [
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        effect(""),
        Column("Holm p", lambda r: p_value(_number(r["p_holm"])), "p_holm"),
        Column("verdict", lambda r: text_or_dash(r["verdict"]), "verdict", numeric=False, keep=True),
        Column("own setting", lambda r: text_or_dash(r["setting"]), "setting", numeric=False, keep=True),
        effect("own_"),
        Column("Holm p", lambda r: p_value(_number(r["own_p_holm"])), "own_p_holm"),
        Column("verdict", lambda r: text_or_dash(r["own_verdict"]), "own_verdict", numeric=False, keep=True),
        Column("change", lambda r: _change(r, places), "change", keep=True),
        Column("conclusion", lambda r: text_or_dash(r["conclusion"]), "conclusion", numeric=False, keep=True),
        Column("at an edge", lambda r: text_or_dash(r["edge"]), "edge", numeric=False),
        Column("trials", lambda r: integer(r["trials"]), "trials"),
    ]
    what = f"{metric_text(metric)}{' in percent points' if unit(metric) else ''}"
    return Table(
        name="tuning",
        title="Arms at both settings",
        caption=f"Effect on the {what}, first with all arms at the baseline's setting "
        f"({setting_text(tuning.baseline)}), then with each arm, the baseline too, at the setting that its own search "
        "found.",
        frame=tuning.arms,
        columns=columns,
    )


def claims_table(tuning: Tuning) -> Table:
    """Return the claims' verdicts at both settings."""
    columns = [
        Column("claim", lambda r: r["claim"], "claim", numeric=False, keep=True, wrap=True),
        Column("at the baseline's setting", lambda r: r["verdict"], "verdict", numeric=False, keep=True),
        Column("at the arms' own settings", lambda r: r["own_verdict"], "own_verdict", numeric=False, keep=True),
    ]
    return Table(
        name="tuning-claims",
        title="Claims at both settings",
        caption="Verdict of each claim at the baseline's setting, which the section Claims explains, and at the arms' "
        "own settings, which the report in tuned/report explains.",
        frame=tuning.claims,
        columns=columns,
    )


def _change(row: dict, places: int) -> str:
    if math.isnan(row["change"]):
        return DASH
    return f"{signed(row['change'], places)} {interval(row['change_low'], row['change_high'], places)}".strip()


def _number(value: object) -> float:
    return value if isinstance(value, float) else math.nan
