"""Units of CSV tables, results.json and the frames of the Python API, which the names of their columns have.

Accuracies and other shares of 1 are percent and end in `_percent`, their differences and spreads are percentage points
and end in `_points`. Times end in `_seconds`, memory in `_gib`, lengths in an image in `_px`. Other numbers have no
unit. Records keep fractions of 1.
"""

from collections.abc import Mapping

import pandas as pd

PERCENT, POINTS = "percent", "points"
Units = Mapping[str, tuple[str, float]]
"""Column -> its suffix and the factor to that unit."""
OF_EFFECTS = {"mean": PERCENT} | {
    name: POINTS
    for name in (
        "sd delta effect ci_low ci_high sd_delta joint_low joint_high own_delta own_ci_low own_ci_high change "
        "change_low change_high"
    ).split()
}
"""Columns of comparisons by an accuracy; of a loss or a rollout measure they have no unit."""
OF_ARMS = {"published": PERCENT, "train_accuracy": PERCENT}
"""Columns of the comparison of arms, whatever its metric."""
OF_BEST = {"final": PERCENT, "best": PERCENT} | {
    name: POINTS for name in "gain ci_low ci_high optimism optimism_low optimism_high".split()
}
OF_IMAGES = {"changed": PERCENT, "changed_between_seeds": PERCENT} | {
    name: POINTS for name in "delta ci_low ci_high image_low image_high".split()
}
OF_PUBLISHED = {"published_value": PERCENT, "published_effect": POINTS}
OF_MEANS = dict.fromkeys(("mean", "ci_low", "ci_high"), PERCENT)
COMPARED = ("arms", "main-effects", "interactions", "published", "tuning", "questions", "effects")
"""Tables and figures that compare by the report's metric."""


def table_units(name: str, is_accuracy: bool, is_chosen_by_accuracy: bool = True) -> Units:
    """Return the units of a report's table or figure.

    Args:
        is_accuracy: the report's metric is an accuracy.
        is_chosen_by_accuracy: so is the metric by which a search chose its settings.
    """
    found = OF_EFFECTS if name in COMPARED and is_accuracy else OF_MEANS if name == "cost" and is_accuracy else {}
    own: dict[str, str] = {
        "arms": OF_ARMS,
        "best-epoch": OF_BEST,
        "images": OF_IMAGES,
        "classes": OF_IMAGES,
        "effects": {"image_low": POINTS, "image_high": POINTS},
        "published": OF_PUBLISHED,
        "trials": {"accuracy": PERCENT},
    }.get(name, {})
    units = {column: (unit, 1.0) for column, unit in (found | own).items()}
    if name == "arms":
        units["better"] = (PERCENT, 100.0)
    if name == "trials" and is_chosen_by_accuracy:
        units["value"] = (PERCENT, 100.0)
    return units


def with_units(frame: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Return a frame with the unit in the names of its columns and their numbers in it."""
    shown = {column: frame[column] * factor for column, (_, factor) in units.items() if column in frame and factor != 1}
    names = {column: f"{column}_{suffix}" for column, (suffix, _) in units.items()}
    return frame.assign(**shown).rename(columns=names)


def in_percent(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which the columns of accuracies, fractions of 1, are percent: `final/test/accuracy_percent`."""
    names = [name for name in frame.columns if str(name).endswith("accuracy")]
    return with_units(frame, dict.fromkeys(names, (PERCENT, 100.0)))


def figure_frame(name: str, frame: pd.DataFrame, metric: str, is_chosen_by_accuracy: bool = True) -> pd.DataFrame:
    """Return the numbers behind a figure with their units, for its CSV.

    Args:
        name: of the figure.
        metric: the report's.
        is_chosen_by_accuracy: as in table_units.
    """
    is_accuracy = metric.endswith("accuracy")
    if name == "seeds" and is_accuracy:
        return frame.set_axis([*frame.columns[:-1], f"{metric}_{PERCENT}"], axis=1)
    if "metric" in frame:  # curves: rows of losses and of accuracies
        unit = POINTS if name == "gap" else PERCENT
        return frame.assign(metric=[f"{m}_{unit}" if m.endswith("accuracy") else m for m in frame["metric"]])
    if "trial" in frame:
        return with_units(frame, table_units("trials", is_accuracy, is_chosen_by_accuracy))
    return with_units(frame, table_units(name, is_accuracy))


def metrics_in_percent(metrics: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """Return a record's `final`, `best`, ... with accuracies as percent: `test/accuracy_percent`."""
    return {row: dict(map(_percent_item, values.items())) for row, values in metrics.items()}


def _percent_item(item: tuple[str, float | None]) -> tuple[str, float | None]:
    name, value = item
    if not name.endswith("accuracy"):
        return name, value
    return f"{name}_{PERCENT}", None if value is None else 100 * value
