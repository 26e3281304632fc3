"""Random draws of the AutoAugment family: for each image of a batch one or more operations with their arguments.

AutoAugment (Cubuk et al. 2019), RandAugment (Cubuk et al. 2020) and TrivialAugmentWide (Mueller and Hutter 2021) as in
torchvision.transforms.v2; timm's RandAugment `rand-m9-mstd0.5-inc1` as in timm/data/auto_augment.py. Each returns a
list of rounds, pairs (operation_B, argument_B) for operations.apply_operations, drawn with a CPU generator.
"""

# Shape letters: B batch, O operations of a policy, L levels of magnitude, P policies.

from functools import cache

import torch
from torch import Generator, Tensor

from vitsweep.data.augmentation.operations import INDEX

Round = tuple[Tensor, Tensor]

NUM_BINS = 31  # of RandAugment and TrivialAugment in torchvision; the magnitudes are 0 to 30
TRANSLATE = 150 / 331  # of the image's side: 150 pixels of AutoAugment's 331
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")
RANDAUGMENT = ("Identity", *SIGNED, "Posterize", "Solarize", "AutoContrast", "Equalize")
"""Operations of RandAugment and TrivialAugment."""
TIMM_INCREASING = (*SIGNED, "Posterize", "Solarize", "SolarizeAdd", "AutoContrast", "Equalize", "Invert")
TIMM_PROBABILITY = 0.5  # of each drawn operation
TIMM_MAX = 10.0  # largest magnitude
CIFAR10_POLICIES = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
"""Pairs (operation, probability, magnitude 0 to 9; 0 for operations without one) that AutoAugment found on CIFAR-10."""
CIFAR10_BINS = 10


def draw_autoaugment(count: int, side: int, generator: Generator) -> list[Round]:
    """Draw one of the 25 CIFAR-10 policies for each image: two operations, each applied with its own probability."""
    pairs = [[pair[place] for pair in CIFAR10_POLICIES] for place in range(2)]
    policy_B = torch.randint(len(CIFAR10_POLICIES), (count,), generator=generator)
    rounds = []
    for pair in pairs:
        operation_P = torch.tensor([INDEX[name] for name, _, _ in pair])
        probability_P = torch.tensor([probability for _, probability, _ in pair])
        level_P = torch.tensor([level for _, _, level in pair])
        is_applied_B = torch.rand(count, generator=generator) <= probability_P[policy_B]
        operation_B = torch.where(is_applied_B, operation_P[policy_B], INDEX["Identity"])
        rounds.append(with_arguments(operation_B, level_P[policy_B], CIFAR10_BINS, side, False, generator))
    return rounds


def draw_randaugment(count: int, side: int, num_ops: int, magnitude: int, generator: Generator) -> list[Round]:
    """Draw `num_ops` of the 14 operations for each image, all with the same magnitude of 0 to 30."""
    level_B = torch.full((count,), magnitude)
    drawn = [draw_operations(RANDAUGMENT, count, generator) for _ in range(num_ops)]
    return [with_arguments(operation_B, level_B, NUM_BINS, side, False, generator) for operation_B in drawn]


def draw_trivialaugment(count: int, side: int, generator: Generator) -> list[Round]:
    """Draw one of the 14 operations for each image, with a magnitude of its own, over wider ranges."""
    operation_B = draw_operations(RANDAUGMENT, count, generator)
    level_B = torch.randint(NUM_BINS, (count,), generator=generator)
    return [with_arguments(operation_B, level_B, NUM_BINS, side, True, generator)]


def draw_timm_randaugment(
    count: int, side: int, num_ops: int, magnitude: float, magnitude_std: float, generator: Generator
) -> list[Round]:
    """Draw `num_ops` of timm's 15 increasing operations for each image, each applied with probability 0.5.

    Args:
        magnitude: mean of the magnitude, 0 to 10.
        magnitude_std: its standard deviation; a draw outside of 0 to 10 is clipped.
    """
    rounds = []
    for _ in range(num_ops):
        operation_B = draw_operations(TIMM_INCREASING, count, generator)
        is_applied_B = torch.rand(count, generator=generator) <= TIMM_PROBABILITY
        level_B = magnitude + magnitude_std * torch.randn(count, generator=generator, dtype=torch.float64)
        sign_B = 1.0 - 2.0 * torch.randint(2, (count,), generator=generator)
        argument_B = timm_arguments(operation_B, level_B.clamp(0, TIMM_MAX) / TIMM_MAX, sign_B, side)
        rounds.append((torch.where(is_applied_B, operation_B, INDEX["Identity"]), argument_B))
    return rounds


