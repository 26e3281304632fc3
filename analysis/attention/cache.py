"""Measures that were made once, beside the checkpoint they were made from: `<cell>/rollout.npz`.

Measuring a cell takes a forward pass over hundreds of images, and the next report asks the same question. What is kept
answers it only for the same weights (by their SHA-256), images, settings and definitions; else it is made again.
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
"""Raised with every change of what a measure means."""


def key(directory: Path, record: Record, which: str, alpha: float, count: int) -> str:
    """Hash of all that the measures of a cell depend on; empty when its checkpoint is not there."""
    try:
        weights = hashlib.sha256((directory / f"{which}.safetensors").read_bytes()).hexdigest()
    except OSError:
        return ""
    asked = [DEFINITIONS, weights, record.config.get("model"), record.data_fingerprint, record.normalisation]
    return hashlib.sha256(json.dumps([*asked, which, alpha, count], sort_keys=True).encode()).hexdigest()


def load(directory: Path, asked: str) -> tuple[dict[str, float], np.ndarray] | None:
    """Measure -> mean over the images, and the maps' densities (N, P); None if they were not made for this question."""
    try:
        # Opened here: numpy leaves a torn file open.
        with open(directory / CACHE_NAME, "rb") as file, np.load(file) as kept:
            if not asked or str(kept["asked"]) != asked:
                return None
            names, values = kept["names"].tolist(), kept["values"].tolist()
            return dict(zip(names, values, strict=True)), kept["density_NP"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):  # not there, or torn
        return None


def save(directory: Path, asked: str, numbers: dict[str, float], density_NP: np.ndarray) -> None:
    """Write the answer; a directory that cannot be written to is left as it is."""
    stream = io.BytesIO()
    names, values = np.array(list(numbers)), np.array(list(numbers.values()), dtype=np.float64)
    np.savez(stream, asked=np.array(asked), names=names, values=values, density_NP=density_NP)
    try:
        write_atomically(directory / CACHE_NAME, stream.getvalue())
    except OSError:
        return
