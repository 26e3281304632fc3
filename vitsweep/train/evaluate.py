"""Loss, accuracy and predictions of a model on a whole set of images, without augmentation."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.data.augment import normalize
from vitsweep.data.load import Data, ImageSet
from vitsweep.files import write_atomically
from vitsweep.study.record import METRIC_NAMES, PREDICTIONS_NAME


@dataclass(kw_only=True)
class Scores:
    """Loss, accuracy and predictions on N images."""

    loss: float
    """Mean cross-entropy, without label smoothing."""
    accuracy: float
    """Fraction of images whose most probable class is the true one."""
    class_N: Tensor
    """Most probable class of each image, on the CPU."""
    probability_N: Tensor
    """Probability of that class, fp32, on the CPU."""


@torch.no_grad()
def evaluate(model: nn.Module, images: ImageSet, data: Data, precision: str, batch_size: int) -> Scores:
    """Score `images` in eval mode without a host sync between batches; restore the model's training mode."""
    was_training = model.training
    model.eval()
    device = images.image_NCHW.device
    logits = []
    for start in range(0, len(images), batch_size):
        image_BCHW = normalize(images.image_NCHW[start : start + batch_size], data.mean, data.std)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(image_BCHW).float())
    model.train(was_training)
    logit_NK = torch.cat(logits)
    probability_N, class_N = logit_NK.softmax(-1).max(-1)
    return Scores(
        loss=F.cross_entropy(logit_NK, images.label_N).item(),
        accuracy=(class_N == images.label_N).float().mean().item(),
        class_N=class_N.cpu(),
        probability_N=probability_N.cpu(),
    )


def score(model: nn.Module, data: Data, precision: str, batch_size: int) -> tuple[dict[str, float], Scores]:
    """Return loss and accuracy on train, val and test as the record names them, and the scores of the test set."""
    splits = ("train", "val", "test")
    found = {name: evaluate(model, getattr(data, name), data, precision, batch_size) for name in splits}
    metrics = {f"{name}/{key}": getattr(scores, key) for name, scores in found.items() for key in ("loss", "accuracy")}
    return metrics, found["test"]


def trial_metrics(val: Scores, best_epoch: int) -> dict[str, dict]:
    """Return a trial's metrics: those of the validation images at the last epoch, null for all others."""
    unknown: dict[str, float | None] = dict.fromkeys(METRIC_NAMES)
    final = unknown | {"val/loss": val.loss, "val/accuracy": val.accuracy}
    return {"final": final, "best": {"epoch": best_epoch} | unknown}


def save_predictions(directory: Path, test: ImageSet, found: dict[str, Scores]) -> None:
    """Write predictions.npz: id, true class, and each model's class and probability of each test image.

    Args:
        found: final, best and each average's row -> scores on the test images.
    """
    arrays = {"id": test.id_N, "label": test.label_N}
    for name, scores in found.items():
        arrays |= {f"{name}_class": scores.class_N, f"{name}_probability": scores.probability_N}
    buffer = io.BytesIO()
    columns: dict[str, Any] = {name: array.cpu().numpy() for name, array in arrays.items()}
    np.savez_compressed(buffer, **columns)
    write_atomically(directory / PREDICTIONS_NAME, buffer.getvalue())
