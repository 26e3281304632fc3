"""One seed becomes many: child seeds by hashing their names, so that no random stream depends on another.

Adding a stream, or drawing more from one, leaves all others as they were; children like `seed + 1` would be shared
between replicates. What must be the same on every machine and in every numpy version (the built-in images, the
validation split) comes from `draw_bits`: numpy promises stable streams for its bit generators only.
"""

import hashlib
import json

import numpy as np
import torch

STREAMS = ("init", "order", "augment", "dropout")


def derive_seed(seed: int, *names: str | int) -> int:
    """The child seed of `seed` that is called `names`.

    Args:
        seed: parent seed, any integer.
        names: what the stream is for, e.g. "augment", or "shapes", "train".

    Returns:
        An integer in 0 .. 2**64 - 1, the same on every machine.
    """
    text = json.dumps([seed, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def make_generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for the stream `names` of `seed`; those of one training run are STREAMS."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *names))


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed the generators that torch itself draws from on the CPU and on `device`.

    torch.manual_seed does the same to every kind of device there could be, and takes half a millisecond for it.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def draw_bits(count: int, seed: int, *names: str | int) -> np.ndarray:
    """`count` uint64 of 64 random bits each from the stream `names` of `seed`."""
    return np.random.PCG64(derive_seed(seed, *names)).random_raw(count)


def permute(count: int, seed: int, *names: str | int) -> np.ndarray:
    """The numbers 0 .. count - 1 in a random order drawn from the stream `names` of `seed`."""
    return np.argsort(draw_bits(count, seed, *names), kind="stable")
