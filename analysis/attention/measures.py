"""Measures of a map, an image at a time, so that each can be a column of a study like accuracy.

All on densities: the patches' mass divided by its sum, so that prefix tokens and scale do not matter.
Positions are in pixels and patches count as squares, not as points, so a uniform map has the same center and
spread on every grid.
Sources: rollout.py for the maps; attention distance as in Dosovitskiy et al. 2021, figure 7 and appendix D.7.
Shapes: N images, P patches in reading order, T tokens with the prefix first, S blocks, H heads.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor, nn

Grid = tuple[int, int]

DESCRIPTIONS = {
    "entropy": "entropy of the map over log of the number of patches; 1 is uniform",
    "effective_patches": "exp of the entropy: how many equal patches would be as spread",
    "max_lift": "largest density times the number of patches; 1 is uniform",
    "centre_row_px": "centre of mass from the top, pixels",
    "centre_column_px": "centre of mass from the left, pixels",
    "spread_px": "root mean square distance from the centre of mass, pixels",
    "prefix_mass": "share of the rollout that stays on the class token",
    "mixing": "total variation between the head's row and the mean row; 0: the rollout has forgotten who asked",
    "distance_px": "mean attention distance between patches, all blocks and heads, pixels",
    "specificity": "1 minus the rank correlation with the mean map of all images; 0: the same map for every image",
    "flip_consistency": "1 minus the total variation between map of the mirrored and mirrored map; 1: equal",
    "seed_agreement": "1 minus the mean total variation between the maps of an arm's seeds; 1: the same maps",
}
COLUMNS = tuple(f"rollout/{name}" for name in DESCRIPTIONS)
"""Their names as columns of a study."""


def density(patch_NP: np.ndarray) -> np.ndarray:
    """Divide mass by its sum, (N, P); an image whose patches have no mass counts as uniform."""
    patch_NP = np.asarray(patch_NP, dtype=np.float64)
    sum_N1 = patch_NP.sum(1, keepdims=True)
    uniform = np.full_like(patch_NP, 1 / patch_NP.shape[1])
    return np.divide(patch_NP, sum_N1, out=uniform, where=sum_N1 > 0)


def lift(patch_NP: np.ndarray) -> np.ndarray:
    """Return density times the number of patches, (N, P): the multiple of its uniform share that a patch has."""
    return density(patch_NP) * patch_NP.shape[1]


def entropy(density_NP: np.ndarray) -> np.ndarray:
    """Return the entropy in nats, (N,)."""
    logs = np.log(density_NP, out=np.zeros_like(density_NP), where=density_NP > 0)
    return -(density_NP * logs).sum(1)


def total_variation(density_NP: np.ndarray, other_NP: np.ndarray) -> np.ndarray:
    """Return half the L1 distance, (N,): 0 for equal maps, 1 for maps without a common patch."""
    return np.abs(density_NP - other_NP).sum(1) / 2


def center_and_spread(density_NP: np.ndarray, grid: Grid, patch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return center of mass (N, 2) as row and column, and root mean square distance from it (N,), pixels."""
    place_P2 = (np.indices(grid).reshape(2, -1).T + 0.5) * patch_size
    centre_N2 = density_NP @ place_P2
    square_N = density_NP @ (place_P2**2).sum(1) - (centre_N2**2).sum(1)
    within = patch_size**2 / 6  # variance of a uniform square, both axes
    return centre_N2, np.sqrt(np.maximum(square_N, 0) + within)


def rank_correlation(map_NP: np.ndarray, other_NP: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation, (N,), ties by mean rank; 0 where a map is constant."""
    from scipy.stats import rankdata  # late: it takes a second to import, and galleries do not need it

    ranks = [rankdata(values, axis=1) for values in np.broadcast_arrays(map_NP, other_NP)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), scale, out=np.zeros(len(a)), where=scale > 0)


def mirror_maps(patch_NP: np.ndarray, grid: Grid) -> np.ndarray:
    """Exchange left and right of the maps."""
    return patch_NP.reshape(-1, *grid)[:, :, ::-1].reshape(patch_NP.shape)


def coarsen(patch_NP: np.ndarray, grid: Grid, wanted: Grid) -> np.ndarray:
    """Sum mass onto a grid that divides this one."""
    (rows, columns), (to_rows, to_columns) = grid, wanted
    blocks = patch_NP.reshape(-1, to_rows, rows // to_rows, to_columns, columns // to_columns)
    return blocks.sum((2, 4)).reshape(len(patch_NP), -1)


def map_measures(patch_NP: np.ndarray, grid: Grid, patch_size: int) -> pd.DataFrame:
    """Compute the measures that need the maps alone, a row an image."""
    density_NP = density(patch_NP)
    nats_N = entropy(density_NP)
    centre_N2, spread_N = center_and_spread(density_NP, grid, patch_size)
    P = patch_NP.shape[1]
    return pd.DataFrame(
        {
            "entropy": nats_N / np.log(P) if P > 1 else np.ones(len(nats_N)),
            "effective_patches": np.exp(nats_N),
            "max_lift": density_NP.max(1) * P,
            "centre_row_px": centre_N2[:, 0],
            "centre_column_px": centre_N2[:, 1],
            "spread_px": spread_N,
        }
    )


def measure(
    model: "nn.Module", image_NCHW: "Tensor", normalisation: Mapping[str, Sequence[float]], *, alpha: float = 0.5
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Compute all of DESCRIPTIONS, a row an image; mean attention distances (S, H), pixels; patch mass (N, P).

    Two passes: one over the images, one over their mirror images.
    """
    from . import maps

    vit = maps.check_fits(model, image_NCHW)
    seen = maps.run_passes(vit, image_NCHW, normalisation, lambda one: maps.measure_inputs(one, vit, alpha=alpha))
    mirror = maps.attention_maps(vit, image_NCHW.flip(-1), normalisation, alpha=alpha)
    prefix = vit.num_prefix_tokens
    patch_NP = seen["mass"][:, prefix:]
    frame = map_measures(patch_NP, vit.grid, vit.config.patch_size)
    frame["prefix_mass"] = seen["mass"][:, :prefix].sum(1)
    frame["mixing"] = total_variation(seen["mass"], seen["mean"])
    frame["distance_px"] = seen["distance"].mean((1, 2))
    frame["specificity"] = 1 - rank_correlation(patch_NP, density(patch_NP).mean(0, keepdims=True))
    turned_NP = mirror_maps(density(mirror.patches), vit.grid)
    frame["flip_consistency"] = 1 - total_variation(density(patch_NP), turned_NP)
    return frame, seen["distance"].mean(0), patch_NP


def agreement(densities: Sequence[np.ndarray]) -> np.ndarray:
    """Return 1 minus the mean total variation over all pairs of seeds' maps, (N,)."""
    pairs = [(a, b) for i, a in enumerate(densities) for b in densities[i + 1 :]]
    if not pairs:
        return np.full(len(densities[0]), np.nan)
    return 1 - np.mean([total_variation(a, b) for a, b in pairs], axis=0)


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """Average over the images, with names of a study's columns: `rollout/<measure>`."""
    return {f"rollout/{name}": float(frame[name].mean()) for name in DESCRIPTIONS if name in frame}


def log2_lift(lift_P: np.ndarray) -> np.ndarray:
    """Return the binary logarithm of a lift; minus infinity, painted as the lowest color, for no mass."""
    with np.errstate(divide="ignore"):
        return np.log2(lift_P)
