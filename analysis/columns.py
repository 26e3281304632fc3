"""Rollout measures as columns of a study: per cell, and per arm as paired differences to the baseline.

`rollout/<measure>` stands for a cell's mean over the same test images; seeds are the replicates, as for accuracy.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import faithful
from analysis.chosen import Chosen, spread_over_classes
from analysis.gather import Settings, attempt, comparable, data_of
from analysis.measures import agreement, density, measure, summary
from vitsweep.errors import UserError
from vitsweep.record import read_record


def cell_measures(cells: pd.DataFrame, settings: Settings, count: int) -> tuple[pd.DataFrame, list[str]]:
    """A row a finished cell: directory, arm, role, seed and its `rollout/...` columns; and notes of what is missing.

    Raises:
        UserError: no finished cell, or no data.
    """
    rows, notes, densities = [], [], {}
    for row, record, data, chosen in opened(cells, count, notes):
        made = attempt(lambda r=row, c=record, d=data, h=chosen: _measured(r, c, d, h, settings), _tell(row), notes)
        if made:
            rows.append(made[0])
            densities[(row["arm"], row["seed"])] = made[1]
    frame = pd.DataFrame(rows)
    if len(frame):
        keys = zip(frame["arm"], frame["seed"], strict=True)
        frame["rollout/seed_agreement"] = [_agreement(densities, arm, seed) for arm, seed in keys]
    return frame, notes


def opened(cells: pd.DataFrame, count: int, notes: list[str]):
    """Yield (row, record, data, chosen images) of each finished cell that shares the first one's data."""
    done = [(row, read_record(Path(row["directory"]))) for row in cells[cells["status"] == "done"].to_dict("records")]
    if not done:
        raise UserError("No cell has finished, so there is no model to look through.")
    data = data_of(done[0][1])
    kept, foreign = comparable(done)
    notes += foreign
    chosen = spread_over_classes(data.test.label_N.cpu().numpy(), min(count, len(data.test)))
    for row, record in kept:
        yield row, record, data, chosen


def _measured(row: dict, record, data, chosen: Chosen, settings: Settings) -> tuple[dict, np.ndarray]:
    from vitsweep.checkpoint import load_model

    model = load_model(row["directory"], settings.which)
    image_NCHW = data.test.image_NCHW[chosen.place_N]
    frame, _, patch_NP = measure(model, image_NCHW, record.normalisation, alpha=settings.alpha)
    keys = {name: row[name] for name in ("directory", "arm", "role", "seed")}
    return keys | {"images": len(frame)} | summary(frame), density(patch_NP)


def _agreement(densities: dict, arm: str, seed: int) -> float:
    """Mean agreement of this seed's maps with those of the arm's other seeds; NaN for an only seed."""
    others = [density_NP for (a, s), density_NP in densities.items() if a == arm and s != seed]
    pairs = [agreement([densities[(arm, seed)], other]).mean() for other in others]
    return float(np.mean(pairs)) if pairs else np.nan


def faithfulness(
    cells: pd.DataFrame, settings: Settings, count: int, missing: Sequence[str] = ("drop",)
) -> tuple[pd.DataFrame, list[str]]:
    """A row a finished cell, null map and metric: the map's paired difference with its interval; and notes.

    Args:
        missing: how patches are taken away, one or both of faithful.MISSING; each costs some 70 forward passes an
            image.
    """
    parts, notes = [], []
    for row, record, data, chosen in opened(cells, count, notes):
        made = attempt(
            lambda r=row, c=record, d=data, h=chosen: _judged(r, c, d, h, settings, missing), _tell(row), notes
        )
        parts += [made] if made is not None else []
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), notes


def _judged(row: dict, record, data, chosen: Chosen, settings: Settings, missing: Sequence[str]) -> pd.DataFrame:
    from analysis.maps import look
    from vitsweep.checkpoint import load_model

    model = load_model(row["directory"], settings.which)
    image_NCHW = data.test.image_NCHW[chosen.place_N]
    patch_NP = look(model, image_NCHW, record.normalisation, variant=settings.variant, alpha=settings.alpha).patches
    parts = []
    for way in missing:
        rng = np.random.default_rng([row["seed"], 0])
        judged = faithful.judge(model, image_NCHW, record.normalisation, patch_NP, rng, missing=way)
        parts.append(faithful.against_nulls(judged).assign(missing=way))
    if data.test.box_N4 is not None:
        parts.append(_pointed(patch_NP, model, data.test.box_N4[chosen.place_N].cpu().numpy(), row["seed"]))
    frame = pd.concat(parts, ignore_index=True)
    for place, name in enumerate(("arm", "seed")):
        frame.insert(place, name, row[name])
    return frame


def _pointed(patch_NP: np.ndarray, model, box_N4: np.ndarray, seed: int) -> pd.DataFrame:
    """The pointing game in the same form: hits of the map minus hits of each null map."""
    rng = np.random.default_rng([seed, 1])
    played = faithful.pointing_game(patch_NP, model.grid, model.config.patch_size, box_N4, rng).astype(float)
    rows = []
    for null in faithful.NULL_MAPS:
        change = (played["map"] - played[null]).to_numpy()
        low, high = faithful.mean_interval(change)
        numbers = {"difference": change.mean(), "low": low, "high": high, "n": len(change)}
        rows.append({"null": null, "metric": "pointing", "missing": "", **numbers, "hits": played["map"].mean()})
    return pd.DataFrame(rows).assign(chance=played["chance"].mean())


def against_baseline(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Each arm minus the baseline, paired by seed: mean, t interval, number of pairs, a row an arm and measure."""
    names = [name for name in frame.columns if name.startswith("rollout/")]
    base = frame[frame["arm"] == baseline].set_index("seed")
    rows = []
    for arm in dict.fromkeys(frame["arm"]):
        of_arm = frame[frame["arm"] == arm].set_index("seed")
        for name in names if arm != baseline else []:
            change = (of_arm[name] - base[name]).dropna().to_numpy()
            low, high = faithful.mean_interval(change)
            mean = change.mean() if len(change) else np.nan
            rows.append({"arm": arm, "measure": name, "difference": mean, "low": low, "high": high, "n": len(change)})
    return pd.DataFrame(rows, columns=["arm", "measure", "difference", "low", "high", "n"])


def _tell(row: dict) -> str:
    return f"{row['arm']}, seed {row['seed']}"
