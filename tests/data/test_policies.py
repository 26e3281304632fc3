"""Draws of policies, crops, erasing and mixing agree with torchvision's in their numbers and frequencies."""

import math
from collections import Counter

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from vitsweep.config.schema import RecipeConfig
from vitsweep.data.augment import apply_policy
from vitsweep.data.augmentation import crops, mixing, policies
from vitsweep.data.augmentation.operations import INDEX, OPERATIONS
from vitsweep.seeding import make_generator

COUNT = 20_000
DRAWS = {
    "autoaugment": lambda generator: policies.draw_autoaugment(COUNT, 32, generator),
    "randaugment": lambda generator: policies.draw_randaugment(COUNT, 32, 2, 9, generator),
    "trivialaugment": lambda generator: policies.draw_trivialaugment(COUNT, 32, generator),
    "timm_randaugment": lambda generator: policies.draw_timm_randaugment(COUNT, 32, 2, 9.0, 0.5, generator),
}
THEIRS = {
    "autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "randaugment": v2.RandAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
}


def test_policies_are_those_of_torchvision():
    theirs = [[(name, p, level or 0) for name, p, level in pair] for pair in THEIRS["autoaugment"]._policies]
    assert [list(pair) for pair in policies.CIFAR10_POLICIES] == theirs


@pytest.mark.parametrize("wide, bins", [(False, 10), (False, 31), (True, 31)])
def test_magnitudes_are_those_of_torchvision(wide, bins):
    space = (v2.TrivialAugmentWide if wide else v2.RandAugment)._AUGMENTATION_SPACE
    table = policies.magnitude_table(bins, 32, wide)
    for name, (levels, is_signed) in space.items():
        found = levels(bins, 32, 32)
        expected = torch.zeros(bins) if found is None else found.float()
        assert torch.equal(table[INDEX[name]].float(), expected), name
        assert (name in policies.SIGNED) == is_signed


def frequencies(kind: str, monkeypatch: pytest.MonkeyPatch, count: int = 1500) -> Counter:
    """Operations with rounded magnitudes that torchvision draws for single images, without applying them."""
    found: Counter = Counter()
    transform = THEIRS[kind]

    def note(image, name, magnitude, **_):
        found[name, round(magnitude, 2)] += 1
        return image

    monkeypatch.setattr(transform, "_apply_image_or_video_transform", note)
    torch.manual_seed(0)
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    for _ in range(count):
        transform(image)
    return Counter({key: number / count for key, number in found.items()})


def magnitude_of(name: str, argument: float) -> float:
    """torchvision's magnitude of an operation's argument; of a translation the whole pixels."""
    center = 1.0 if name in policies.ENHANCING else 0.0
    scale = 255.0 if name == "Solarize" else 1.0
    return round((argument - center) / scale, 2)


@pytest.mark.parametrize("kind", THEIRS)
def test_draws_have_the_frequencies_of_torchvision(kind, monkeypatch):
    """Share of images with each operation and magnitude; 5.5 standard errors of the difference are allowed."""
    ours: Counter = Counter()
    for operation_B, argument_B in DRAWS[kind](make_generator(0)):
        for index, argument in zip(operation_B.tolist(), argument_B.tolist(), strict=True):
            ours[OPERATIONS[index], magnitude_of(OPERATIONS[index], argument)] += 1 / COUNT
    theirs = frequencies(kind, monkeypatch)
    translated = {key: (key[0], float(int(key[1]))) if key[0].startswith("Translate") else key for key in theirs}
    merged: Counter = Counter()
    for key, share in theirs.items():
        merged[translated[key]] += share
    keys = {key for key in ours | merged if key[0] != "Identity"}  # an operation that is not applied is Identity here
    for key in keys:
        spread = math.sqrt(max(ours[key], merged[key]) * (1 / COUNT + 1 / 1500))
        assert abs(ours[key] - merged[key]) < 5.5 * spread, key


