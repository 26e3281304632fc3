"""Rollout measures as columns of a study, and faithfulness: what needs each cell's model and many images.

`rollout/<measure>` stands for a cell's mean over the same test images; seeds are the replicates, as for accuracy.
Measures are kept beside the checkpoint (kept_measures.py), so only what is new is looked at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vitsweep.errors import UserError
from vitsweep.study.record import Record, read_record

from . import cache as kept_measures
from . import faithful
from .images import ImageChoice, spread_over_classes
from .looks import ViewSettings, first_line, load_cell_data, try_or_note, with_same_data
from .measures import agreement, density, measure, summary

if TYPE_CHECKING:
    from vitsweep.data.load import Data


def cell_measures(cells: pd.DataFrame, settings: ViewSettings, count: int) -> tuple[pd.DataFrame, list[str]]:
    """A row a finished cell: directory, arm, role, seed and its `rollout/...` columns; and notes of what is missing.

    Raises:
        UserError: no finished cell, or nothing is known of any cell and there are no data.
    """
    kept, notes = with_same_data(finished_cells(cells))
    asked = [
        kept_measures.key(Path(row["directory"]), record, settings.which, settings.alpha, count) for row, record in kept
    ]
    answers = [kept_measures.load(Path(row["directory"]), key) for (row, _), key in zip(kept, asked, strict=True)]
    if None in answers:
        answers = _completed(kept, asked, answers, settings, count, notes)
    rows, densities = [], {}
    for (row, _), answer in zip(kept, answers, strict=True):
        if answer is not None:
            rows.append({name: row[name] for name in ("directory", "arm", "role", "seed")} | answer[0])
            densities[(row["arm"], row["seed"])] = answer[1]
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["images"] = frame["images"].astype(int)
        keys = zip(frame["arm"], frame["seed"], strict=True)
        frame["rollout/seed_agreement"] = [_agreement(densities, arm, seed) for arm, seed in keys]
    return frame, notes


def finished_cells(cells: pd.DataFrame) -> list[tuple[dict, Record]]:
    """The finished cells with their records.

    Raises:
        UserError: there is none.
    """
    done = [(row, read_record(Path(row["directory"]))) for row in cells[cells["status"] == "done"].to_dict("records")]
    if not done:
        raise UserError("No cell has finished, so there is no model to look through.")
    return done


def _completed(
    kept: list[tuple[dict, Record]],
    asked: list[str],
    answers: list,
    settings: ViewSettings,
    count: int,
    notes: list[str],
) -> list:
    """The answers with those filled in that can be made now; a note for each that cannot."""
    try:
        data = load_cell_data(kept[0][1])
    except (UserError, OSError) as fault:
        if not any(answers):
            raise
        notes.append(f"{answers.count(None)} of {len(answers)} cells have no rollout measures: {first_line(fault)}.")
        return answers
    chosen = spread_over_classes(data.test.label_N.cpu().numpy(), min(count, len(data.test)))
    made = list(answers)
    for place, ((row, record), key) in enumerate(zip(kept, asked, strict=True)):
        if answers[place] is None:
            made[place] = try_or_note(
                lambda r=row, c=record: _measured(r, c, data, chosen, settings), _tell(row), notes
            )
            if made[place] is not None:
                kept_measures.save(Path(row["directory"]), key, *made[place])
    return made


def _measured(
    row: dict, record: Record, data: "Data", chosen: ImageChoice, settings: ViewSettings
) -> tuple[dict, np.ndarray]:
    from vitsweep.train.checkpoint import load_model

    model = load_model(row["directory"], settings.which)
    image_NCHW = data.test.image_NCHW[chosen.index_N]
    frame, _, patch_NP = measure(model, image_NCHW, record.normalisation, alpha=settings.alpha)
    # Single precision is what is kept, and a report must say the same from memory as at first sight.
    return {"images": len(frame)} | summary(frame), density(patch_NP).astype(np.float32)


def _agreement(densities: dict, arm: str, seed: int) -> float:
    """Mean agreement of this seed's maps with those of the arm's other seeds; NaN for an only seed."""
    others = [density_NP for (a, s), density_NP in densities.items() if a == arm and s != seed]
    pairs = [agreement([densities[(arm, seed)], other]).mean() for other in others]
    return float(np.mean(pairs)) if pairs else np.nan


def faithfulness(
    cells: pd.DataFrame, settings: ViewSettings, count: int, missing: Sequence[str] = ("drop",)
) -> tuple[pd.DataFrame, list[str]]:
    """A row a finished cell, null map and metric: the map's paired difference with its interval; and notes.

    Args:
        missing: how patches are taken away, one or both of faithful.MISSING; each costs some 70 forward passes an
            image.
    """
    kept, notes = with_same_data(finished_cells(cells))
    data = load_cell_data(kept[0][1])
    chosen = spread_over_classes(data.test.label_N.cpu().numpy(), min(count, len(data.test)))
    parts = []
    for row, record in kept:
        made = try_or_note(lambda r=row, c=record: _judged(r, c, data, chosen, settings, missing), _tell(row), notes)
        parts += [made] if made is not None else []
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), notes


def _judged(
    row: dict, record: Record, data: "Data", chosen: ImageChoice, settings: ViewSettings, missing: Sequence[str]
) -> pd.DataFrame:
    from vitsweep.train.checkpoint import load_model

    from .maps import attention_maps

    model = load_model(row["directory"], settings.which)
    image_NCHW = data.test.image_NCHW[chosen.index_N]
    patch_NP = attention_maps(
        model, image_NCHW, record.normalisation, variant=settings.variant, alpha=settings.alpha
    ).patches
    parts = []
    for way in missing:
        rng = np.random.default_rng([row["seed"], 0])
        judged = faithful.score_maps(model, image_NCHW, record.normalisation, patch_NP, rng, missing=way)
        parts.append(faithful.compare_with_nulls(judged).assign(missing=way))
    if data.test.box_N4 is not None:
        parts.append(_pointed(patch_NP, model, data.test.box_N4[chosen.index_N].cpu().numpy(), row["seed"]))
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


def _tell(row: dict) -> str:
    return f"{row['arm']}, seed {row['seed']}"
