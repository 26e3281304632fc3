"""model=resnet agrees with torchvision and torch's counters, is deterministic, and refuses what it cannot read."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import resnet18

import vitsweep
from vitsweep.config.convert import config_hash, to_dict, validate
from vitsweep.config.model_schema import NETWORKS as NETWORK_NAMES
from vitsweep.config.schema import Config, ModelConfig
from vitsweep.errors import ConfigError
from vitsweep.model.build import MODEL_CLASSES, make_model
from vitsweep.model.cost import activation_bytes, count_parameters, flops_per_image, num_tokens
from vitsweep.model.resnet import ResNet
from vitsweep.model.vit import ViT, capture_attention
from vitsweep.study.record import Record, write_record
from vitsweep.train.checkpoint import save_model
from vitsweep.train.evaluate import evaluate
from vitsweep.train.optim import make_optimizer
from vitsweep.train.step import Step, train_step
from vitsweep.train.train_pack import PackedStep
from vitsweep.train.trial.steps import random_images, trial_setup

ARM = ModelConfig(name="resnet", num_hidden_layers=12)
SMALL = ModelConfig(name="resnet", hidden_size=32, num_hidden_layers=4)


def images(count: int = 2, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def trained(steps: int = 3, precision: str = "fp32", seed: int = 0) -> ResNet:
    """A small ResNet after a few of train_step's own steps, without a compiler."""
    config = Config(model=SMALL, seed=seed)
    model = make_model(config)
    label_N = torch.arange(16) % 10
    setup = trial_setup(config, model, model, random_images(config, 16), label_N, precision)
    for step in range(steps):
        train_step(setup, config, setup.data.train.id_N, 1, step)
    return model


NARROW = """
import torch
from vitsweep.config.schema import ModelConfig
from vitsweep.model.resnet import ResNet
torch.set_num_threads(1)
for hidden_size in 4 * [16, 24, 32, 56]:
    model = ResNet(ModelConfig(name="resnet", hidden_size=hidden_size, num_hidden_layers=4))
    torch.nn.functional.cross_entropy(model(torch.randn(45, 3, 32, 32)), torch.randint(10, (45,))).backward()
"""


def test_narrow_resnets_train_without_memory_corruption():
    """In a process of its own: the error is a signal, not an exception."""
    environment = os.environ | {"PYTHONPATH": str(Path(vitsweep.__file__).parents[1])}
    command = [sys.executable, "-c", NARROW]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("hidden_size, is_channels_last", [(32, False), (72, False), (64, True), (256, True)])
def test_only_wide_resnets_are_channels_last(hidden_size, is_channels_last):
    model = ResNet(ModelConfig(name="resnet", hidden_size=hidden_size, num_hidden_layers=4))
    outputs = []
    model.stages[0].register_forward_hook(lambda *arguments: outputs.append(arguments[-1]))
    model(images())
    for tensor in (model.stages[1][0].conv1.weight, outputs[0]):
        assert tensor.is_contiguous(memory_format=torch.channels_last) == is_channels_last


def test_resnet_computes_the_same_gradients_in_both_memory_formats():
    model, labels, gradients = ResNet(ARM), torch.tensor([1, 2]), []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        model.memory_format = memory_format
        model.to(memory_format=memory_format).zero_grad()
        F.cross_entropy(model(images()), labels).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_resnet_at_full_width_is_torchvisions_resnet18_without_its_pooling():
    ours = ResNet(ModelConfig(name="resnet", hidden_size=512, num_hidden_layers=8)).eval()
    theirs = resnet18(num_classes=10).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    state = {}
    for name, tensor in ours.state_dict().items():
        stage, _, rest = name.removeprefix("stages.").partition(".")
        renamed = {"stem": "conv1", "stem_norm": "bn1", "head": "fc"}.get(name.partition(".")[0], "")
        state[f"{renamed}.{name.partition('.')[2]}" if renamed else f"layer{int(stage) + 1}.{rest}"] = tensor
    theirs.load_state_dict(state)
    torch.testing.assert_close(ours(images()), theirs(images()), atol=1e-4, rtol=1e-4)


def test_resnet_has_the_starting_vits_parameters_within_a_tenth():
    num_parameters = sum(p.numel() for p in ResNet(ARM).parameters())
    assert num_parameters == 4_366_250
    assert num_parameters == pytest.approx(count_parameters(ModelConfig()), rel=0.1)


def test_resnet_takes_no_more_operations_than_the_starting_vit():
    assert 0.75 < flops_per_image(ARM) / flops_per_image(ModelConfig()) < 1


@pytest.mark.parametrize("changes", [{}, {"num_hidden_layers": 8}, {"image_size": 30}, {"num_channels": 1}], ids=str)
def test_cost_of_resnet_agrees_with_torchs_counters(changes):
    config = dataclasses.replace(ARM, **changes)
    model = ResNet(config).eval()
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images(1, config.image_size)[:, : config.num_channels])
    assert flops_per_image(config) == counter.get_total_flops()
    assert num_tokens(config) == 0


