"""The fast step learns as plain torch in fp32 does: over many steps each seed's loss stays within the seeds' spread."""

import math

import pytest
import torch
from torch.nn import functional as F

from vitsweep.config.convert import validate
from vitsweep.config.schema import Config, DataConfig, ModelConfig, RecipeConfig, TrackerConfig
from vitsweep.model import cpu_ops, layers
from vitsweep.train.step import epoch_order, prepare, train_step

SMALL = {"patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
STARTING = {"patch_size": 8}
WINDOW, BATCH, SEEDS = 40, 64, (0, 1, 2)


def loss_curve(model: dict, lr: float, steps: int, seed: int, precision: str) -> torch.Tensor:
    """Mean training loss of each window of steps, (steps / WINDOW,)."""
    config = Config(
        model=ModelConfig(**model),
        data=DataConfig(name="shapes", root=None, shapes_train=2500, shapes_test=100),
        recipe=RecipeConfig(epochs=100, batch_size=BATCH, lr=lr),
        tracker=TrackerConfig(name="none"),
        seed=seed,
        device="cpu",
        precision=precision,
    )
    setup = prepare(validate(config))
    setup.model.train()
    losses = []
    for step in range(steps):
        epoch, place = divmod(step, setup.steps_per_epoch)
        index_B = epoch_order(setup, seed, epoch + 1)[place * BATCH : (place + 1) * BATCH]
        losses.append(train_step(setup, config, index_B, epoch + 1, place)[0].item() / BATCH)
    return torch.tensor(losses).view(-1, WINDOW).mean(1)


@pytest.fixture(autouse=True)
def no_product_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let narrow models, too, take the linear layers of wide ones."""
    monkeypatch.setattr(cpu_ops, "SMALL_PRODUCT", 0)


def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only torch's own operators from here on; dropout multiplies by our masks, so that equal seeds are comparable.

    That the masks are random as they should be is test_layers' business.
    """
    for module in (cpu_ops, layers):
        monkeypatch.setattr(module, "is_supported", lambda *_: False)

    def dropout(x, rate, training):
        num_dropped = cpu_ops.num_dropped_levels(rate)
        return x * -cpu_ops.random_mask(x, num_dropped) / (1 - num_dropped / cpu_ops.LEVELS)

    monkeypatch.setattr(F, "dropout", dropout)


@pytest.mark.parametrize(
    "model, lr, steps, precisions",
    [
        (SMALL, 5e-3, 160, ["fp32"]),  # as few and as narrow steps as learn the shapes
        # 25 s on a processor without bf16 products
        pytest.param(SMALL, 5e-3, 160, ["bf16"], marks=pytest.mark.slow),
        pytest.param(STARTING, 1e-3, 200, ["bf16", "fp32"], marks=pytest.mark.hour),
    ],
    ids=["small", "small in bf16", "starting model"],
)
def test_loss_curves_agree_with_plain_torch_in_fp32_within_the_spread_of_seeds(
    monkeypatch, model, lr, steps, precisions
):
    fast = {p: torch.stack([loss_curve(model, lr, steps, seed, p) for seed in SEEDS]) for p in precisions}
    with monkeypatch.context() as patched:
        plain_torch(patched)
        reference = torch.stack([loss_curve(model, lr, steps, seed, "fp32") for seed in SEEDS])
    assert reference[:, -1].mean() < math.log(10) - 0.5, "the reference has not learnt"
    spread = reference.max(0).values - reference.min(0).values
    for precision, curves in fast.items():
        distance = (curves - reference).abs().mean(0)
        assert (distance < spread).all(), f"{precision}: {distance} against {spread}"
