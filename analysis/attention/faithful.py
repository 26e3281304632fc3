"""Faithfulness of maps: deletion and insertion, patch by patch, against null maps.

Petsiuk et al. 2018 (RISE, arXiv 1806.07421, section 4.2) at the level of patches: remove patches in the map's
order (deletion, low is good) or insert them (insertion, high is good) and follow the probability of the class that
the model predicts for the whole image; the area is a mean over the share of patches, so grids compare. Missing
patches are left out as tokens (Jain et al. 2022, arXiv 2204.08945: no artefacts), or painted in the mean color. A
number alone says nothing, since objects are in the middle and anything beats nothing: each map is compared, image by
image, with a random order, a centered Gaussian, and the mean map of the other images.
Shapes: N images, B of a chunk, P patches in reading order, K steps.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from .measures import density

if TYPE_CHECKING:
    from torch import Tensor

    from vitsweep.model.vit import ViT

NULL_MAPS = ("random", "centre", "mean map")
MISSING = ("drop", "mean colour")
METRICS = ("deletion", "insertion", "gap")
STEPS = 16
"""Steps from the whole image to none; the area hardly depends on it (and not at all for a straight curve)."""


def score_maps(
    model: "ViT",
    image_NCHW: "Tensor",
    normalisation: Mapping[str, Sequence[float]],
    map_NP: np.ndarray,
    rng: np.random.Generator,
    *,
    missing: str = "drop",
) -> pd.DataFrame:
    """Score the map and the null maps by deletion, insertion and gap = insertion - deletion, a row an image and map."""
    maps = {"map": map_NP} | null_maps(map_NP, model.grid, rng)
    parts = []
    for name, values_NP in maps.items():
        order_NP = patch_order(values_NP, rng)
        lost = curve_area(*probability_curve(model, image_NCHW, normalisation, order_NP, insert=False, missing=missing))
        won = curve_area(*probability_curve(model, image_NCHW, normalisation, order_NP, insert=True, missing=missing))
        frame = pd.DataFrame({"map": name, "deletion": lost, "insertion": won, "gap": won - lost})
        parts.append(frame.rename_axis("image").reset_index())
    return pd.concat(parts, ignore_index=True)


def null_maps(map_NP: np.ndarray, grid: tuple[int, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the null maps: random, image center, and mean map of the other images, each (N, P)."""
    density_NP = density(map_NP)
    N = len(density_NP)
    place_P2 = (np.indices(grid).reshape(2, -1).T + 0.5) / grid - 0.5  # -0.5 .. 0.5 across the image
    centre_P = np.exp(-(place_P2**2).sum(1) / (2 * 0.25**2))
    others_NP = (density_NP.sum(0) - density_NP) / max(1, N - 1)
    return {
        "random": rng.random(density_NP.shape),
        "centre": np.tile(centre_P, (N, 1)),
        "mean map": others_NP,
    }


def patch_order(map_NP: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sort patches from most to least, equal ones in random order, (N, P)."""
    return np.lexsort((rng.random(map_NP.shape), -map_NP), axis=1)


def probability_curve(
    model: "ViT",
    image_NCHW: "Tensor",
    normalisation: Mapping[str, Sequence[float]],
    order_NP: np.ndarray,
    *,
    insert: bool,
    missing: str = "drop",
) -> tuple[np.ndarray, np.ndarray]:
    """Return shares of patches (K + 1,) and the probability of the predicted class there, (N, K + 1).

    Both ends are included: all patches there, and none.
    """
    import torch

    from vitsweep.data.augment import normalize

    from .maps import CHUNK

    N, P = order_NP.shape
    counts = np.unique(np.linspace(0, P, min(STEPS, P) + 1).round().astype(int))
    orders, parts = torch.from_numpy(np.ascontiguousarray(order_NP)), []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, N, CHUNK):
            image_BCHW = image_NCHW[start : start + CHUNK]
            input_BCHW = normalize(image_BCHW, normalisation["mean"], normalisation["std"])
            order_BP = orders[start : start + CHUNK].to(input_BCHW.device)
            class_B1 = model(input_BCHW).argmax(-1, keepdim=True)
            left = [order_BP[:, :count] if insert else order_BP[:, count:] for count in counts]
            logits = [_with_patches(model, input_BCHW, kept_BX, missing) for kept_BX in left]
            parts.append(torch.stack([logit_BK.softmax(-1).gather(1, class_B1)[:, 0] for logit_BK in logits], dim=1))
    model.train(was_training)
    return counts / P, torch.cat(parts).cpu().numpy().astype(float)


def _with_patches(model: "ViT", input_BCHW: "Tensor", kept_BX: "Tensor", missing: str) -> "Tensor":
    """Return the logits when only the patches `kept` are present."""
    if missing == "drop":
        return model(input_BCHW, kept_BX)
    # The inputs are normalised, so zero is the mean colour of the training images.
    rows, columns = model.grid
    seen_BP = input_BCHW.new_zeros(len(kept_BX), rows * columns).scatter_(1, kept_BX, 1.0)
    patch = model.config.patch_size
    seen_B1HW = seen_BP.view(-1, 1, rows, columns).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return model(input_BCHW * seen_B1HW)


def curve_area(share_K: np.ndarray, curve_NK: np.ndarray) -> np.ndarray:
    """Return the mean height of each curve over the share of patches, (N,): trapezoids, so the ends count half."""
    return np.trapezoid(curve_NK, share_K, axis=1)


def compare_with_nulls(judged: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Compare the map with each null map, paired by image: mean, t interval and n, a row a null map and metric."""
    rows = []
    of_map = judged[judged["map"] == "map"].set_index("image")
    for null in NULL_MAPS:
        of_null = judged[judged["map"] == null].set_index("image")
        for metric in METRICS:
            change = (of_map[metric] - of_null[metric]).dropna().to_numpy()
            low, high = mean_interval(change, confidence)
            rows.append(
                {
                    "null": null,
                    "metric": metric,
                    "difference": change.mean(),
                    "low": low,
                    "high": high,
                    "n": len(change),
                }
            )
    return pd.DataFrame(rows)


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return np.nan, np.nan
    half = special.stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def touches_box(grid: tuple[int, int], patch_size: int, box_N4: np.ndarray) -> np.ndarray:
    """Return (N, P), True where a patch shares a pixel with the box (top, left, bottom, right; ends exclusive)."""
    top_P, left_P = np.indices(grid).reshape(2, -1) * patch_size
    top, left, bottom, right = (side[:, None] for side in np.asarray(box_N4).T)
    return (top_P < bottom) & (top_P + patch_size > top) & (left_P < right) & (left_P + patch_size > left)


def pointing_game(
    map_NP: np.ndarray, grid: tuple[int, int], patch_size: int, box_N4: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """Play the pointing game: True where the strongest patch of map and null maps touches the box; with chance.

    `chance` is the share of patches that touch the shape: what a random patch hits on average.
    """
    touches_NP = touches_box(grid, patch_size, box_N4)
    maps = {"map": map_NP} | null_maps(map_NP, grid, rng)
    first = {name: patch_order(values_NP, rng)[:, :1] for name, values_NP in maps.items()}
    hits = {name: np.take_along_axis(touches_NP, place_N1, 1)[:, 0] for name, place_N1 in first.items()}
    return pd.DataFrame(hits | {"chance": touches_NP.mean(1)})
