"""augment: agrees with slicing image by image and with the plain formula, is deterministic, obeys properties."""

import pytest
import torch
import torch.nn.functional as F

from vitsweep.data.augment import augment, normalize
from vitsweep.seeding import make_generator


@pytest.fixture
def image_BCHW() -> torch.Tensor:  # noqa: N802 - a shape suffix
    return torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8, generator=make_generator(0, "test"))


def crops_of(image_CHW: torch.Tensor, padding: int, flips: bool) -> list[torch.Tensor]:
    """Every image that may come out, by slicing."""
    h, w = image_CHW.shape[1:]
    padded = F.pad(image_CHW, (padding,) * 4)
    crops = [padded[:, y : y + h, x : x + w] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    return crops + [crop.flip(2) for crop in crops if flips]


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flips", [True, False])
def test_augment_gives_a_crop_of_the_padded_image(image_BCHW, padding, flips):
    out_BCHW = augment(image_BCHW, make_generator(1), crop_padding=padding, horizontal_flip=flips)
    for before, after in zip(image_BCHW, out_BCHW, strict=True):
        assert any(torch.equal(after, crop) for crop in crops_of(before, padding, flips))


def test_augment_reaches_every_crop_and_flip_equally_often():
    image_CHW = torch.arange(1, 10, dtype=torch.uint8).view(1, 3, 3)
    batch_BCHW = image_CHW.expand(9000, 1, 3, 3)
    out_BCHW = augment(batch_BCHW, make_generator(0), crop_padding=1, horizontal_flip=True)
    counts = [int((out_BCHW == crop).all(dim=(1, 2, 3)).sum()) for crop in crops_of(image_CHW, 1, True)]
    assert sum(counts) == 9000 and min(counts) > 400  # 18 outcomes, 500 of each expected, standard deviation 22


def test_augment_without_flip_keeps_the_crops_of_one_with_it(image_BCHW):
    with_flip, without = (
        augment(image_BCHW, make_generator(5), crop_padding=2, horizontal_flip=flips) for flips in (True, False)
    )
    for mirrored, plain in zip(with_flip, without, strict=True):
        assert torch.equal(mirrored, plain) or torch.equal(mirrored, plain.flip(2))
    assert not torch.equal(with_flip, without)


def test_augment_switched_off_changes_nothing(image_BCHW):
    out_BCHW = augment(image_BCHW, make_generator(0), crop_padding=0, horizontal_flip=False)
    assert torch.equal(out_BCHW, image_BCHW)


def test_augment_repeats_itself_and_leaves_its_input_alone(image_BCHW):
    before = image_BCHW.clone()
    first, second = (augment(image_BCHW, make_generator(2), crop_padding=4, horizontal_flip=True) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(image_BCHW, before)


def test_augment_takes_wide_images():
    image_BCHW = torch.arange(24, dtype=torch.uint8).view(1, 1, 4, 6)
    out_BCHW = augment(image_BCHW, make_generator(0), crop_padding=1, horizontal_flip=True)
    assert any(torch.equal(out_BCHW[0], crop) for crop in crops_of(image_BCHW[0], 1, True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_augment_with_a_cpu_generator_is_the_same_on_a_gpu(image_BCHW):
    here = augment(image_BCHW, make_generator(2), crop_padding=4, horizontal_flip=True)
    there = augment(image_BCHW.cuda(), make_generator(2), crop_padding=4, horizontal_flip=True)
    assert torch.equal(here, there.cpu())


def test_normalise_agrees_with_the_formula(image_BCHW):
    mean, std = [0.5, 0.25, 0.75], [0.25, 0.5, 0.125]
    expected = (image_BCHW.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    found = normalize(image_BCHW, mean, std)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_normalise_takes_tensors_too(image_BCHW):
    mean, std = [0.5, 0.25, 0.75], [0.25, 0.5, 0.125]
    assert torch.equal(normalize(image_BCHW, mean, std), normalize(image_BCHW, torch.tensor(mean), torch.tensor(std)))
