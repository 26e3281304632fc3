"""Class folders ROOT/train/<class>/** and ROOT/test/<class>/**, as in torchvision's ImageFolder; also ROOT/val/."""

import itertools
import logging
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

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
OTHER_EXTENSIONS = (".avif", ".dng", ".exr", ".heic", ".heif", ".hdr", ".jfif", ".jp2", ".jpe", ".jxl", ".svg", ".tga")
VAL_NAMES = ("val", "valid", "validation")
DARK = 15  # of 255: the largest value of 12-bit pixels in 16-bit files
FILES_PER_TASK = 64  # reading one small image takes less time than submitting a task


def find_folders(root: Path, *, image_size: int, num_channels: int, resize: bool, val: str = "split") -> Source | None:
    """Return the class folders under `root`, or None without train/ and test/.

    Args:
        root: folder of train/ and test/.
        image_size: height and width wanted, pixels.
        num_channels: 3 for RGB, 1 for gray; images of another mode are converted.
        resize: resize images of another size and crop them to the center, instead of raising DataError.
        val: `data.val`; `folder` reads ROOT/val/ as well, `split` refuses it.

    Raises:
        DataError: a split is missing, classes differ, a class has no images, or a file cannot be an image to read.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        return None
    files = list_images(root, val)
    classes = sorted(files["train"])
    listing = [(split, name, *file) for split in files for name in classes for file in files[split][name]]
    size = image_size if resize else None

    def read() -> Images:
        paths = [root / split / name / relative for split, name, relative, *_ in listing]
        return Images(
            image_NCHW=_read_all(paths, image_size, num_channels, resize),
            label_N=np.array([classes.index(name) for _, name, *_ in listing]),
            num_train=sum(split == "train" for split, *_ in listing),
            num_val=sum(split == "val" for split, *_ in listing),
            classes=classes,
        )

    return Source(description=f"the class folders in {root}", signature=hash_facts([size, listing]), read=read)


def list_images(root: Path, val: str) -> dict[str, dict[str, list[tuple[str, int, int]]]]:
    """Return split -> class -> name, size in bytes and modification time (ns) of its images; see find_folders."""
    splits = ("train", "val", "test") if val == "folder" else SPLITS
    files = {split: _list_classes(root, split) for split in splits}
    _check_val(root, val)
    _check_classes(root, files)
    return files


def count_images(root: Path, val: str) -> dict[str, int] | None:
    """Return class -> number of its training images, sorted by name; None without train/ and test/.

    Raises:
        DataError: see find_folders.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        return None
    return {name: len(files) for name, files in sorted(list_images(root, val)["train"].items())}


def _check_val(root: Path, val: str) -> None:
    """Refuse validation images that are not used; with data.val=test, which was asked for, log a warning."""
    found = next((name for name in VAL_NAMES if (root / name).is_dir()), None)
    if found is None or (found == "val" and val == "folder"):
        return
    if val == "test":
        log.warning("%s/ is not used: data.val=test", root / found)
        return
    rename = "" if found == "val" else f"rename it to {root}/val/ and "
    raise DataError(
        f"data.val={val}  does not use the images in {root}/{found}/; {rename}use data=image_folder data.val=folder to "
        "validate on them, or move them (into train/, of which data.val_fraction is then held out)"
    )


def read_image(path: Path, image_size: int, num_channels: int, resize: bool) -> np.ndarray:
    """Read one image file as uint8 pixels of shape (num_channels, image_size, image_size).

    Transparency is dropped, as in torchvision; 16-bit gray becomes 8-bit; the EXIF orientation is applied.

    Raises:
        DataError: the file is damaged, has pixels of 32 bits, or is of another size and `resize` is False.
    """
    return _read(path, image_size, num_channels, resize)[0]


