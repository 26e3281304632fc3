"""Operations of the AutoAugment family agree with torchvision's and timm's, image by image, and obey properties."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import auto_augment as timm_ops
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from vitsweep.data.augmentation.operations import INDEX, OPERATIONS, apply_operations
from vitsweep.data.augmentation.policies import SIGNED, TIMM_INCREASING, arguments, timm_arguments
from vitsweep.seeding import make_generator

GRAY = torch.tensor([128.0] * 3)
THEIRS = v2.RandAugment(fill=128)
MAGNITUDES = {
    "Identity": [0.0],
    "ShearX": [0.09, -0.3, 0.99],
    "ShearY": [0.09, -0.3, 0.99],
    "TranslateX": [4.35, -14.5, 32.0],
    "TranslateY": [4.35, -14.5, 32.0],
    "Rotate": [9.0, -30.0, 135.0],
    "Brightness": [0.27, -0.9, 0.99],
    "Color": [0.27, -0.9, 0.99],
    "Contrast": [0.27, -0.9, 0.99],
    "Sharpness": [0.27, -0.9, 0.99],
    "Posterize": [8, 7, 4, 2],
    "Solarize": [1.0, 0.7, 0.5, 0.0],
    "AutoContrast": [0.0],
    "Equalize": [0.0],
    "Invert": [0.0],
}


def made_images(channels: int = 3) -> torch.Tensor:
    """Eight smooth images, four of noise and one of a single color, 32 x 32."""
    noise = torch.rand(12, channels, 32, 32, generator=make_generator(0, "test"))
    smooth = F.interpolate(noise[:8, :, :6, :6], size=(32, 32), mode="bicubic").clamp(0, 1)
    return torch.cat([smooth, noise[8:], torch.full((1, channels, 32, 32), 0.3)]).mul(255).to(torch.uint8)


def difference(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one.int() - other.int()).abs()


@pytest.mark.parametrize("name, magnitude", [(name, m) for name, found in MAGNITUDES.items() for m in found])
def test_operation_agrees_with_torchvision_applied_image_by_image(name, magnitude):
    image_BCHW = made_images()
    operation_B = torch.full((len(image_BCHW),), INDEX[name])
    argument_B = arguments(operation_B, torch.full_like(operation_B, magnitude, dtype=torch.float64), torch.ones(()))
    ours = apply_operations(image_BCHW, operation_B, argument_B, GRAY)
    theirs = [
        THEIRS._apply_image_or_video_transform(
            image, name, float(magnitude), tv.InterpolationMode.NEAREST, THEIRS._fill
        )
        for image in image_BCHW
    ]
    assert difference(ours, torch.stack(theirs)).max() <= 1


def by_timm(image_CHW: torch.Tensor, name: str, argument: float) -> torch.Tensor:
    """timm's own function on a PIL image, bilinear, gray outside."""
    names = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"}
    given = {"TranslateX": [-argument / 32], "TranslateY": [-argument / 32]}.get(name, [argument])
    if name in ("Posterize", "Solarize", "SolarizeAdd"):
        given = [int(argument)]
    if name in ("AutoContrast", "Equalize", "Invert"):
        given = []
    picture = Image.fromarray(image_CHW.permute(1, 2, 0).numpy())
    function = timm_ops.NAME_TO_OP[names.get(name, name)]
    return tv.pil_to_tensor(function(picture, *given, fillcolor=(128, 128, 128), resample=Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", TIMM_INCREASING)
@pytest.mark.parametrize("magnitude", [2.0, 8.7])
def test_operation_agrees_with_timm_applied_image_by_image(name, magnitude):
    image_BCHW = made_images()
    operation_B = torch.full((len(image_BCHW),), INDEX[name])
    share_B = torch.full((len(image_BCHW),), magnitude / 10, dtype=torch.float64)
    argument_B = timm_arguments(operation_B, share_B, torch.ones(()), 32)
    ours = apply_operations(image_BCHW, operation_B, argument_B, GRAY, "bilinear")
    theirs = torch.stack([by_timm(image, name, argument_B[0].item()) for image in image_BCHW])
    # PIL extends the border by half a pixel; elsewhere the two may round differently.
    away = difference(ours, theirs) > 1
    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        assert away.float().mean() < 0.09
    else:
        assert not away.any()


def test_timm_argument_agrees_with_timm(monkeypatch):
    """Of every operation at a magnitude, the sign drawn positive."""
    monkeypatch.setattr(timm_ops.random, "random", lambda: 0.0)
    names = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"} | {
        name: f"{name}Increasing" for name in ("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize")
    }
    for name in TIMM_INCREASING:
        level = timm_ops.LEVEL_TO_ARG[names.get(name, name)]
        for magnitude in (0.0, 3.3, 9.0, 10.0):
            ours = timm_arguments(
                torch.tensor([INDEX[name]]), torch.tensor([magnitude / 10], dtype=torch.float64), torch.ones(()), 1
            )
            assert ours.item() == pytest.approx(0.0 if level is None else level(magnitude, {})[0])


def test_each_image_gets_its_own_operation_and_argument():
    """All operations in one batch equal each of them alone."""
    image_BCHW = made_images().repeat(5, 1, 1, 1)
    operation_B = torch.arange(len(image_BCHW)) % len(OPERATIONS)
    argument_B = torch.linspace(0.0, 4.0, len(image_BCHW), dtype=torch.float64).round(decimals=2)
    argument_B[operation_B == INDEX["Posterize"]] = 3
    together = apply_operations(image_BCHW, operation_B, argument_B, GRAY)
    for place in range(len(image_BCHW)):
        own = slice(place, place + 1)
        alone = apply_operations(image_BCHW[own], operation_B[own], argument_B[own], GRAY)
        assert torch.equal(together[own], alone), OPERATIONS[operation_B[place]]


def test_operations_leave_their_input_alone():
    image_BCHW = made_images()
    before = image_BCHW.clone()
    for name in OPERATIONS:
        apply_operations(image_BCHW, torch.full((13,), INDEX[name]), torch.full((13,), 2.0), GRAY)
    assert torch.equal(image_BCHW, before)


@pytest.mark.parametrize("name", MAGNITUDES)
def test_operation_takes_grayscale_images(name):
    image_BCHW = made_images(channels=1)
    operation_B = torch.full((len(image_BCHW),), INDEX[name])
    magnitude_B = torch.full_like(operation_B, MAGNITUDES[name][-1], dtype=torch.float64)
    ours = apply_operations(image_BCHW, operation_B, arguments(operation_B, magnitude_B, torch.ones(())), GRAY[:1])
    theirs = [
        THEIRS._apply_image_or_video_transform(
            image, name, float(MAGNITUDES[name][-1]), tv.InterpolationMode.NEAREST, THEIRS._fill
        )
        for image in image_BCHW
    ]
    assert difference(ours, torch.stack(theirs)).max() <= 1


@pytest.mark.parametrize("name", SIGNED)
def test_signed_magnitude_changes_the_argument_alone(name):
    operation_2 = torch.full((2,), INDEX[name])
    plus, minus = arguments(operation_2, torch.full((2,), 0.5, dtype=torch.float64), torch.tensor([1.0, -1.0])).tolist()
    center = 1.0 if name in ("Brightness", "Color", "Contrast", "Sharpness") else 0.0
    assert plus - center == center - minus


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_the_same_on_a_gpu(name):
    image_BCHW = made_images()
    operation_B, argument_B = torch.full((13,), INDEX[name]), torch.full((13,), 3.0, dtype=torch.float64)
    here = apply_operations(image_BCHW, operation_B, argument_B, GRAY)
    there = apply_operations(image_BCHW.cuda(), operation_B, argument_B, GRAY.cuda()).cpu()
    away = difference(here, there)
    assert (away > 1).float().mean() < 0.01  # nearest neighbors of points halfway between two pixels
