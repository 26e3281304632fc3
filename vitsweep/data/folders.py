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
MAX_ERRORS = 20  # in one message
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
    listed = ImageList(root, val)
    if listed.errors:  # unreadable files are named too, so that all can be mended at once
        refuse_files([*listed.errors, *_read_errors(listed.paths(), image_size, num_channels, resize)])
    files = listed.files
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


class ImageList:
    """Images under a folder, and what is wrong with their places, names and classes.

    Args:
        root: folder of train/ and test/.
        val: `data.val`; see find_folders.
    """

    def __init__(self, root: Path, val: str):
        self.root = root
        self.errors: list[str] = []
        self.files: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
        """Split -> class -> name, size in bytes and modification time (ns) of its images."""
        for split in ("train", "val", "test") if val == "folder" else SPLITS:
            if (root / split).is_dir():
                self.files[split] = self._classes(split)
            else:
                where = f"class folders are {root}/train/<class>/ and {root}/test/<class>/"
                self.errors.append(f"{root}  has no {split}/; {where}")
        self._check_val(val)
        self._check_classes()

    def paths(self) -> list[Path]:
        """Return the paths of all images."""
        return [
            self.root / split / name / file[0]
            for split, classes in self.files.items()
            for name, files in classes.items()
            for file in files
        ]

    def _classes(self, split: str) -> dict[str, list[tuple[str, int, int]]]:
        """Return the images of each class of a split, sorted."""
        entries = [entry for entry in self._scan(self.root / split) if not _is_hidden(entry.name)]
        folders = [entry for entry in entries if entry.is_dir()]
        for entry in entries if folders else ():
            if not entry.is_dir() and entry.name.lower().endswith(EXTENSIONS + OTHER_EXTENSIONS):
                place = f"{self.root / split}/<class>/"
                self.errors.append(f"{entry.path}  lies in no class folder; move it to {place} or remove it")
        return {entry.name: sorted(self._images(entry.path)) for entry in folders}

    def _scan(self, folder: str | Path) -> list[os.DirEntry]:
        """Return the entries of a folder without links to missing files, which are errors; sorted by name."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.errors.append(f"{folder}  cannot be read ({error.strerror}); make it readable or remove it")
            return []
        broken = [entry for entry in entries if entry.is_symlink() and not os.path.exists(entry.path)]
        self.errors += [
            f"{entry.path}  is a link to {os.readlink(entry.path)}, which does not exist; mend or remove the link"
            for entry in broken
        ]
        return [entry for entry in entries if entry not in broken]

    def _images(self, folder: str, below: str = "") -> Iterator[tuple[str, int, int]]:
        for entry in self._scan(folder):
            if _is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from self._images(entry.path, f"{below}{entry.name}/")
            elif entry.name.lower().endswith(EXTENSIONS):
                stat = entry.stat()
                yield f"{below}{entry.name}", stat.st_size, stat.st_mtime_ns
            elif entry.name.lower().endswith(OTHER_EXTENSIONS):
                rule = f"is of a format that is not read; allowed: {' '.join(EXTENSIONS)}; convert or remove it"
                self.errors.append(f"{entry.path}  {rule}")

    def _check_val(self, val: str) -> None:
        """Refuse validation images that are not used; with data.val=test, which was asked for, log a warning."""
        root = self.root
        found = next((name for name in VAL_NAMES if (root / name).is_dir()), None)
        if found is None or (found == "val" and val == "folder"):
            return
        if val == "test":
            log.warning("%s/ is not used: data.val=test", root / found)
            return
        rename = "" if found == "val" else f"rename it to {root}/val/ and "
        self.errors.append(
            f"data.val={val}  does not use the images in {root}/{found}/; {rename}use data=image_folder "
            "data.val=folder to validate on them, or move them (into train/, of which data.val_fraction is then held "
            "out)"
        )

    def _check_classes(self) -> None:
        found, root = self.files, self.root
        if found.get("train") == {}:
            self.errors.append(f"{root}/train  has no class folders; images belong into {root}/train/<class>/")
            return
        for split, other in itertools.permutations(found, 2):
            if alone := sorted(set(found[split]) - set(found[other])):
                rule = f"has classes in {split}/ that {other}/ lacks: {', '.join(alone)}"
                self.errors.append(f"{root}  {rule}; the folders must be the same")
        empty = [f"{split}/{name}" for split in found for name in sorted(found[split]) if not found[split][name]]
        shared = set.intersection(*map(set, found.values())) if found else set()
        if empty := [name for name in empty if name.partition("/")[2] in shared]:
            self.errors.append(f"{root}  has no images in {', '.join(empty)}; known endings: {' '.join(EXTENSIONS)}")


def list_images(root: Path, val: str) -> dict[str, dict[str, list[tuple[str, int, int]]]]:
    """Return split -> class -> name, size in bytes and modification time (ns) of its images; see find_folders."""
    listed = ImageList(root, val)
    refuse_files(listed.errors)
    return listed.files


def refuse_files(errors: list[str]) -> None:
    """Raise DataError with the errors, each on a line; of many the first MAX_ERRORS."""
    if errors:
        more = len(errors) - MAX_ERRORS
        raise DataError("\n".join([*errors[:MAX_ERRORS], *([f"and {more} more"] if more > 0 else [])]))


def count_images(root: Path, val: str) -> dict[str, int] | None:
    """Return class -> number of its training images, sorted by name; None without train/ and test/.

    Raises:
        DataError: see find_folders.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        return None
    return {name: len(files) for name, files in sorted(list_images(root, val)["train"].items())}


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
    errors: dict[int, str] = {}

    def fill(start: int) -> int:
        part = paths[start : start + FILES_PER_TASK]
        for index, path in enumerate(part, start):
            try:
                image_NCHW[index], wide_N[index] = _read(path, image_size, num_channels, resize)
            except DataError as error:
                errors[index] = str(error)
        return len(part)

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        task = bar.add_task(f"reading {len(paths)} images", total=len(paths))
        for count in pool.map(fill, range(0, len(paths), FILES_PER_TASK)):
            bar.advance(task, count)
    refuse_files([errors[index] for index in sorted(errors)])
    _check_dark(paths, image_NCHW, np.flatnonzero(wide_N))
    return image_NCHW


def _read_errors(paths: list[Path], image_size: int, num_channels: int, resize: bool) -> list[str]:
    """Return a message for each file that cannot be read."""
    try:
        _read_all(paths, image_size, num_channels, resize)
    except DataError as error:
        return str(error).split("\n")
    return []


def _check_dark(paths: list[Path], image_NCHW: np.ndarray, wide: np.ndarray) -> None:
    """Refuse 16-bit files all of which are nearly black: they hold pixels of 12 bits or fewer."""
    if len(wide) and 0 < max(int(image_NCHW[index].max()) for index in wide) <= DARK:
        raise DataError(
            f"{paths[wide[0]]}  and all other 16-bit images ({len(wide)}) are nearly black: none has a value above "
            f"{256 * DARK + 255} of 65535, as if their pixels had 12 bits or fewer; scale them to the whole range"
        )


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
