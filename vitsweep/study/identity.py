"""Identity of cells: the fingerprint of their images, filled into configurations before they are planned.

Cells of versions without data.fingerprint keep their hashes: if they were trained on the images that are found now, it
stays empty.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from vitsweep.config.convert import from_dict
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError, DataError, RecordError
from vitsweep.study.plan import Plan
from vitsweep.study.record import read_record


class FingerprintFiller:
    """Callable that fills data.fingerprint into a configuration, unless it is set already.

    Args:
        cells: returns the directories of cells that are there already; called for folders of images only.
    """

    def __init__(self, cells: Callable[[], Iterable[Path]] = list):
        self.cells = cells
        self.known: dict[str, str] = {}
        self.unstated: set[str] | None = None

    def __call__(self, config: Config) -> Config:
        """Fill it in and return the configuration.

        Raises:
            ConfigError: the images are missing or damaged.
        """
        data, model = config.data, config.model
        if data.name == "shapes" or data.fingerprint:
            return config
        key = json.dumps([data.name, data.root, data.val, model.image_size, model.num_channels])
        if key not in self.known:
            from vitsweep.data.fingerprint import image_fingerprint  # late: numpy, Pillow

            try:
                self.known[key] = image_fingerprint(config)
            except DataError as error:
                raise ConfigError([str(error)]) from error
        if self.known[key] and self.unstated is None:
            self.unstated = unstated_fingerprints(self.cells())
        if self.unstated is not None and self.known[key] not in self.unstated:
            data.fingerprint = self.known[key]
        return config


def unstated_fingerprints(cells: Iterable[Path]) -> set[str]:
    """Return the fingerprints of images that cells were trained on and that their configurations do not state."""
    found = set()
    for cell in cells:
        try:
            record = read_record(cell)
        except (OSError, RecordError):
            continue
        if not record.config.get("data", {}).get("fingerprint"):
            found.add(record.data_fingerprint)
    return found - {""}


def refuse_other_images(plan: Plan, directory: Path) -> None:
    """Raise if cells that state no fingerprint would see other images than those that are finished.

    Raises:
        DataError: naming both fingerprints; or the images are missing.
    """
    from vitsweep.data.fingerprint import image_fingerprint

    known = unstated_fingerprints(directory / cell.id for cell in plan.cells)
    groups = {json.dumps([c.config["data"], c.config["model"].get("image_size")]): c.config for c in plan.cells}
    for config in groups.values() if known else ():
        found = "" if config["data"].get("fingerprint") else image_fingerprint(from_dict(config))
        if found and found not in known:
            raise DataError(
                f"data.root={config['data']['root']}  has other images (fingerprint {found[:8]}) than the study was "
                f"trained on ({', '.join(sorted(f[:8] for f in known))}); put those back, or start a study of its own"
            )
