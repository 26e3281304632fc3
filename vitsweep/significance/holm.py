"""Holm's step-down procedure (1979), and the error that a family of tests may have."""

import numpy as np

ALPHA = 0.05


def holm(p_A: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p over the last axis; a NaN counts in the family and stays NaN."""
    p_A = np.asarray(p_A, float)
    known_A = np.where(np.isnan(p_A), 1.0, p_A)
    order_A = np.argsort(known_A, axis=-1, kind="stable")
    steps_A = p_A.shape[-1] - np.arange(p_A.shape[-1])
    stepped_A = np.maximum.accumulate(np.take_along_axis(known_A, order_A, -1) * steps_A, axis=-1)
    adjusted_A = np.empty_like(known_A)
    np.put_along_axis(adjusted_A, order_A, np.minimum(stepped_A, 1.0), -1)
    return np.where(np.isnan(p_A), np.nan, adjusted_A)
