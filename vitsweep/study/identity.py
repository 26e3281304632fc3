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

    def are_unstated(self, fingerprint: str) -> bool:
        """Return True if configurations state none and no cell contradicts this one."""
        return self.has_unstated and self.found <= {fingerprint}


class FingerprintFiller:
    """Callable that fills data.fingerprint into a configuration, unless it is set already.

    Args:
        directory: returns the directory of the sweep or of the single run; called for folders of images only.
    """

    def __init__(self, directory: Callable[[], Path] | None = None):
        self.directory = directory
        self.fingerprints: dict[str, str] = {}
        self.earlier: dict[str, EarlierImages] | None = None

    def __call__(self, config: Config) -> Config:
        """Fill it in and return the configuration.

        Raises:
            ConfigError: the images are missing or damaged, and no plan states their fingerprint.
        """
        data, model = config.data, config.model
        if data.name == "shapes" or data.fingerprint:
            return config
        key = json.dumps([data.name, data.root, data.val, model.image_size, model.num_channels])
        if key not in self.fingerprints:
            self.fingerprints[key] = self._fingerprint(config)
        data.fingerprint = self.fingerprints[key]
        return config

    def _fingerprint(self, config: Config) -> str:
        from vitsweep.data.fingerprint import image_fingerprint  # late: numpy, Pillow

        try:
            found = image_fingerprint(config)
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
