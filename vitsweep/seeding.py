"""Independent random streams: child seeds are hashes of a parent seed and the stream's names.

A new stream, or more draws from one, leaves all others unchanged; children such as `seed + 1` would be shared between
replicates. `draw_bits` gives the same numbers on every machine and in every numpy version (for the built-in images and
the validation split): numpy guarantees stable streams for its bit generators only.
"""

import hashlib
import json

import numpy as np
import torch

STREAMS = ("init", "order", "augment", "dropout")


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the child seed of `seed` for the stream `names`.

    Args:
        seed: parent seed, any integer.
        names: purpose of the stream, e.g. "augment", or "shapes", "train".

    Returns:
        An integer in 0 .. 2**64 - 1, the same on every machine.
    """
    text = json.dumps([seed, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def make_generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a torch generator for the stream `names` of `seed`; those of one training run are STREAMS."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *names))


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed torch's default generators of the CPU and of `device`.

    torch.manual_seed seeds those of every kind of device, which takes half a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def draw_bits(count: int, seed: int, *names: str | int) -> np.ndarray:
    """Draw `count` uint64 of 64 random bits each from the stream `names` of `seed`."""
    return np.random.PCG64(derive_seed(seed, *names)).random_raw(count)


def permute(count: int, seed: int, *names: str | int) -> np.ndarray:
    """Permute the numbers 0 .. count - 1 at random, with the stream `names` of `seed`."""
    return np.argsort(draw_bits(count, seed, *names), kind="stable")
