"""Choice of the test images that a gallery shows: always by a rule, which is printed.

Image ids are positions in the canonical order of the test set, so the same rule gives the same images wherever the
data came from.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitsweep.errors import UserError
from vitsweep.study.record import PREDICTIONS_NAME

SEED = 0
DEFAULT_COUNT = 7

FORMS = "a number, ids=3,17, class=cat, class=cat:16, disagree:16, wrong:16"


@dataclass(kw_only=True)
class ImageChoice:
    """Test images and the rule that chose them."""

    index_N: np.ndarray
    """Positions in the test set."""
    rule: str
    """The rule, one sentence."""


def choose_images(
    spec: str, label_N: np.ndarray, classes: list[str], directories: list[Path] | None = None, which: str = "best"
) -> ImageChoice:
    """Choose the images that `spec` describes, in one of FORMS.

    Args:
        spec: the value of --images.
        label_N: true classes of the test set.
        classes: their names.
        directories: the cells whose predictions `disagree` and `wrong` look at, the baseline's first.
        which: checkpoint of those predictions, best or last.

    Raises:
        UserError: another form, an unknown class or id, or predictions that are not there.
    """
    form = re.fullmatch(r"(?:(ids)=([\d,]+)|(class)=([^:]+?)|(disagree|wrong))?(?::?(\d+))?", spec)
    if not form or not spec:
        raise UserError(f"--images {spec}  is not understood; allowed: {FORMS}")
    ids, listed, by_class, name, by_prediction, number = form.groups()
    count = int(number or DEFAULT_COUNT)
    if ids:
        return _by_id(listed, label_N)
    if by_class:
        return _of_class(name, count, label_N, classes)
    if by_prediction:
        predicted = np.stack([read_predictions(d, len(label_N), which) for d in directories or []])
        return _disputed(predicted, count) if by_prediction == "disagree" else _wrong(predicted[0], label_N, count)
    return spread_over_classes(label_N, count)


def spread_over_classes(label_N: np.ndarray, count: int = DEFAULT_COUNT) -> ImageChoice:
    """Draw `count` images with a fixed seed, as many of each class as possible, sorted by class."""
    rng = np.random.default_rng(SEED)
    present = np.unique(label_N)
    turns = np.resize(rng.permutation(present), count)
    drawn: list[int] = []
    for label in sorted(turns):
        free = np.setdiff1d(np.flatnonzero(label_N == label), drawn)
        if len(free):
            drawn.append(int(rng.choice(free)))
    kind = "one of each of as many classes" if count <= len(present) else "spread evenly over the classes"
    return ImageChoice(
        index_N=np.array(drawn), rule=f"{len(drawn)} test images drawn once for all (seed {SEED}), {kind}."
    )


def read_predictions(directory: Path, num_images: int, which: str = "best") -> np.ndarray:
    """Read the predicted class of every test image, in test-set order, from the cell's predictions.

    Raises:
        UserError: the file is not there or is about other images.
    """
    path = Path(directory) / PREDICTIONS_NAME
    try:
        with np.load(path) as stored:
            index_N, class_N = stored["id"], stored[f"{'best' if which == 'best' else 'final'}_class"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}  cannot be read ({error}); choose images by number, ids or class") from error
    if sorted(index_N.tolist()) != list(range(num_images)):
        raise UserError(f"{path}  is about other images than this test set; choose images by number, ids or class")
    return class_N[np.argsort(index_N)]


def _by_id(listed: str, label_N: np.ndarray) -> ImageChoice:
    index_N = np.array([int(part) for part in listed.split(",") if part], dtype=int)
    if not len(index_N) or index_N.max() >= len(label_N):
        raise UserError(f"--images ids={listed}  must name test images from 0 to {len(label_N) - 1}")
    return ImageChoice(index_N=index_N, rule=f"Test images {', '.join(map(str, index_N))}, as asked for.")


def _of_class(name: str, count: int, label_N: np.ndarray, classes: list[str]) -> ImageChoice:
    if name not in classes:
        raise UserError(f"--images class={name}  is unknown; allowed: {', '.join(classes)}")
    members = np.flatnonzero(label_N == classes.index(name))
    drawn = np.sort(np.random.default_rng(SEED).permutation(members)[:count])
    return ImageChoice(
        index_N=drawn, rule=f"{len(drawn)} test images of class {name}, drawn once for all (seed {SEED})."
    )


def _disputed(predicted: np.ndarray, count: int) -> ImageChoice:
    """Choose images on which two random cells differ most often; equal ones in a fixed random order."""
    votes_NK = np.stack([(predicted == k).mean(0) for k in range(predicted.max() + 1)], axis=1)
    dispute_N = 1 - (votes_NK**2).sum(1)
    shuffled = np.random.default_rng(SEED).permutation(len(dispute_N))
    drawn = shuffled[np.argsort(-dispute_N[shuffled], kind="stable")][:count]
    return ImageChoice(
        index_N=drawn, rule=f"The {len(drawn)} test images on which the {len(predicted)} models differ most."
    )


def _wrong(class_N: np.ndarray, label_N: np.ndarray, count: int) -> ImageChoice:
    missed = np.flatnonzero(class_N != label_N)
    drawn = np.sort(np.random.default_rng(SEED).permutation(missed)[:count])
    rule = f"{len(drawn)} of the {len(missed)} test images that the first model gets wrong"
    return ImageChoice(index_N=drawn, rule=f"{rule}, drawn once for all (seed {SEED}).")