def test_activation_bytes_of_resnet_are_what_autograd_keeps():
    model = ResNet(ARM).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept, sizes = [], {}

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)  # alive, so that no address is used twice
        if tensor.untyped_storage().data_ptr() not in own:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.cross_entropy(model(images(4)), torch.zeros(4, dtype=torch.long))
    assert activation_bytes(ARM, 4) == pytest.approx(sum(sizes.values()), rel=0.05)


def test_resnet_starts_the_same_whatever_chance_was_used_before():
    first = ResNet(SMALL, seed=3).state_dict()
    torch.randn(7)
    again, other = ResNet(SMALL, seed=3).state_dict(), ResNet(SMALL, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])


def test_resnet_kernels_start_as_he_et_al_ask():
    kernel = ResNet(ARM).stages[3][2].conv2.weight
    assert float(kernel.detach().std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resnet_trains_to_the_same_weights_twice(precision):
    first, again = trained(precision=precision).state_dict(), trained(precision=precision).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert int(first["stem_norm.num_batches_tracked"]) == 3


def test_resnet_is_evaluated_on_its_running_statistics_and_leaves_them_alone():
    config, model = Config(model=SMALL), trained()
    setup = trial_setup(config, model, model, random_images(config, 16), torch.arange(16) % 10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    alone = evaluate(model, setup.data.val, setup.data, "fp32", batch_size=1)
    together = evaluate(model, setup.data.val, setup.data, "fp32", batch_size=16)
    torch.testing.assert_close(alone.probability_N, together.probability_N)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


def test_resnet_comes_back_from_disk_with_its_running_statistics(tmp_path):
    config, model = validate(Config(model=SMALL)), trained()
    record = Record(study="s", role="arm", arm="cnn", seed=0, config=to_dict(config), config_hash=config_hash(config))
    write_record(tmp_path, record)
    save_model(tmp_path / "best.safetensors", model.state_dict(), config)
    torch.testing.assert_close(vitsweep.load_model(tmp_path)(images()), model.eval()(images()))


def test_resnets_that_are_trained_together_are_what_each_is_alone():
    models, steps = [], []
    for seed in (0, 1):
        config = Config(model=SMALL, seed=seed)
        models.append(make_model(config))
        setup = trial_setup(config, models[-1], models[-1], random_images(config, 16), torch.arange(16) % 10)
        steps.append(Step(setup=setup, config=config, index_B=setup.data.train.id_N, epoch=1, step=0))
    PackedStep(2).run_steps(steps)
    for seed, model in enumerate(models):
        alone = trained(steps=1, seed=seed).state_dict()
        assert all(torch.equal(alone[name], tensor) for name, tensor in model.state_dict().items())


def test_weight_decay_of_resnet_acts_on_kernels_and_head_alone():
    model = ResNet(SMALL)
    decayed, spared = (group["params"] for group in make_optimizer(model, Config().recipe).param_groups)
    assert {p.dim() for p in decayed} == {2, 4} and {p.dim() for p in spared} == {1}


def test_networks_are_those_that_the_configuration_allows():
    assert set(MODEL_CLASSES) == set(NETWORK_NAMES)
    assert (ViT.has_attention, ResNet.has_attention) == (True, False)


def test_capture_refuses_a_network_without_attention():
    with pytest.raises(ConfigError, match=r"^model=resnet  has no attention; allowed: model=vit$"):
        with capture_attention(ResNet(SMALL)):
            pass


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (
            {"patch_size": 8},
            "model.patch_size=8  is not read by model=resnet; leave it out, or set it back to 4 beside model=resnet",
        ),
        (
            {"head_dropout_prob": 0.0},
            "model.head_dropout_prob=0.0  is not read by model=resnet; leave it out, "
            "or set it back to null beside model=resnet",
        ),
        ({"hidden_size": 100}, "model.hidden_size=100  must be divisible by 8 for model=resnet"),
        ({"num_hidden_layers": 6}, "model.num_hidden_layers=6  must be divisible by 4 for model=resnet"),
        ({"name": "mlp"}, "model.name=mlp  is unknown; allowed: resnet, vit"),
    ],
)
def test_config_refuses_what_a_resnet_cannot_read_or_be(changes, sentence):
    assert dataclasses.replace(ARM, **changes).errors() == [sentence]


def test_config_hash_of_a_vit_is_what_it_was_before_there_was_a_resnet():
    assert config_hash(Config()) == "8b653b439e199d1c3413e69b7680a12532d31461efa566ea4546c3f809726698"


def test_config_hash_of_a_resnet_follows_its_own_fields_alone():
    hashes = {config_hash(Config(model=model)) for model in (ModelConfig(), ARM, SMALL)}
    assert len(hashes) == 3
