"""Optimizers beyond torch's AdamW and SGD, and the groups of weights that decay."""

import importlib.util
import inspect
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitsweep.config.recipe.schema import RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.model.vit import UNDECAYED
from vitsweep.paths import install_command

SCHEDULE_FREE = "schedule_free_adamw"
UNCOMPILED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods of torch's Optimizer whose decorator keeps the compiler out of them."""
OptimizerClass = TypeVar("OptimizerClass", bound=type[torch.optim.Optimizer])
MUON_LR = "match_rms_adamw"  # scales Muon's update to the size of AdamW's, so that one learning rate suits both


def decay_groups(named: dict[str, nn.Parameter], recipe: RecipeConfig) -> list[dict[str, Any]]:
    """Return two groups for an optimizer, the decayed weights and the others, by recipe.decay_groups."""

    def is_decayed(name: str, parameter: Tensor) -> bool:
        by_timm = parameter.dim() >= 2 and name.rpartition(".")[2] not in UNDECAYED
        return {"timm": by_timm, "all": True, "none": False}[recipe.decay_groups]

    decayed = [p for name, p in named.items() if is_decayed(name, p)]
    others = [p for name, p in named.items() if not is_decayed(name, p)]
    return [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


@cache
def eager(optimizer_class: OptimizerClass) -> OptimizerClass:
    """Return a subclass that never imports torch._dynamo, which takes as long as importing torch itself.

    torch's decorators import it to keep the compiler out of the methods; optimizers are not compiled here.
    """
    methods = {name: inspect.unwrap(getattr(optimizer_class, name)) for name in UNCOMPILED}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer_class.step))
    return type(optimizer_class.__name__, (optimizer_class,), methods)  # type: ignore[return-value]


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Return True for the weight matrix of a linear layer inside of a block."""
    return name.startswith("blocks.") and name.endswith(".weight") and parameter.dim() == 2


def betas(recipe: RecipeConfig, default: tuple[float, float]) -> tuple[float, float]:
    """Return the recipe's betas, or the optimizer's own where they are null."""
    first, second = default
    return (first if recipe.beta1 is None else recipe.beta1, second if recipe.beta2 is None else recipe.beta2)


class Lion(torch.optim.Optimizer):
    """Lion: the sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2)."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step; a closure is not called."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for p in weights:
                if "exp_avg" not in self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
            gradients, averages = [p.grad for p in weights], [self.state[p]["exp_avg"] for p in weights]
            beta1, beta2 = group["betas"]
            updates = torch._foreach_lerp(averages, gradients, 1 - beta1)
            torch._foreach_sign_(updates)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, updates, alpha=-group["lr"])
            torch._foreach_lerp_(averages, gradients, 1 - beta2)


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of the blocks (Jordan et al. 2024), AdamW for all other weights, one learning rate.

    The two share their groups with this object, so a schedule that changes the groups changes both.

    Args:
        hidden: groups of matrices.
        others: groups of everything else.
    """

    def __init__(self, hidden: list[dict], others: list[dict], recipe: RecipeConfig):
        self.muon = eager(torch.optim.Muon)(hidden, lr=recipe.lr, momentum=recipe.momentum, adjust_lr_fn=MUON_LR)
        self.adamw = eager(torch.optim.AdamW)(others, lr=recipe.lr, betas=betas(recipe, (0.9, 0.999)), fused=True)
        super().__init__([*hidden, *others], {"lr": recipe.lr})
        self.link()

    def link(self) -> None:
        """Make the groups of both optimizers this object's own."""
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with both; a closure is not called."""
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the states of both."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        self.link()


def require_library(recipe: RecipeConfig) -> None:
    """Raise if the recipe's optimizer comes from a library that is not installed.

    Raises:
        ConfigError: it does.
    """
    if recipe.optimizer == SCHEDULE_FREE and importlib.util.find_spec("schedulefree") is None:
        what = "needs the library schedulefree, which is not installed"
        raise ConfigError([f"recipe.optimizer={SCHEDULE_FREE}  {what}; {install_command('schedulefree')}"])


def make_schedule_free(groups: list[dict], recipe: RecipeConfig) -> torch.optim.Optimizer:
    """Return AdamWScheduleFree (Defazio et al. 2024), in training mode.

    Raises:
        ConfigError: its library is not installed.
    """
    require_library(recipe)
    from schedulefree import AdamWScheduleFree  # an extra

    optimizer = eager(AdamWScheduleFree)(groups, lr=recipe.lr, betas=betas(recipe, (0.9, 0.999)))
    optimizer.train()
    return optimizer


def set_training_mode(optimizer: torch.optim.Optimizer, training: bool) -> None:
    """Switch a schedule-free optimizer's weights: those that are trained, or their average, which is scored.

    Other optimizers have one set of weights.
    """
    if hasattr(optimizer, "train") and hasattr(optimizer, "eval"):
        if training:
            optimizer.train()
        else:
            optimizer.eval()
