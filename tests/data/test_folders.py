"""folders: agrees with torchvision's loader, converts and crops as said, refuses with the right words."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import default_loader

from tests.support.make_images import make_pixels, write_folders
from vitsweep.data.folders import count_images, find_folders, read_image
from vitsweep.data.images import Images, Source
from vitsweep.errors import DataError


def find(root: Path, resize: bool = True, size: int = 8) -> Source | None:
    return find_folders(root, image_size=size, num_channels=3, resize=resize)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "images", make_pixels(3, 2, ["cat", "dog"], size=8))


def test_find_folders_reads_every_image_with_its_class_and_split(root):
    pixels, found = make_pixels(3, 2, ["cat", "dog"], size=8), find(root).read()
    expected = np.concatenate([pixels[split][name] for split in ("train", "test") for name in ("cat", "dog")])
    assert np.array_equal(found.image_NCHW, expected.transpose(0, 3, 1, 2))
    assert found.label_N.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert (found.num_train, found.classes) == (6, ["cat", "dog"])


def test_find_folders_finds_images_in_folders_below(root):
    (root / "train/cat/more/yet").mkdir(parents=True)
    (root / "train/cat/00000.png").rename(root / "train/cat/more/yet/00000.png")
    assert np.bincount(find(root).read().label_N).tolist() == [5, 5]


def test_find_folders_passes_over_what_is_no_image(root):
    for name in ("train/cat/notes.txt", "train/cat/.hidden.png", "train/.ipynb_checkpoints/x.png", "train/list.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no image")
    assert len(find(root).read().label_N) == 10


def test_find_folders_finds_nothing_in_an_empty_folder(tmp_path):
    assert find(tmp_path) is None


def test_find_folders_signature_does_not_change_by_itself(root):
    assert find(root).signature == find(root).signature


@pytest.mark.parametrize("change", ["content", "added", "removed", "renamed"])
def test_find_folders_signature_changes_with(root, change):
    before, path = find(root).signature, root / "train/cat/00000.png"
    if change == "content":
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
    elif change == "added":
        (path.parent / "new.png").write_bytes(path.read_bytes())
    elif change == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("other.png"))
    assert find(root).signature != before


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_read_image_agrees_with_torchvision(tmp_path, mode):
    rng = np.random.default_rng(0)
    channels = 4 if mode.endswith("A") else 3
    image = Image.fromarray(rng.integers(0, 256, (8, 8, channels), dtype=np.uint8)).convert(mode)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    expected = np.asarray(default_loader(str(path))).transpose(2, 0, 1)
    assert np.array_equal(read_image(path, 8, 3, resize=False), expected)


def test_read_image_shows_a_palette_with_transparency_without_a_warning(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "image.png", transparency=bytes([0, 128]))
    assert read_image(tmp_path / "image.png", 8, 3, resize=False)[:, 0, 0].tolist() == [10, 20, 30]


def test_read_image_keeps_the_shades_of_16_bit_gray(tmp_path):
    shades = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    Image.fromarray(shades).save(tmp_path / "gray.png")
    assert read_image(tmp_path / "gray.png", 2, 3, resize=False)[0].tolist() == [[0, 1], [128, 255]]


def test_read_image_gives_one_channel_to_a_gray_model(root):
    assert read_image(root / "train/cat/00000.png", 8, 1, resize=False).shape == (1, 8, 8)


def test_read_image_resizes_and_keeps_the_centre(tmp_path):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200  # the middle third is bright; what is beside it is cut away
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    found = read_image(tmp_path / "wide.png", 8, 3, resize=True)
    assert found.shape == (3, 8, 8) and abs(found.astype(int) - 200).max() <= 15  # the filter reaches over the edge


def test_read_image_enlarges_small_images(tmp_path):
    Image.new("RGB", (3, 5), (7, 8, 9)).save(tmp_path / "small.png")
    found = read_image(tmp_path / "small.png", 8, 3, resize=True)
    assert found.shape == (3, 8, 8) and np.unique(found.reshape(3, -1), axis=1).ravel().tolist() == [7, 8, 9]


def test_read_image_turns_pictures_of_a_turned_camera(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = read_image(tmp_path / "turned.png", 8, 3, resize=True)
    assert found[0, -1].min() == 255 and found[0, :-1].max() == 0


def test_read_image_refuses_another_size_and_says_which(tmp_path):
    Image.new("RGB", (10, 12)).save(tmp_path / "large.png")
    with pytest.raises(DataError, match=r"large\.png  is 10x12 pixels, CIFAR-10 has 8x8; use data=image_folder"):
        read_image(tmp_path / "large.png", 8, 3, resize=False)


@pytest.mark.parametrize("kept", [0, 20, 0.5])
def test_read_image_names_a_truncated_file(root, kept):
    path = root / "train/dog/00001.png"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept < 1 else kept])
    with pytest.raises(DataError, match=r"train/dog/00001\.png  cannot be read as an image .*; replace or remove it"):
        find(root).read()


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find(root)
    return str(caught.value)


def test_find_folders_refuses_a_missing_split(root):
    (root / "test").rename(root / "val")
    first, _ = refused(root).split("\n")  # the second is about val/
    assert first == f"{root}  has no test/; class folders are {root}/train/<class>/ and {root}/test/<class>/"


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_find_folders_refuses_classes_that_differ(root, split, other):
    (root / split / "fox").mkdir()
    assert refused(root) == (f"{root}  has classes in {split}/ that {other}/ lacks: fox; the folders must be the same")


def test_find_folders_refuses_empty_classes(root):
    for split in ("train", "test"):
        (root / split / "fox").mkdir()
    assert refused(root).startswith(f"{root}  has no images in train/fox, test/fox; known endings: .bmp .gif")


def test_find_folders_refuses_folders_without_classes(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "image.png").write_bytes(b"")
    assert refused(tmp_path) == (
        f"{tmp_path}/train  has no class folders; images belong into {tmp_path}/train/<class>/"
    )


def test_read_gives_the_images_in_the_order_of_their_names_whatever_the_threads(tmp_path):
    pixels = make_pixels(300, 1, ["a", "b"], size=4)  # several tasks
    found: Images = find(write_folders(tmp_path, pixels), size=4).read()
    assert np.array_equal(found.image_NCHW[:300].transpose(0, 2, 3, 1), pixels["train"]["a"])


def test_read_image_refuses_pixels_of_unknown_range(tmp_path):
    for number, (dtype, kind) in enumerate([(np.float32, "floating-point"), (np.int32, "signed or 32-bit integer")]):
        path = tmp_path / f"{number}.tiff"
        Image.fromarray(np.arange(4, dtype=dtype).reshape(2, 2)).save(path)
        with pytest.raises(DataError, match=rf"{number}\.tiff  has {kind} pixels.*; convert it to 8 or 16 bits"):
            read_image(path, 2, 3, resize=False)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_find_folders_refuses_12_bit_pixels_in_16_bit_files(root, suffix):
    shades = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    for split in ("train", "test"):
        Image.fromarray(shades).save(root / split / f"cat/deep.{suffix}")
    with pytest.raises(DataError, match=r"train/cat/deep\.\w+  and all other 16-bit images \(2\) are nearly black"):
        find(root).read()
    Image.fromarray(shades * 16).save(root / f"test/cat/deep.{suffix}")  # the whole range: the other is a dark picture
    assert len(find(root).read().label_N) == 12


@pytest.mark.parametrize("name", ["a.avif", "b.HEIC", "more/c.jp2"])
def test_find_folders_refuses_images_of_other_formats(root, name):
    path = root / "train/cat" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    assert refused(root).startswith(f"{path}  is of a format that is not read; allowed: .bmp .gif")


def test_find_folders_refuses_images_in_no_class_folder(root):
    path = root / "train/cat/00000.png"
    path.rename(root / "train/lost.png")
    assert refused(root).startswith(f"{root}/train/lost.png  lies in no class folder; move it to {root}/train/<class>/")


@pytest.mark.parametrize("name", ["train/cat/z.png", "train/cat/more", "test/fox"])
def test_find_folders_names_a_broken_link_and_goes_on_without_it(root, name):
    (root / name).symlink_to("/no/such/place")
    assert refused(root) == (
        f"{root / name}  is a link to /no/such/place, which does not exist; mend or remove the link"
    )
    (root / name).unlink()
    assert len(find(root).read().label_N) == 10


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_find_folders_refuses_validation_images_that_are_not_used(root, name):
    write_folders(root, {name: make_pixels(2, 0, ["cat", "dog"], size=8)["train"]})
    assert refused(root).startswith(f"data.val=split  does not use the images in {root}/{name}/; ")
    assert "data.val=folder" in refused(root)


def test_find_folders_reads_validation_images_of_their_own(root):
    val = make_pixels(2, 0, ["cat", "dog"], size=8, seed=1)["train"]
    write_folders(root, {"val": val})
    found = find_folders(root, image_size=8, num_channels=3, resize=True, val="folder").read()
    assert (found.num_train, found.num_val, len(found.label_N)) == (6, 4, 14)
    assert np.array_equal(found.image_NCHW[6:8].transpose(0, 2, 3, 1), val["cat"])


def test_find_folders_needs_the_validation_images_asked_for(root):
    with pytest.raises(DataError, match="has no val/"):
        find_folders(root, image_size=8, num_channels=3, resize=True, val="folder")


def test_count_images_counts_training_images(root):
    (root / "train/cat/00000.png").unlink()
    assert count_images(root, "split") == {"cat": 2, "dog": 3}
    assert count_images(root / "train", "split") is None


def test_all_errors_of_a_folder_are_in_one_message(root):
    (root / "train/cat/z.png").symlink_to("/no/such/place")
    (root / "train/dog/a.heic").write_bytes(b"")
    (root / "test/lost.png").write_bytes(b"")
    (root / "test/fox").mkdir()
    (root / "test/dog/00000.png").write_bytes(b"no image")
    places = ["train/cat/z.png", "train/dog/a.heic", "test/lost.png", "", "test/dog/00000.png"]
    assert [line.partition("  ")[0] for line in refused(root).split("\n")] == [str(root / place) for place in places]


def test_many_errors_are_counted(root):
    for number in range(25):
        (root / f"train/cat/bad{number:02d}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        find(root).read()
    lines = str(caught.value).split("\n")
    assert len(lines) == 21 and lines[-1] == "and 5 more"
