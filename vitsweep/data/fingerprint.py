"""Fingerprint of the images that a configuration wants, before a cell is planned; torch is not imported for it.

Shapes and the published CIFAR-10 are determined by the other settings. A folder's images are not: they are read once,
and while names, sizes and modification times of its files stay the same, the cache's fingerprint is theirs.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from vitsweep.config.schema import Config
from vitsweep.data.cache import CACHE_VERSION, cache_paths
from vitsweep.data.cifar10 import find_cifar10
from vitsweep.data.images import KNOWN_FINGERPRINTS, to_canonical_order
from vitsweep.data.sources import cache_name, find_source, read_images


def image_fingerprint(config: Config, keep: bool = True) -> str:
    """Return the fingerprint of the images under `data.root`; empty if the other settings determine them.

    Args:
        keep: whether images that must be read for it are cached.

    Raises:
        DataError: the images are missing, damaged or of another size.
    """
    data, model = config.data, config.model
    if data.name == "shapes" or not data.root:
        return ""
    root = Path(data.root)
    if data.name == "cifar10" and find_cifar10(root):
        return ""
    source = find_source(data.name, root, model.image_size, model.num_channels, data.val)
    if source is None:  # the published CIFAR-10, which is downloaded later
        return ""
    name = cache_name(data, model.image_size, model.num_channels)
    found = _cached_fingerprint(root, name, source.signature)
    if not found and keep:
        found = read_images(data, model.image_size, model.num_channels).fingerprint
    found = found or to_canonical_order(source.read()).fingerprint
    return "" if data.name == "cifar10" and found in KNOWN_FINGERPRINTS else found


def _cached_fingerprint(root: Path, name: str, signature: str) -> str:
    """Return the fingerprint in a cache made from the same files; its pixels are verified when a cell loads them."""
    for path in cache_paths(root, name):
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
        except (SafetensorError, OSError):
            continue
        if (metadata.get("version"), metadata.get("signature")) == (CACHE_VERSION, signature):
            return metadata.get("fingerprint", "")
    return ""
