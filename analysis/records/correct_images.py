"""Correctly classified test images of a cell: from predictions.npz, or from the examples.npz of a published study.

examples.npz has one bit per test image, which is all that a report uses of the predictions. Its arrays, `0/...` for the
first group of cells that share their test images (as a rule the only one): `0/cells` (C,), their ids; `0/id_step` and
`0/label` (N,); `0/correct` (C, 2, ceil(N / 8)), the bits of the last and the best epoch as numpy.packbits packs them.
Ids of images rise; id_step has their differences, which compress well, and numpy.cumsum gives them back.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from vitsweep.study.record import MAX_DEPTH, PREDICTIONS_NAME

from .report_files import EXAMPLES_NAME

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""Exceptions of numpy for a file of predictions that is truncated, damaged or another one."""
WHEN = ("final", "best")
Correct = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Ids, labels and whether the image was classified correctly, each (N,), by rising id."""


def read_correct(directory: Path, when: str = "final") -> Correct:
    """Read a cell's test images.

    Args:
        directory: of the cell; of a published cell the one that it had.
        when: final or best.

    Raises:
        FileNotFoundError: there are no predictions.
    """
    if not (directory / PREDICTIONS_NAME).exists():
        return _read_published(directory, when)
    # Opened here: numpy leaves a truncated file open.
    with open(directory / PREDICTIONS_NAME, "rb") as stream, np.load(stream) as arrays:
        id_N, label_N, class_N = (arrays[name] for name in ("id", "label", f"{when}_class"))
    order_N = np.argsort(id_N, kind="stable")
    return id_N[order_N], label_N[order_N], (class_N == label_N)[order_N]


def examples_bytes(cells: Mapping[str, Path]) -> tuple[bytes, dict[str, Exception]]:
    """Return the content of examples.npz, empty without predictions, and the error of each cell that has bad ones.

    Args:
        cells: id -> directory.
    """
    groups: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
    errors: dict[str, Exception] = {}
    for cell, directory in cells.items():
        try:
            id_N, label_N, final_N = read_correct(directory)
            bits_2B = np.stack([np.packbits(final_N), np.packbits(read_correct(directory, "best")[2])])
        except FileNotFoundError:
            continue
        except UNREADABLE as error:
            errors[cell] = error
            continue
        same = (found for i_N, l_N, found in groups if np.array_equal(i_N, id_N) and np.array_equal(l_N, label_N))
        group = next(same, None)
        if group is None:
            groups.append((id_N, label_N, group := {}))
        group[cell] = bits_2B
    return _packed(groups), errors


def _packed(groups: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for number, (id_N, label_N, found) in enumerate(groups):
        arrays[f"{number}/cells"] = np.array(list(found))
        arrays[f"{number}/id_step"] = np.diff(id_N, prepend=0).astype(np.int32)
        arrays[f"{number}/label"] = label_N.astype(np.int16)
        arrays[f"{number}/correct"] = np.stack(list(found.values()))
    stream = io.BytesIO()
    if arrays:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # of numpy's allow_pickle
    return stream.getvalue()


def _read_published(cell: Path, when: str) -> Correct:
    """Read a cell from the next examples.npz at or above its directory."""
    for folder in (cell, *cell.parents)[:MAX_DEPTH]:
        path = folder / EXAMPLES_NAME
        if path.is_file():
            now = path.stat()
            found = _read_examples(path, now.st_mtime_ns, now.st_size)
            if own := found.get(cell.relative_to(folder).as_posix()):
                id_N, label_N, bits_2B = own
                return id_N, label_N, np.unpackbits(bits_2B[WHEN.index(when)])[: len(id_N)].astype(bool)
            break
    raise FileNotFoundError(f"{cell / PREDICTIONS_NAME}  does not exist")


@lru_cache(maxsize=4)
def _read_examples(path: Path, mtime_ns: int, size: int) -> dict[str, Correct]:
    """Return cell -> ids, labels and packed bits; a file of one cell, as published earlier, is of the cell `.`."""
    found: dict[str, Correct] = {}
    with open(path, "rb") as stream, np.load(stream) as arrays:
        if "id_step" in arrays:
            bits_2B = np.stack([arrays[f"{when}_correct"] for when in WHEN])
            return {".": (np.cumsum(arrays["id_step"], dtype=np.int64), arrays["label"].astype(np.int64), bits_2B)}
        for number in range(len(arrays.files) // 4):
            cells, step_N, label_N, bits_C2B = (
                arrays[f"{number}/{n}"] for n in ("cells", "id_step", "label", "correct")
            )
            id_N = np.cumsum(step_N, dtype=np.int64)
            found |= {str(c): (id_N, label_N.astype(np.int64), b) for c, b in zip(cells, bits_C2B, strict=True)}
    return found
