"""Training throughput against timm, vit-pytorch and Hugging Face, interleaved in one run.

All train the starting configuration on the same images with the same batch, precision, loss and fused AdamW; the
figure that counts is the ratio to the fastest peer. Peers put dropout where they have it: timm at all of our places,
vit-pytorch at all but the head, Hugging Face at all but the MLP's hidden layer and the head.

    python tests/benchmarks/throughput.py --precision bf16 --dropout 0.2 --rounds 5
    python tests/benchmarks/throughput.py --gpu        (batch 512, bf16, all compiled)

The last column is what the model's products, three forward passes' worth a step, come to beside the fastest large
matrix product of the same run. On a machine that others use, --clock process counts processor time alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.schema import ModelConfig
from vitsweep.model.cost import flops_per_image
from vitsweep.model.vit import ViT
from vitsweep.study.provenance.environment import cpu_model
from vitsweep.train.device import compile_network, device_name, keep_freed_memory, pick_device, pick_precision


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
    """ViTForImageClassification with a tensor as input and output."""

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


CLOCKS = {"wall": time.perf_counter, "process": time.process_time}


def make_step(
    model: nn.Module, device: torch.device, precision: str, batch_size: int, compile: bool = False
) -> Callable[[], None]:
    """Return a function that runs one training step of `model` on fixed random images."""
    model.to(device).train()
    network = compile_network(model, device) if compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    image_BCHW = torch.randn(batch_size, 3, 32, 32, device=device)
    label_B = torch.randint(10, (batch_size,), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logit_BK = network(image_BCHW).float()
        loss = F.cross_entropy(logit_BK, label_B)
        loss.backward()
        optimizer.step()

    return step


def time_steps(step: Callable[[], None], count: int, device: torch.device, clock: str = "wall") -> float:
    """Return the seconds of `count` steps."""
    began = CLOCKS[clock]()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return CLOCKS[clock]() - began


def matrix_peak(device: torch.device, precision: str, clock: str = "wall") -> float:
    """Return the TFLOP/s of the fastest of several large square matrix products."""
    size, dtype = 8192 if device.type == "cuda" else 2048, torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    time_steps(lambda: a @ b, 3, device)
    return 2 * size**3 / min(time_steps(lambda: a @ b, 1, device, clock) for _ in range(7)) / 1e12


def describe_machine(device: torch.device) -> str:
    """Return processor, instruction set and threads, or the GPU, and torch's version."""
    place = device_name(device)
    if device.type == "cpu":
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
        extras = [name for name in ("avx512_bf16", "amx_bf16", "avx512_fp16") if name in flags]
        instructions = " + ".join([torch.backends.cpu.get_cpu_capability(), *extras])
        place = f"{cpu_model()} ({instructions}), {torch.get_num_threads()} threads"
    return f"{place}, torch {torch.__version__}"


def read_arguments() -> argparse.Namespace:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--gpu", action="store_true", help="the defaults of a GPU, and every model compiled")
    ask.add_argument("--batch-size", type=int)
    ask.add_argument("--dropout", type=float, default=0.2)
    ask.add_argument("--patch-size", type=int, default=4)
    ask.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    ask.add_argument("--device", default="auto")
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--steps", type=int, help="steps a round")
    ask.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    ask.add_argument("--clock", default="wall", choices=CLOCKS)
    asked = ask.parse_args()
    defaults = {"batch_size": 512, "steps": 50, "device": "cuda"} if asked.gpu else {"batch_size": 128, "steps": 2}
    for name, value in defaults.items():
        if getattr(asked, name) in (None, "auto"):
            setattr(asked, name, value)
    return asked


def main() -> None:
    asked = read_arguments()
    device = pick_device(asked.device)
    precision = pick_precision(asked.precision, device)
    keep_freed_memory()  # as training does; the peers have it too
    config = ModelConfig(patch_size=asked.patch_size, hidden_dropout_prob=asked.dropout)
    steps = {
        name: make_step(PEERS[name](config), device, precision, asked.batch_size, compile=asked.gpu)
        for name in asked.only
    }
    for step in steps.values():
        time_steps(step, 3 if asked.gpu else 1, device)  # warm up
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(asked.rounds):
        for name, step in steps.items():
            seconds = time_steps(step, asked.steps, device, asked.clock)
            speeds[name].append(asked.steps * asked.batch_size / seconds)
    peak = matrix_peak(device, precision, asked.clock)
    print(f"{describe_machine(device)}, {precision}, {asked}")
    print(f"matrix peak: {peak:.3g} TFLOP/s")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    fastest_peer = max((value for name, value in medians.items() if name != "vitsweep"), default=medians["vitsweep"])
    for name, value in medians.items():
        spread = f"{min(speeds[name]):.0f} .. {max(speeds[name]):.0f}"
        print(f"{name:14s} {value:8.1f} images/s  ({spread})   {value / fastest_peer:.2f} x the fastest peer", end="")
        achieved = 3 * flops_per_image(config) * value / 1e12
        print(f"   {achieved:.3g} TFLOP/s, {achieved / peak:.0%} of the peak")


if __name__ == "__main__":
    main()
