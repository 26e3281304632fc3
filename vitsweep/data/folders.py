"""Class folders ROOT/train/<class>/** and ROOT/test/<class>/**, as in torchvision's ImageFolder."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import Progress

from vitsweep.data.images import Images, Source, hash_facts
from vitsweep.errors import DataError

SPLITS = ("train", "test")
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FILES_PER_TASK = 64  # reading one small image takes less time than submitting a task


def find_folders(root: Path, *, image_size: int, num_channels: int, resize: bool) -> Source | None:
    """Return the class folders under `root`, or None without train/ and test/.

    Args:
        root: folder of train/ and test/.
        image_size: height and width wanted, pixels.
        num_channels: 3 for RGB, 1 for gray; images of another mode are converted.
        resize: resize images of another size and crop them to the center, instead of raising DataError.

    Raises:
        DataError: train/ or test/ is missing, their classes differ, or a class has no images.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        return None
    files = {split: _list_classes(root, split) for split in SPLITS}
    classes = sorted(files["train"])
    _check_classes(root, files)
    listing = [(split, name, *file) for split in SPLITS for name in classes for file in files[split][name]]
    size = image_size if resize else None

    def read() -> Images:
        paths = [root / split / name / relative for split, name, relative, *_ in listing]
        return Images(
            image_NCHW=_read_all(paths, image_size, num_channels, resize),
            label_N=np.array([classes.index(name) for _, name, *_ in listing]),
            num_train=sum(split == "train" for split, *_ in listing),
            classes=classes,
        )

    return Source(description=f"the class folders in {root}", signature=hash_facts([size, listing]), read=read)


def read_image(path: Path, image_size: int, num_channels: int, resize: bool) -> np.ndarray:
    """Read one image file as uint8 pixels of shape (num_channels, image_size, image_size).

    Transparency is dropped, as in torchvision; 16-bit gray becomes 8-bit; the EXIF orientation is applied.

    Raises:
        DataError: the file is damaged, or of another size and `resize` is False.
    """
    try:
        with Image.open(path) as file:
            image = _convert(ImageOps.exif_transpose(file), "RGB" if num_channels == 3 else "L")
    except Exception as error:  # Pillow raises a dozen types for damaged files, SyntaxError among them
        raise DataError(f"{path}  cannot be read as an image ({error}); replace or remove it") from error
    if image.size != (image_size, image_size):
        if not resize:
            raise DataError(
                f"{path}  is {image.width}x{image.height} pixels, CIFAR-10 has {image_size}x{image_size}; "
                "use data=image_folder, which resizes"
            )
        image = ImageOps.fit(image, (image_size, image_size), method=Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(image_size, image_size, num_channels).transpose(2, 0, 1)  # HWC -> CHW


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16-bit gray to white
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P":  # Pillow warns when it converts a transparent palette directly
        image = image.convert("RGBA")
    return image.convert(mode)


def _read_all(paths: list[Path], image_size: int, num_channels: int, resize: bool) -> np.ndarray:
    """Read all images into one array in threads (Pillow decodes outside the GIL), with a progress bar on terminals."""
    image_NCHW = np.empty((len(paths), num_channels, image_size, image_size), dtype=np.uint8)

    def fill(start: int) -> int:
        part = paths[start : start + FILES_PER_TASK]
        for index, path in enumerate(part, start):
            image_NCHW[index] = read_image(path, image_size, num_channels, resize)
        return len(part)

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        task = bar.add_task(f"reading {len(paths)} images", total=len(paths))
        for count in pool.map(fill, range(0, len(paths), FILES_PER_TASK)):
            bar.advance(task, count)
    return image_NCHW


def _list_classes(root: Path, split: str) -> dict[str, list[tuple[str, int, int]]]:
    """Return for each class the name, size in bytes and modification time (ns) of its images, sorted."""
    if not (root / split).is_dir():
        raise DataError(f"{root}  has no {split}/; class folders are {root}/train/<class>/ and {root}/test/<class>/")
    folders = [entry for entry in os.scandir(root / split) if entry.is_dir() and not _is_hidden(entry.name)]
    return {folder.name: sorted(_list_files(folder.path)) for folder in folders}


def _list_files(folder: str, below: str = "") -> Iterator[tuple[str, int, int]]:
    for entry in os.scandir(folder):
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _list_files(entry.path, f"{below}{entry.name}/")
        elif entry.name.lower().endswith(EXTENSIONS):
            stat = entry.stat()
            yield f"{below}{entry.name}", stat.st_size, stat.st_mtime_ns


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _check_classes(root: Path, found: dict[str, dict[str, list]]) -> None:
    for split, other in (SPLITS, SPLITS[::-1]):
        alone = sorted(set(found[split]) - set(found[other]))
        if alone:
            raise DataError(
                f"{root}  has classes in {split}/ that {other}/ lacks: {', '.join(alone)}; the folders must be the same"
            )
    if not found["train"]:
        raise DataError(f"{root}/train  has no class folders; images belong into {root}/train/<class>/")
    empty = [f"{split}/{name}" for split in SPLITS for name in sorted(found[split]) if not found[split][name]]
    if empty:
        raise DataError(f"{root}  has no images in {', '.join(empty)}; known endings: {' '.join(EXTENSIONS)}")
