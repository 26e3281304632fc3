"""Cost of each augmentation policy: a batch of 128 images against torchvision applied image by image, interleaved.

Each policy is also given as a share of the starting model's training step (batch 128), measured in the same run. A
policy is timed without crop and flip. torchvision applies RandAugment, TrivialAugmentWide, AutoAugment, RandomErasing
to one uint8 image after the other, as its transforms do in a loader, MixUp and CutMix to the batch; timm's RandAugment
is applied to PIL images, as timm does.

    python tests/benchmarks/augmentation.py --rounds 5
    python tests/benchmarks/augmentation.py --clock process    (on a machine that others use: processor time alone)
    python tests/benchmarks/augmentation.py --device cuda
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from vitsweep.config.recipe.schema import RecipeConfig
from vitsweep.config.schema import Config, ModelConfig
from vitsweep.data.augment import augment_images, erase_and_mix, normalize
from vitsweep.seeding import make_generator
from vitsweep.train.device import device_name
from vitsweep.train.step import train_step
from vitsweep.train.trial.steps import trial_step

BATCH = 128
MEAN, STD = [0.5] * 3, [0.25] * 3
OFF = {"crop_padding": 0, "horizontal_flip": False}
OURS = {
    "crop and flip": {"crop_padding": 4, "horizontal_flip": True},
    "resized crop": OFF | {"resized_crop_min_area": 0.8},
    "autoaugment": OFF | {"auto_augment": "autoaugment"},
    "randaugment": OFF | {"auto_augment": "randaugment"},
    "trivialaugment": OFF | {"auto_augment": "trivialaugment"},
    "timm_randaugment": OFF | {"auto_augment": "timm_randaugment", "randaugment_magnitude_std": 0.5},
    "random erasing": OFF | {"random_erasing_prob": 0.25},
    "mixup or cutmix": OFF | {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
}
TIMM = rand_augment_transform("rand-m9-mstd0.5-inc1", {})
THEIRS = {
    "crop and flip": v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]),
    "resized crop": v2.RandomResizedCrop(32, scale=(0.8, 1.0), antialias=True),
    "autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "randaugment": v2.RandAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
    "timm_randaugment": lambda image: tv.pil_to_tensor(TIMM(tv.to_pil_image(image))),
    "random erasing": v2.RandomErasing(p=0.25),
}
MIXING = v2.RandomChoice([v2.MixUp(alpha=0.8, num_classes=10), v2.CutMix(alpha=1.0, num_classes=10)])


def run_ours(recipe: RecipeConfig, image_BCHW: torch.Tensor, label_B: torch.Tensor, step: int) -> None:
    stream = partial(make_generator, 0, "augment", 1, step)
    pixels = augment_images(image_BCHW, recipe, stream, MEAN)
    if recipe.is_mixing or recipe.random_erasing_prob > 0:
        erase_and_mix(normalize(pixels, MEAN, STD), label_B, recipe, 10, 1, stream)


def run_theirs(name: str, image_BCHW: torch.Tensor, label_B: torch.Tensor, step: int) -> None:
    if name == "mixup or cutmix":
        MIXING(normalize(image_BCHW, MEAN, STD), label_B)
    else:
        torch.stack([THEIRS[name](image) for image in image_BCHW])


def timed(action: Callable[[int], None], count: int, device: torch.device, clock: Callable[[], float]) -> float:
    """Milliseconds of one call."""
    action(0)
    wait(device)
    began = clock()
    for step in range(count):
        action(step)
    wait(device)
    return 1000 * (clock() - began) / count


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print one row a policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="calls in a round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    device = torch.device(options.device)
    compiled = "on" if device.type == "cuda" else "off"
    wanted = trial_step(Config(model=ModelConfig(), device=options.device, compile=compiled), device)
    image_BCHW, label_B = wanted.setup.data.train.image_NCHW, wanted.setup.data.train.label_N
    on_cpu = image_BCHW.cpu(), label_B.cpu()
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in OURS}
    train = partial(train_step, wanted.setup, wanted.config, wanted.index_B, 1)
    for _ in range(options.rounds):
        step_ms = timed(lambda step: train(step), options.repeats, device, clock)
        for name, values in OURS.items():
            ours = partial(run_ours, RecipeConfig(**values), image_BCHW, label_B)
            theirs = partial(run_theirs, name, *on_cpu)
            found[name].append(
                (
                    timed(ours, options.repeats, device, clock),
                    timed(theirs, max(1, options.repeats // 3), torch.device("cpu"), clock),
                    step_ms,
                )
            )
    print(f"{device_name(device)}, {options.threads} threads, {options.clock} time, medians of {options.rounds} rounds")
    print(f"{'batch of 128':18} {'ours ms':>9} {'theirs ms':>10} {'faster':>7} {'of a training step':>19}")
    for name, rows in found.items():
        ours, theirs, step = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(row[1] / row[0] for row in rows)
        share = statistics.median(row[0] / row[2] for row in rows)
        print(f"{name:18} {ours:9.2f} {theirs:10.2f} {ratio:6.1f}x {share:18.1%}   (step {step:.0f} ms)")


if __name__ == "__main__":
    main()
