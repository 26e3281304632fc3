"""Image files for tests: class folders, the official archive as Python 2 pickled it, the real CIFAR-10."""

import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from vitsweep.config.convert import validate
from vitsweep.config.schema import Config, DataConfig, ModelConfig

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
# Read before fixtures clear the environment. MOSAICS: lossless mosaics beside the checkout, 10 images per row.
REAL_ROOT = os.environ.get("VITSWEEP_DATA")
MOSAICS = Path(__file__).resolve().parents[3] / "shared" / "cifar10"

Pixels = dict[str, dict[str, np.ndarray]]  # split -> class -> uint8 (N, H, W, 3)


def make_pixels(train: int = 4, test: int = 2, classes: list[str] = CLASSES, size: int = 32, seed: int = 0) -> Pixels:
    """Return `train` and `test` random images per class."""
    rng = np.random.default_rng(seed)
    counts = {"train": train, "test": test}
    return {
        split: {name: rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8) for name in classes}
        for split, count in counts.items()
    }


def write_folders(root: Path, pixels: Pixels, prefix: str = "") -> Path:
    """Write class folders of PNG files."""
    for split, classes in pixels.items():
        for name, images in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{prefix}{index:05d}.png", compress_level=1)
    return root


def make_batches(pixels: Pixels, seed: int = 0) -> dict[str, bytes]:
    """Return the content of each official file; training images are shuffled into five batches."""
    files = {"batches.meta": pickle_as_python2({"label_names": list(pixels["train"]), "num_vis": 3072})}
    for split, names in (("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])):
        image_NHWC = np.concatenate(list(pixels[split].values()))
        label_N = np.concatenate([np.full(len(v), k) for k, v in enumerate(pixels[split].values())])
        order = np.random.default_rng(seed).permutation(len(label_N))
        for name, part in zip(names, np.array_split(order, len(names)), strict=True):
            data = image_NHWC[part].transpose(0, 3, 1, 2).reshape(len(part), 3072)
            content = {"batch_label": name, "labels": label_N[part].tolist(), "data": data}
            files[name] = pickle_as_python2(content)
    return files


def write_batches(root: Path, files: dict[str, bytes]) -> Path:
    """Write the extracted batches."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(root: Path, files: dict[str, bytes]) -> Path:
    """Write the official archive, uncompressed for speed."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def accept_batches(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Make torchvision expect the checksums of these batches instead of the published ones."""
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})


def pickle_as_python2(value: object) -> bytes:
    """Pickle as Python 2 and its numpy did: protocol 2, byte strings, old module names, numbers for booleans."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    if value is None:
        return b"N"
    if value is False:
        return b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<I", len(content)) + content
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(k) + _opcodes(v) for k, v in value.items()) + b"u"
    assert isinstance(value, np.ndarray) and value.dtype == np.uint8
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _opcodes((0,)) + _opcodes("b") + b"tR"
    kind = b"cnumpy\ndtype\n" + _opcodes(("u1", 0, 1)) + b"R" + _opcodes((3, "|", None, None, None, -1, -1, 0)) + b"b"
    state = b"(" + _opcodes(1) + _opcodes(value.shape) + kind + _opcodes(False) + _opcodes(value.tobytes()) + b"t"
    return made + state + b"b"


def make_config(root: Path | None, *, num_classes: int = 10, image_size: int = 32, **data: object) -> Config:
    """Return a validated configuration with these images."""
    model = ModelConfig(num_classes=num_classes, image_size=image_size)
    return validate(Config(model=model, data=DataConfig(root=None if root is None else str(root), **data)))


def cifar10_pixels() -> Pixels:
    """Read the real CIFAR-10 from the mosaics."""
    return {
        split: {name: _read_mosaic(MOSAICS / f"{split}-{name}.webp") for name in CLASSES} for split in ("train", "test")
    }


def _read_mosaic(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    rows = len(pixels) // 32
    return pixels.reshape(rows, 32, 10, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)  # -> NHWC
