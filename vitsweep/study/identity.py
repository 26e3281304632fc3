"""Identity of cells: the fingerprint of their images, filled into configurations before they are planned.

Cells of versions without data.fingerprint keep their hashes: it stays empty where a directory's plan or record states
none, unless they were trained on other images than those that are found now.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitsweep.config.convert import from_dict
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError, DataError, RecordError
from vitsweep.study.plan import Plan, read_plan
from vitsweep.study.record import read_record


@dataclass
class EarlierImages:
    """Images of a directory's cells that have one data set and one form of its images."""

    stated: set[str] = field(default_factory=set)
    """Fingerprints that configurations state."""
    found: set[str] = field(default_factory=set)
    """Fingerprints that cells were trained on whose configuration states none."""
    has_unstated: bool = False
    """True if some configuration states none."""
    num_classes: int = 0
    """Number of classes of the configurations; 0 without any."""

    def are_unstated(self, fingerprint: str) -> bool:
        """Return True if configurations state none and no cell contradicts this one."""
        return self.has_unstated and self.found <= {fingerprint}


class FingerprintFiller:
    """Callable that fills in what the images decide: data.fingerprint unless it is set already, the number of classes.

    Args:
        directory: returns the directory of the sweep or of the single run; called for folders of images only.
        keep: whether images that must be read are cached; a dry run writes nothing.
    """

    def __init__(self, directory: Callable[[], Path] | None = None, keep: bool = True):
        self.directory, self.keep = directory, keep
        self.fingerprints: dict[str, str] = {}
        self.counts: dict[str, dict[str, int] | None] = {}
        self.earlier: dict[str, EarlierImages] | None = None

    def __call__(self, config: Config) -> Config:
        """Fill them in and return the configuration.

        Raises:
            ConfigError: the images are missing or damaged, and no plan states their fingerprint; or they are of
                another number of classes.
        """
        data, model = config.data, config.model
        if data.name != "shapes" and not data.fingerprint:
            self._fill_fingerprint(config)
        if model.num_classes == 0 or data.soft_train_limit is not None or data.name == "image_folder":
            self._adapt(config)
        return config

    def _adapt(self, config: Config) -> None:
        from vitsweep.data.own_images import adapt_to_images, class_error, training_counts  # late: numpy, Pillow

        data = config.data
        key = json.dumps([data.name, data.root, data.val, data.shapes_train])
        if key not in self.counts:
            try:
                self.counts[key] = training_counts(data)
            except DataError:  # the fingerprint is known without them, and the cells that are left raise it
                self.counts[key] = None
        counts = self.counts[key]
        if counts is None:
            config.model.num_classes = config.model.num_classes or self._earlier(config).num_classes
            data.soft_train_limit = None
            if config.model.num_classes == 0:
                rule = "cannot be counted, for want of the images"
                raise ConfigError([f"model.num_classes=0  {rule} of data.root={data.root}; give the number"])
            return
        adapt_to_images(config, list(counts), sum(counts.values()))
        if error := class_error(config, list(counts)):
            raise ConfigError([error])

    def _fill_fingerprint(self, config: Config) -> None:
        data, model = config.data, config.model
        key = json.dumps([data.name, data.root, data.val, model.image_size, model.num_channels])
        if key not in self.fingerprints:
            self.fingerprints[key] = self._fingerprint(config)
        data.fingerprint = self.fingerprints[key]

    def _fingerprint(self, config: Config) -> str:
        from vitsweep.data.fingerprint import image_fingerprint  # late: numpy, Pillow

        try:
            found = image_fingerprint(config, self.keep)
        except DataError as error:
            stated = self._earlier(config).stated
            if len(stated) != 1:
                raise ConfigError([str(error)]) from error
            found = next(iter(stated))  # the cells that are left raise it
        return "" if not found or self._earlier(config).are_unstated(found) else found

    def _earlier(self, config: Config) -> EarlierImages:
        if self.earlier is None:
            self.earlier = earlier_images(self.directory()) if self.directory else {}
        return self.earlier.get(image_key(vars(config.data), vars(config.model)), EarlierImages())


def image_key(data: dict[str, Any], model: dict[str, Any]) -> str:
    """Return the data set and the form of its images; configurations of one key have one fingerprint at one place."""
    return json.dumps([data.get("name"), data.get("val"), model.get("image_size"), model.get("num_channels")])


def earlier_images(directory: Path) -> dict[str, EarlierImages]:
    """Return image_key -> what the plan and the records of a sweep's or a single run's directory say of their images.

    Raises:
        RecordError: the plan cannot be read.
    """
    plan = read_plan(directory)
    cells = [(directory / cell.id, cell.config) for cell in plan.cells] if plan else [(directory, None)]
    earlier: dict[str, EarlierImages] = {}
    for path, config in cells:
        try:
            record = read_record(path)
        except (OSError, RecordError):
            record = None
        config = config or (record.config if record else None)
        if config is None:
            continue
        images = earlier.setdefault(image_key(config["data"], config["model"]), EarlierImages())
        images.num_classes = config["model"]["num_classes"]
        if fingerprint := config["data"].get("fingerprint"):
            images.stated.add(fingerprint)
        else:
            images.has_unstated = True
            images.found |= {record.data_fingerprint} - {""} if record else set()
    return earlier


def refuse_other_images(plan: Plan, directory: Path) -> None:
    """Raise if cells that state no fingerprint would see other images than those that are finished.

    Raises:
        DataError: naming both fingerprints; or the images are missing.
    """
    from vitsweep.data.fingerprint import image_fingerprint

    configs = {image_key(cell.config["data"], cell.config["model"]): cell.config for cell in plan.cells}
    for key, images in earlier_images(directory).items():
        if not images.has_unstated or not images.found or images.stated:
            continue
        found = image_fingerprint(from_dict(configs[key]))
        if found and not images.are_unstated(found):
            raise DataError(
                f"data.root={configs[key]['data']['root']}  has other images (fingerprint {found[:8]}) than the study "
                f"was trained on ({', '.join(sorted(f[:8] for f in images.found))}); put those back, or start a study "
                "of its own"
            )
