"""evaluate: obeys properties (memory of a training step, scores that do not depend on the batch)."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from vitsweep.config.schema import Config, ModelConfig, RecipeConfig
from vitsweep.data.load import ImageSet
from vitsweep.model.cost import activation_bytes, evaluation_batch, evaluation_bytes
from vitsweep.train import device
from vitsweep.train.device import peak_gib
from vitsweep.train.evaluate import evaluate
from vitsweep.train.step import Step, train_step
from vitsweep.train.trial.probe import reset_peak
from vitsweep.train.trial.steps import random_images, trial_step

MANY_TOKENS = {"patch_size": 2, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}


def make_step(batch_size: int) -> Step:
    model = ModelConfig(intermediate_size=16, **MANY_TOKENS)
    config = Config(model=model, recipe=RecipeConfig(batch_size=batch_size), device="cpu", precision="fp32")
    return trial_step(config, torch.device("cpu"))


def images_for(step: Step, count: int) -> ImageSet:
    labels = torch.arange(count) % 10
    return ImageSet(image_NCHW=random_images(step.config, count), label_N=labels, id_N=torch.arange(count))


def test_evaluation_takes_no_more_memory_than_training():
    step, cpu = make_step(8), torch.device("cpu")
    setup, images = step.setup, images_for(step, 512)  # 512 at a time: 550 MB of scores and probabilities
    for number in range(2):
        train_step(setup, step.config, step.index_B, 1, number)
    reset_peak(cpu)
    before = peak_gib(cpu)
    evaluate(setup.model, images, setup.data, "fp32", setup.evaluation_batch)
    assert (peak_gib(cpu) - before) * 1024 < 60


@pytest.mark.parametrize("status", ["VmRSS:\t     100 kB\n", None])
def test_peak_memory_without_the_kernels_mark_is_that_of_getrusage(tmp_path, monkeypatch, status):
    if status is not None:  # a kernel that does not report VmHWM
        (tmp_path / "status").write_text(status)
    monkeypatch.setattr(device, "STATUS", tmp_path / "status")
    monkeypatch.setattr(device.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3 * 2**20))
    peaks = {}
    for platform in ("linux", "darwin"):
        monkeypatch.setattr(device.sys, "platform", platform)
        peaks[platform] = peak_gib(torch.device("cpu"))
    assert peaks == {"linux": 3, "darwin": 3 / 1024}  # KiB and bytes


def test_scores_do_not_depend_on_the_batch():
    step = make_step(8)
    images = images_for(step, 21)
    few, all_at_once = (evaluate(step.setup.model, images, step.setup.data, "fp32", size) for size in (4, 21))
    torch.testing.assert_close(few.probability_N, all_at_once.probability_N, rtol=1e-5, atol=1e-6)
    assert few.loss == pytest.approx(all_at_once.loss, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 16, 128, 1000])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        MANY_TOKENS,
        {"image_size": 224, "patch_size": 8},
        {"num_hidden_layers": 1},
        {"name": "resnet", "num_hidden_layers": 12},
    ],
    ids=str,
)
def test_evaluation_batch_fits_into_the_memory_of_a_step(changes, batch_size):
    model = dataclasses.replace(ModelConfig(), **changes)
    number = evaluation_batch(model, batch_size)
    assert min(batch_size, 512) <= number <= 512
    assert number == min(batch_size, 512) or evaluation_bytes(model, number) <= activation_bytes(model, batch_size)
