"""Cached measures beside the checkpoint they were computed from: `<cell>/rollout.npz`.

Measuring a cell takes a forward pass over hundreds of images. The cache is valid only for the same weights (by their
SHA-256), images, settings and definitions; otherwise the measures are computed again.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from vitsweep.files import write_atomically
from vitsweep.study.record import Record

CACHE_NAME = "rollout.npz"
DEFINITIONS = 1
"""Version of the measures' definitions."""


def key(directory: Path, record: Record, which: str, alpha: float, count: int) -> str:
    """Hash all that the measures of a cell depend on; empty when its checkpoint is missing."""
    try:
        weights = hashlib.sha256((directory / f"{which}.safetensors").read_bytes()).hexdigest()
    except OSError:
        return ""
    parts = [DEFINITIONS, weights, record.config.get("model"), record.data_fingerprint, record.normalisation]
    return hashlib.sha256(json.dumps([*parts, which, alpha, count], sort_keys=True).encode()).hexdigest()


def load(directory: Path, key: str) -> tuple[dict[str, float], np.ndarray] | None:
    """Load measure -> mean over the images, and the maps' densities (N, P); None unless cached under this key."""
    try:
        # Opened here: numpy leaves a torn file open.
        with open(directory / CACHE_NAME, "rb") as file, np.load(file) as stored:
            if not key or str(stored["asked"]) != key:
                return None
            names, values = stored["names"].tolist(), stored["values"].tolist()
            return dict(zip(names, values, strict=True)), stored["density_NP"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):  # not there, or torn
        return None


def save(directory: Path, key: str, numbers: dict[str, float], density_NP: np.ndarray) -> None:
    """Write the cache; a directory that cannot be written to is left as it is."""
    stream = io.BytesIO()
    names, values = np.array(list(numbers)), np.array(list(numbers.values()), dtype=np.float64)
    np.savez(stream, asked=np.array(key), names=names, values=values, density_NP=density_NP)
    try:
        write_atomically(directory / CACHE_NAME, stream.getvalue())
    except OSError:
        return