def test_timm_draws_have_their_mean_magnitude_and_probability():
    (operation_B, argument_B), _ = DRAWS["timm_randaugment"](make_generator(0))
    is_applied_B = operation_B != INDEX["Identity"]
    assert is_applied_B.float().mean().item() == pytest.approx(0.5, abs=0.02)
    angle = argument_B[operation_B == INDEX["Rotate"]]
    assert angle.abs().mean().item() == pytest.approx(27.0, abs=0.3)  # 9 of 10, clipped hardly ever
    assert angle.abs().std().item() == pytest.approx(1.5, abs=0.2) and angle.max() <= 30
    assert abs(angle.sign().mean().item()) < 0.15
    counts = torch.bincount(operation_B[is_applied_B], minlength=len(OPERATIONS))[1:]
    assert counts.min() > 0.8 * counts.float().mean() and counts.max() < 1.2 * counts.float().mean()


@pytest.mark.parametrize("kind", DRAWS)
def test_draws_repeat_themselves(kind):
    first, second = (DRAWS[kind](make_generator(3)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def boxes_of(transform: v2.Transform, count: int = 2000) -> torch.Tensor:
    """Sizes and offsets (count, 4) that torchvision draws for 32 x 32 images."""
    torch.manual_seed(0)
    image = torch.zeros(3, 32, 32)
    found = [transform.make_params([image]) for _ in range(count)]
    names = ("height", "width", "top", "left") if "height" in found[0] else ("h", "w", "i", "j")
    return torch.tensor([[float(params[name]) for name in names] for params in found])


@pytest.mark.parametrize(
    "theirs, margin, area, ratio",
    [
        (v2.RandomResizedCrop(32, scale=(0.3, 1.0)), 0, (0.3, 1.0), crops.RATIOS),
        (v2.RandomErasing(p=1.0, scale=(0.02, 0.33)), 1, (0.02, 0.33), crops.ERASING_RATIOS),
    ],
    ids=["resized crop", "erasing"],
)
def test_boxes_have_the_distribution_of_torchvision(theirs, margin, area, ratio):
    """Means and deciles of height, width and free offsets."""
    generator = make_generator(1)
    height_B, width_B, fits_B = crops.draw_box(4000, (32, 32), margin, area, ratio, generator)
    top_B = crops.draw_offset(32 - height_B, generator)
    left_B = crops.draw_offset(32 - width_B, generator)
    assert fits_B.float().mean() > 0.99
    ours = torch.stack([height_B, width_B, top_B, left_B], dim=1)[fits_B].float()
    share = torch.linspace(0.1, 0.9, 9)
    theirs = boxes_of(theirs)
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 0.8
    assert (ours.quantile(share, dim=0) - theirs.quantile(share, dim=0)).abs().max() <= 1.0


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resized_crop_agrees_with_torchvision(mode):
    image_BCHW = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=make_generator(2))
    top, left, height, width = 3, 5, 27, 22
    start = [torch.full((6,), float(value)) for value in (top, height, left, width)]
    is_cubic_B = torch.full((6,), mode == "bicubic")
    row = crops.resizing_matrix(32, start[0], start[1], is_cubic_B)
    column = crops.resizing_matrix(32, start[2], start[3], is_cubic_B)
    ours = crops.resize(image_BCHW, row, column).int()
    kind = tv.InterpolationMode(mode)
    theirs = tv.resized_crop(image_BCHW, top, left, height, width, [32, 32], interpolation=kind, antialias=True).int()
    assert (ours - theirs).abs().max() <= 1


def test_resized_crop_of_the_whole_image_changes_nothing():
    image_BCHW = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=make_generator(2))
    assert torch.equal(crops.resized_crop(image_BCHW, 1.0, "random", make_generator(0)), image_BCHW)


def test_erased_share_is_the_one_asked_for():
    image_BCHW = torch.ones(4000, 1, 32, 32)
    erased = crops.erase(image_BCHW, 0.25, 0.33, "const", make_generator(0), make_generator(1))
    is_hit_B = (erased == 0).any(dim=(1, 2, 3))
    assert is_hit_B.float().mean().item() == pytest.approx(0.25, abs=0.03)
    area_B = (erased[is_hit_B] == 0).float().mean((1, 2, 3))
    assert area_B.mean().item() == pytest.approx(0.175, abs=0.01) and area_B.max() < 0.36