def _read(path: Path, image_size: int, num_channels: int, resize: bool) -> tuple[np.ndarray, bool]:
    """Return the pixels of read_image, and True if the file has 16 bits per pixel and channel."""
    try:
        with Image.open(path) as file:
            is_wide = any(bits in str(part) for tile in file.tile for part in tile[3:] for bits in (";12", ";16"))
            _check_range(path, file)
            image = _convert(ImageOps.exif_transpose(file), "RGB" if num_channels == 3 else "L")
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen types for damaged files, SyntaxError among them
        raise DataError(f"{path}  cannot be read as an image ({error}); replace or remove it") from error
    if image.size != (image_size, image_size):
        if not resize:
            raise DataError(
                f"{path}  is {image.width}x{image.height} pixels, CIFAR-10 has {image_size}x{image_size}; "
                "use data=image_folder, which resizes"
            )
        image = ImageOps.fit(image, (image_size, image_size), method=Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(image_size, image_size, num_channels).transpose(2, 0, 1), is_wide  # HWC -> CHW


def _check_range(path: Path, file: Image.Image) -> None:
    """Refuse pixels whose range is not known: floats, and integers of 32 bits."""
    # Pillow opens 16-bit PGM files in mode I, scaled to 0 .. 65,535.
    if file.mode == "F" or (file.mode == "I" and file.format not in ("PNG", "PPM")):
        kind = "floating-point" if file.mode == "F" else "signed or 32-bit integer"
        raise DataError(f"{path}  has {kind} pixels, whose black and white are not known; convert it to 8 or 16 bits")


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16-bit gray to white
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P":  # Pillow warns when it converts a transparent palette directly
        image = image.convert("RGBA")
    return image.convert(mode)


def _read_all(paths: list[Path], image_size: int, num_channels: int, resize: bool) -> np.ndarray:
    """Read all images into one array in threads (Pillow decodes outside the GIL), with a progress bar on terminals."""
    image_NCHW = np.empty((len(paths), num_channels, image_size, image_size), dtype=np.uint8)

    wide_N = np.zeros(len(paths), dtype=bool)

    def fill(start: int) -> int:
        part = paths[start : start + FILES_PER_TASK]
        for index, path in enumerate(part, start):
            image_NCHW[index], wide_N[index] = _read(path, image_size, num_channels, resize)
        return len(part)

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        task = bar.add_task(f"reading {len(paths)} images", total=len(paths))
        for count in pool.map(fill, range(0, len(paths), FILES_PER_TASK)):
            bar.advance(task, count)
    _check_dark(paths, image_NCHW, np.flatnonzero(wide_N))
    return image_NCHW


def _check_dark(paths: list[Path], image_NCHW: np.ndarray, wide: np.ndarray) -> None:
    """Refuse 16-bit files all of which are nearly black: they hold pixels of 12 bits or fewer."""
    if len(wide) and 0 < max(int(image_NCHW[index].max()) for index in wide) <= DARK:
        raise DataError(
            f"{paths[wide[0]]}  and all other 16-bit images ({len(wide)}) are nearly black: none has a value above "
            f"{256 * DARK + 255} of 65535, as if their pixels had 12 bits or fewer; scale them to the whole range"
        )


def _list_classes(root: Path, split: str) -> dict[str, list[tuple[str, int, int]]]:
    """Return for each class the name, size in bytes and modification time (ns) of its images, sorted."""
    if not (root / split).is_dir():
        raise DataError(f"{root}  has no {split}/; class folders are {root}/train/<class>/ and {root}/test/<class>/")
    entries = [entry for entry in _scan(root / split) if not _is_hidden(entry.name)]
    folders = [entry for entry in entries if entry.is_dir()]
    for entry in entries if folders else ():
        if not entry.is_dir() and entry.name.lower().endswith(EXTENSIONS + OTHER_EXTENSIONS):
            raise DataError(f"{entry.path}  lies in no class folder; move it to {root / split}/<class>/ or remove it")
    return {entry.name: sorted(_list_files(entry.path)) for entry in folders}


def _scan(folder: str | Path) -> list[os.DirEntry]:
    """Return the entries of a folder.

    Raises:
        DataError: it cannot be read, or an entry is a link to a missing file.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}  cannot be read ({error.strerror}); make it readable or remove it") from error
    for entry in entries:
        if entry.is_symlink() and not os.path.exists(entry.path):
            target = os.readlink(entry.path)
            raise DataError(f"{entry.path}  is a link to {target}, which does not exist; mend or remove the link")
    return entries


def _list_files(folder: str, below: str = "") -> Iterator[tuple[str, int, int]]:
    for entry in _scan(folder):
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _list_files(entry.path, f"{below}{entry.name}/")
        elif entry.name.lower().endswith(EXTENSIONS):
            stat = entry.stat()
            yield f"{below}{entry.name}", stat.st_size, stat.st_mtime_ns
        elif entry.name.lower().endswith(OTHER_EXTENSIONS):
            known = " ".join(EXTENSIONS)
            raise DataError(f"{entry.path}  is of a format that is not read; allowed: {known}; convert or remove it")


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _check_classes(root: Path, found: dict[str, dict[str, list]]) -> None:
    for split, other in itertools.permutations(found, 2):
        alone = sorted(set(found[split]) - set(found[other]))
        if alone:
            raise DataError(
                f"{root}  has classes in {split}/ that {other}/ lacks: {', '.join(alone)}; the folders must be the same"
            )
    if not found["train"]:
        raise DataError(f"{root}/train  has no class folders; images belong into {root}/train/<class>/")
    empty = [f"{split}/{name}" for split in found for name in sorted(found[split]) if not found[split][name]]
    if empty:
        raise DataError(f"{root}  has no images in {', '.join(empty)}; known endings: {' '.join(EXTENSIONS)}")
