"""Rollout measures as columns of a study, and faithfulness, computed from each cell's model over many images.

`rollout/<measure>` is a cell's mean over the same test images; seeds are the replicates, as for accuracy.
Measures are cached beside the checkpoint (cache.py), so only new cells are computed.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vitsweep.errors import UserError
from vitsweep.study.record import Record

from ..progress import steps
from . import cache, faithful
from .images import ImageChoice, spread_over_classes
from .looks import ViewSettings, cell_name, finished_cells, first_line, load_cell_data, try_or_note, with_same_data
from .measures import agreement, density, measure, summary

if TYPE_CHECKING:
    from vitsweep.data.load import Data
    from vitsweep.model.vit import ViT


def cell_measures(cells: pd.DataFrame, settings: ViewSettings, count: int) -> tuple[pd.DataFrame, list[str]]:
    """Tabulate each finished cell's directory, arm, role, seed and `rollout/...` columns; with notes on missing
    ones.

    Raises:
        UserError: no finished cell, or nothing is known of any cell and there are no data.
    """
    kept, notes = with_same_data(finished_cells(cells))
    keys = [cache.key(Path(row["directory"]), record, settings.which, settings.alpha, count) for row, record in kept]
    found = [cache.load(Path(row["directory"]), key) for (row, _), key in zip(kept, keys, strict=True)]
    if None in found:
        found = _measure_missing(kept, keys, found, settings, count, notes)
    rows, densities = [], {}
    for (row, _), measures in zip(kept, found, strict=True):
        if measures is not None:
            rows.append({name: row[name] for name in ("directory", "arm", "role", "seed")} | measures[0])
            densities[(row["arm"], row["seed"])] = measures[1]
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["images"] = frame["images"].astype(int)
        pairs = zip(frame["arm"], frame["seed"], strict=True)
        frame["rollout/seed_agreement"] = [_agreement(densities, arm, seed) for arm, seed in pairs]
    return frame, notes


def _measure_missing(
    kept: list[tuple[dict, Record]],
    keys: list[str],
    found: list,
    settings: ViewSettings,
    count: int,
    notes: list[str],
) -> list:
    """Return the measures with missing ones computed now; with a note for each that cannot be."""
    try:
        data = load_cell_data(kept[0][1])
    except (UserError, OSError) as error:
        if not any(found):
            raise
        notes.append(f"{found.count(None)} of {len(found)} cells have no rollout measures: {first_line(error)}.")
        return found
    chosen = spread_over_classes(data.test.label_N.cpu().numpy(), min(count, len(data.test)))
    made = list(found)
    missing = [place for place, measures in enumerate(found) if measures is None]
    for place in steps(missing, "rollout measures"):
        (row, record), key = kept[place], keys[place]
        compute = partial(_measure_cell, row, record, data, chosen, settings)
        made[place] = try_or_note(compute, cell_name(row), notes)
        if made[place] is not None:
            cache.save(Path(row["directory"]), key, *made[place])
    return made


def _measure_cell(
    row: dict, record: Record, data: "Data", chosen: ImageChoice, settings: ViewSettings
) -> tuple[dict, np.ndarray]:
    from vitsweep.train.checkpoint import load_model

    model = load_model(row["directory"], settings.which)
    image_NCHW = data.test.image_NCHW[chosen.index_N]
    frame, _, patch_NP = measure(model, image_NCHW, record.normalisation, alpha=settings.alpha)
    # The cache has single precision, and a report must be the same with and without it.
    return {"images": len(frame)} | summary(frame), density(patch_NP).astype(np.float32)


def _agreement(densities: dict, arm: str, seed: int) -> float:
    """Average the agreement of this seed's maps with those of the arm's other seeds; NaN for an only seed."""
    others = [density_NP for (a, s), density_NP in densities.items() if a == arm and s != seed]
    pairs = [agreement([densities[(arm, seed)], other]).mean() for other in others]
    return float(np.mean(pairs)) if pairs else np.nan


def faithfulness(
    cells: pd.DataFrame, settings: ViewSettings, count: int, missing: Sequence[str] = ("drop",)
) -> tuple[pd.DataFrame, list[str]]:
    """Tabulate per finished cell, null map and metric the map's paired difference with its interval; with notes.

    Args:
        missing: how patches are taken away, one or both of faithful.MISSING; each costs some 70 forward passes an
            image.
    """
    kept, notes = with_same_data(finished_cells(cells))
    data = load_cell_data(kept[0][1])
    chosen = spread_over_classes(data.test.label_N.cpu().numpy(), min(count, len(data.test)))
    parts = []
    for row, record in kept:
        score = partial(_score_cell, row, record, data, chosen, settings, missing)
        made = try_or_note(score, cell_name(row), notes)
        parts += [made] if made is not None else []
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), notes


def _score_cell(
    row: dict, record: Record, data: "Data", chosen: ImageChoice, settings: ViewSettings, missing: Sequence[str]
) -> pd.DataFrame:
    from vitsweep.train.checkpoint import load_model

    from .maps import attention_maps, check_fits

    image_NCHW = data.test.image_NCHW[chosen.index_N]
    model = check_fits(load_model(row["directory"], settings.which), image_NCHW)
    patch_NP = attention_maps(
        model, image_NCHW, record.normalisation, variant=settings.variant, alpha=settings.alpha
    ).patches
    parts = []
    for way in missing:
        rng = np.random.default_rng([row["seed"], 0])
        scores = faithful.score_maps(model, image_NCHW, record.normalisation, patch_NP, rng, missing=way)
        parts.append(faithful.compare_with_nulls(scores).assign(missing=way))
    if data.test.box_N4 is not None:
        parts.append(_pointing_rows(patch_NP, model, data.test.box_N4[chosen.index_N].cpu().numpy(), row["seed"]))
    frame = pd.concat(parts, ignore_index=True)
    for place, name in enumerate(("arm", "seed")):
        frame.insert(place, name, row[name])
    return frame


def _pointing_rows(patch_NP: np.ndarray, model: "ViT", box_N4: np.ndarray, seed: int) -> pd.DataFrame:
    """Tabulate the pointing game in the same form: hits of the map minus hits of each null map."""
    rng = np.random.default_rng([seed, 1])
    played = faithful.pointing_game(patch_NP, model.grid, model.config.patch_size, box_N4, rng).astype(float)
    rows = []
    for null in faithful.NULL_MAPS:
        change = (played["map"] - played[null]).to_numpy()
        low, high = faithful.mean_interval(change)
        numbers = {"difference": change.mean(), "low": low, "high": high, "n": len(change)}
        rows.append({"null": null, "metric": "pointing", "missing": "", **numbers, "hits": played["map"].mean()})
    return pd.DataFrame(rows).assign(chance=played["chance"].mean())