def draw_operations(names: tuple[str, ...], count: int, generator: Generator) -> Tensor:
    """Return indices of OPERATIONS (B,), each of `names` with the same probability."""
    index_O = torch.tensor([INDEX[name] for name in names])
    return index_O[torch.randint(len(names), (count,), generator=generator)]


def with_arguments(
    operation_B: Tensor, level_B: Tensor, bins: int, side: int, wide: bool, generator: Generator
) -> Round:
    """Return a round with the arguments that torchvision computes from the magnitudes, signs drawn."""
    sign_B = 1.0 - 2.0 * torch.randint(2, (len(operation_B),), generator=generator)
    magnitude_B = magnitude_table(bins, side, wide)[operation_B, level_B]
    return operation_B, arguments(operation_B, magnitude_B, sign_B)


def arguments(operation_B: Tensor, magnitude_B: Tensor, sign_B: Tensor) -> Tensor:
    """Return the arguments of apply_operations for torchvision's magnitudes."""
    signed_B = torch.where(is_any(operation_B, SIGNED), sign_B * magnitude_B, magnitude_B)
    found_B = torch.where(is_any(operation_B, ENHANCING), 1 + signed_B, signed_B)
    found_B = torch.where(is_any(operation_B, ("TranslateX", "TranslateY")), signed_B.trunc(), found_B)
    return torch.where(operation_B == INDEX["Solarize"], 255 * magnitude_B, found_B)


def timm_arguments(operation_B: Tensor, share_B: Tensor, sign_B: Tensor, side: int) -> Tensor:
    """Return the arguments of apply_operations for timm's magnitudes, divided by the largest.

    Posterize keeps down to 0 bits, Solarize inverts from 256 down to 0: the effect increases with the magnitude.
    """
    zero_B = torch.zeros_like(share_B)
    values = {
        "ShearX": sign_B * 0.3 * share_B,
        "ShearY": sign_B * 0.3 * share_B,
        "TranslateX": sign_B * 0.45 * share_B * side,
        "TranslateY": sign_B * 0.45 * share_B * side,
        "Rotate": sign_B * 30 * share_B,
        **{name: (1 + sign_B * 0.9 * share_B).clamp_min(0.1) for name in ENHANCING},
        "Posterize": 4 - (4 * share_B).trunc(),
        "Solarize": 256 - (256 * share_B).trunc().clamp_max(256),
        "SolarizeAdd": (110 * share_B).trunc().clamp_max(128),
    }
    for name, value_B in values.items():
        zero_B = torch.where(operation_B == INDEX[name], value_B, zero_B)
    return zero_B


def is_any(operation_B: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return True for each operation that is one of `names`."""
    return torch.isin(operation_B, torch.tensor([INDEX[name] for name in names]))


@cache
def magnitude_table(bins: int, side: int, wide: bool) -> Tensor:
    """Return torchvision's magnitudes (O, L) by index of OPERATIONS and level; `wide`: those of TrivialAugmentWide."""
    shear, shift, angle, factor = (0.99, 32.0, 135.0, 0.99) if wide else (0.3, TRANSLATE * side, 30.0, 0.9)
    highest = {"ShearX": shear, "ShearY": shear, "TranslateX": shift, "TranslateY": shift, "Rotate": angle}
    highest |= dict.fromkeys(ENHANCING, factor)
    table_OL = torch.zeros(len(INDEX), bins, dtype=torch.float64)
    for name, high in highest.items():
        table_OL[INDEX[name]] = torch.linspace(0.0, high, bins)
    dropped_bits = 6 if wide else 4
    table_OL[INDEX["Posterize"]] = (8 - torch.arange(bins) / ((bins - 1) / dropped_bits)).round()
    table_OL[INDEX["Solarize"]] = torch.linspace(1.0, 0.0, bins)
    return table_OL
