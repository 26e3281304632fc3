"""Training throughput against timm, vit-pytorch and Hugging Face, interleaved in one run.

All train the starting configuration on the same images with the same batch, precision, loss and fused AdamW; the
figure that counts is the ratio to the fastest peer. Peers put dropout where they have it: timm at all of our places,
vit-pytorch at all but the head, Hugging Face at all but the MLP's hidden layer and the head.

    python tests/benchmarks/throughput.py --precision bf16 --dropout 0.2 --rounds 5
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config import ModelConfig
from vitsweep.device import device_name, pick_device, pick_precision
from vitsweep.vit import ViT


def vitsweep_model(config: ModelConfig) -> nn.Module:
    return ViT(config)


def timm_model(config: ModelConfig) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    rate = config.hidden_dropout_prob
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=config.num_classes,
        embed_dim=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=config.intermediate_size / config.hidden_size,
        drop_rate=rate,
        pos_drop_rate=rate,
        proj_drop_rate=rate,
        attn_drop_rate=rate,
    )


def vit_pytorch_model(config: ModelConfig) -> nn.Module:
    from vit_pytorch import ViT as Peer

    return Peer(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=config.num_classes,
        dim=config.hidden_size,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        dim_head=config.hidden_size // config.num_attention_heads,
        mlp_dim=config.intermediate_size,
        dropout=config.hidden_dropout_prob,
        emb_dropout=config.hidden_dropout_prob,
    )


class HuggingFace(nn.Module):
    """ViTForImageClassification, called with a tensor and answering with one."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        from transformers import ViTConfig, ViTForImageClassification

        self.model = ViTForImageClassification(
            ViTConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                num_labels=config.num_classes,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                hidden_dropout_prob=config.hidden_dropout_prob,
                attention_probs_dropout_prob=config.hidden_dropout_prob,
            )
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return self.model(pixel_values=image_BCHW).logits


PEERS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "vitsweep": vitsweep_model,
    "timm": timm_model,
    "vit-pytorch": vit_pytorch_model,
    "Hugging Face": HuggingFace,
}


def make_step(model: nn.Module, device: torch.device, precision: str, batch_size: int) -> Callable[[], None]:
    """One training step of `model` on fixed random images."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    image_BCHW = torch.randn(batch_size, 3, 32, 32, device=device)
    label_B = torch.randint(10, (batch_size,), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logit_BK = model(image_BCHW).float()
        loss = F.cross_entropy(logit_BK, label_B)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def time_steps(step: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds for `count` steps."""
    began = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--batch-size", type=int, default=128)
    ask.add_argument("--dropout", type=float, default=0.2)
    ask.add_argument("--patch-size", type=int, default=4)
    ask.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    ask.add_argument("--device", default="auto")
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--steps", type=int, default=2, help="steps a round (more on a GPU)")
    asked = ask.parse_args()
    device = pick_device(asked.device)
    precision = pick_precision(asked.precision, device)
    config = ModelConfig(patch_size=asked.patch_size, hidden_dropout_prob=asked.dropout)
    steps = {name: make_step(make(config), device, precision, asked.batch_size) for name, make in PEERS.items()}
    for step in steps.values():
        time_steps(step, 1, device)  # warm up
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(asked.rounds):
        for name, step in steps.items():
            speeds[name].append(asked.steps * asked.batch_size / time_steps(step, asked.steps, device))
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}, {precision}, {asked}")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    fastest_peer = max(value for name, value in medians.items() if name != "vitsweep")
    for name, value in medians.items():
        spread = f"{min(speeds[name]):.0f} .. {max(speeds[name]):.0f}"
        print(f"{name:14s} {value:8.1f} images/s  ({spread})   {value / fastest_peer:.2f} x the fastest peer")


if __name__ == "__main__":
    main()