def test_erased_pixels_of_mode_pixel_are_normal_noise():
    erased = crops.erase(torch.full((200, 3, 32, 32), 9.0), 1.0, 0.33, "pixel", make_generator(0), make_generator(1))
    noise = erased[erased != 9.0]
    assert noise.mean().abs() < 0.02 and noise.std().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_mixing_weight_has_the_moments_of_its_beta_distribution(alpha):
    weights = torch.tensor([mixing.draw_weight(alpha, make_generator(seed)) for seed in range(1500)])
    assert weights.mean().item() == pytest.approx(0.5, abs=0.04)
    assert weights.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def mixed(**given: float) -> tuple[torch.Tensor, torch.Tensor]:
    settings = {"mixup_alpha": 0.8, "cutmix_alpha": 0.0, "probability": 1.0, "switch_probability": 0.5} | given
    image_BCHW = torch.rand(6, 3, 8, 8, generator=make_generator(4))
    return mixing.mix(image_BCHW, torch.arange(6) % 3, 3, make_generator(5), **settings)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_batch_agrees_with_torchvision_at_the_same_weight(kind, monkeypatch):
    image_BCHW = torch.rand(6, 3, 8, 8, generator=make_generator(4))
    found, target = mixed(**({"mixup_alpha": 0.0, "cutmix_alpha": 1.0} if kind == "cutmix" else {}))
    theirs = (v2.CutMix if kind == "cutmix" else v2.MixUp)(num_classes=3)
    weight = target[0].max().item() if target[0].argmax() == 0 else 1 - target[0].max().item()
    if kind == "cutmix":
        is_other = (found != image_BCHW).any(0).any(0)
        rows, columns = is_other.any(1).nonzero()[:, 0], is_other.any(0).nonzero()[:, 0]
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        params = {"box": box, "lam_adjusted": 1 - (box[2] - box[0]) * (box[3] - box[1]) / 64}
    else:
        params = {"lam": weight}
    monkeypatch.setattr(theirs, "make_params", lambda flat: params)
    their_images, their_targets = theirs(image_BCHW, torch.arange(6) % 3)
    torch.testing.assert_close(found, their_images, atol=1e-6, rtol=0)
    torch.testing.assert_close(target, their_targets, atol=1e-6, rtol=0)


def test_targets_of_a_mixed_batch_are_probabilities():
    for given in ({}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}):
        target_BK = mixed(**given)[1]
        assert target_BK.shape == (6, 3) and torch.allclose(target_BK.sum(1), torch.ones(6))


def test_share_of_mixed_batches_and_of_cutmix_among_them():
    image_BCHW, label_B = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 32, 32).clone(), torch.arange(4)
    kinds: Counter = Counter()
    for seed in range(600):
        settings = {"mixup_alpha": 1.0, "cutmix_alpha": 1.0, "probability": 0.6, "switch_probability": 0.25}
        image, target = mixing.mix(image_BCHW, label_B, 4, make_generator(seed), **settings)
        is_whole = torch.equal(image, image.round())
        kinds["plain" if target.dim() == 1 else "cutmix" if is_whole else "mixup"] += 1
    assert kinds["plain"] / 600 == pytest.approx(0.4, abs=0.08)
    assert kinds["cutmix"] / (kinds["cutmix"] + kinds["mixup"]) == pytest.approx(0.25, abs=0.09)


def test_random_crop_with_reflection_agrees_with_torchvision():
    from vitsweep.data.augment import augment

    image_BCHW = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=make_generator(2))
    found = augment(image_BCHW, make_generator(1), crop_padding=2, horizontal_flip=False, padding_mode="reflect")
    padded = tv.pad(image_BCHW, [2], padding_mode="reflect")
    crops_of = [padded[:, :, y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
    for place in range(40):
        assert any(torch.equal(found[place], crop[place]) for crop in crops_of)


@pytest.mark.parametrize("fill, color_C", [("black", [0, 0, 0]), ("gray", [128] * 3), ("mean", [51, 102, 153])])
def test_pixels_from_outside_have_the_color_of_augment_fill(fill, color_C, monkeypatch):
    """Every image is moved eight pixels to the side, so that eight columns come from outside."""
    image_BCHW = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    moved = (torch.full((2,), INDEX["TranslateX"]), torch.full((2,), 8.0))
    monkeypatch.setattr(policies, "draw_randaugment", lambda *_: [moved])
    recipe = RecipeConfig(auto_augment="randaugment", augment_fill=fill)
    found = apply_policy(image_BCHW, recipe, torch.Generator(), [0.2, 0.4, 0.6])
    assert (found[..., 8:] == 200).all()
    assert torch.equal(found[..., :8], torch.tensor(color_C, dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 32, 8))
