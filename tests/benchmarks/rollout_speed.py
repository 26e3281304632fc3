"""Cost of rollout: beside the plain forward pass, as a chain of products, and as a whole gallery.

The forward passes with and without rollout alternate batch by batch, so both see the same machine; the figures that
count are ratios. Models are untrained: speed does not depend on the weights.

    python tests/benchmarks/rollout_speed.py --images 10000
    python tests/benchmarks/rollout_speed.py --only gallery --arms 10 --seeds 3 --gallery-images 16
"""

import argparse
import contextlib
import dataclasses
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from vitsweep.analysis.__main__ import main as analysis_main
from vitsweep.analysis.attention.maps import CHUNK, attention_maps
from vitsweep.analysis.attention.rollout import fuse, rollout

from vitsweep.config.convert import config_hash, from_dict, to_dict
from vitsweep.config.schema import Config, ModelConfig
from vitsweep.data.augment import normalize
from vitsweep.data.load import load_data
from vitsweep.model.build import make_model
from vitsweep.model.vit import ViT
from vitsweep.study.record import Record, write_record
from vitsweep.train.checkpoint import save_model

PLAIN = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("forward", "chain", "gallery"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--arms", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gallery-images", type=int, default=16)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if given.only in (None, "forward"):
        forward(given.images)
    if given.only in (None, "chain"):
        chain()
    if given.only in (None, "gallery"):
        gallery(given.arms, given.seeds, given.gallery_images)


@torch.no_grad()
def forward(count: int) -> None:
    """Time the plain forward pass and the one with capture and rollout, on the starting model, seconds."""
    model = ViT(ModelConfig()).eval()
    image_NCHW = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    names, clocks = ("plain", "rollout"), {"wall": time.perf_counter, "processor": time.process_time}
    total = {(name, clock): 0.0 for name in names for clock in clocks}
    for number, image_BCHW in enumerate([image_NCHW[:CHUNK], *image_NCHW.split(CHUNK)]):
        for name in names[:: 1 if number % 2 else -1]:
            start = {clock: now() for clock, now in clocks.items()}
            if name == "plain":
                model(normalize(image_BCHW, **PLAIN)).softmax(-1).max(-1)
            else:
                attention_maps(model, image_BCHW, PLAIN)
            for clock, now in clocks.items():
                total[name, clock] += now() - start[clock] if number else 0.0  # the first chunk warms up
    for clock in clocks:
        plain, both = (total[name, clock] for name in names)
        print(
            f"{count:,} images, {clock} time: plain {plain:.1f} s, with rollout {both:.1f} s, ratio {both / plain:.2f}"
        )


def chain(B: int = CHUNK, depth: int = 8, T: int = 65, rounds: int = 400) -> None:
    """Time the row vector through all layers and the whole matrix, microseconds an image; heads fused, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(B, 8, T, T, generator=generator).softmax(-1) for _ in range(depth)]
    fused = [fuse(attention) for attention in drawn]
    reads = torch.zeros(T)
    reads[0] = 1
    eye = torch.eye(T)

    def full() -> torch.Tensor:
        joint = eye.expand(B, T, T)
        for attention in fused:
            joint = torch.baddbmm(joint, attention, joint, beta=0.5, alpha=0.5)
        return joint[:, 0]

    def vector() -> torch.Tensor:
        return rollout(fused, reads)

    assert torch.allclose(full(), vector(), atol=1e-6)
    times: dict[str, list[float]] = {"vector": [], "full": []}
    for number in range(rounds):
        # Ten in a row of each, so that neither finds its input pushed out of the caches by the other.
        name, work = (("vector", vector), ("full", full))[number // 10 % 2]
        start = time.perf_counter()
        work()
        times[name].append((time.perf_counter() - start) / B * 1e6)
    # The fastest round of each: whatever else runs on the machine only ever adds.
    vector_us, full_us = min(times["vector"]), min(times["full"])
    torch.set_num_threads(threads)
    print(f"{depth} layers of {T} tokens: vector {vector_us:.1f} us an image, full product {full_us:.1f} us")
    print(f"full product / vector: {full_us / vector_us:.1f}")


def gallery(num_arms: int, num_seeds: int, num_images: int) -> None:
    """Time `python -m vitsweep.analysis gallery` with sheet and difference over a sweep of starting models, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        write_sweep(Path(folder), num_arms, num_seeds)
        arguments = ["gallery", folder, "--images", str(num_images), "--view", "sheet", "difference"]
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            assert analysis_main(arguments) == 0
        seconds = time.perf_counter() - start
    print(f"gallery of {num_arms} arms x {num_seeds} seeds x {num_images} images: {seconds:.1f} s")


def write_sweep(folder: Path, num_arms: int, num_seeds: int) -> None:
    """Write cells of starting models with patch 4 and 8 in turn, as training would leave them."""
    shapes = {"name": "shapes", "shapes_train": 200, "shapes_test": 200}
    data = load_data(from_dict({"data": shapes}))
    for arm in range(num_arms):
        for seed in range(num_seeds):
            patch = {"patch_size": 8 if arm % 2 else 4}
            config: Config = from_dict({"model": patch, "data": shapes, "seed": 100 * arm + seed})
            directory = folder / f"arm{arm}" / f"seed={seed}"
            directory.mkdir(parents=True)
            record = Record(status="done", role="arm" if arm else "baseline", arm=f"arm {arm}", seed=seed)
            record = dataclasses.replace(record, config=to_dict(config), config_hash=config_hash(config))
            record.data_fingerprint, record.classes = data.fingerprint, data.classes
            record.normalisation = {"mean": data.mean, "std": data.std}
            write_record(directory, record)
            save_model(directory / "best.safetensors", make_model(config).state_dict(), config)
            np.savez(directory / "predictions.npz", id=np.arange(200), best_class=np.zeros(200, dtype=int))


if __name__ == "__main__":
    main()
