"""Averages of the weights that are kept beside training and scored after it, each as a row of its own.

`ema`: exponential moving average over all steps (recipe.ema_decay). `average`: plain mean of the weights after each of
the last recipe.average_last epochs (Izmailov et al. 2018, arXiv 1803.05407; of the latest epochs: Kaddour 2022, arXiv
2209.14981). Running statistics are averaged like weights.
"""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from vitsweep.config.schema import RecipeConfig
from vitsweep.study.record import AVERAGE, EMA

Averages = dict[str, AveragedModel]
"""Row of the metrics -> average."""


def make_averages(model: nn.Module, recipe: RecipeConfig) -> Averages:
    """Return the averages that a recipe asks for; `ema` starts at the first weights, `average` is empty."""
    averages: Averages = {}
    if recipe.ema_decay is not None:
        averages[EMA] = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    if recipe.average_last:
        averages[AVERAGE] = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn(), use_buffers=True)
    return averages


def average_step(averages: Averages, model: nn.Module) -> None:
    """Add the weights after an optimizer step."""
    if EMA in averages:
        averages[EMA].update_parameters(model)


def average_epoch(averages: Averages, model: nn.Module, epoch: int, recipe: RecipeConfig) -> None:
    """Add the weights after an epoch (from 1), if it is one of the last that are averaged."""
    if AVERAGE in averages and epoch > recipe.epochs - recipe.average_last:
        averages[AVERAGE].update_parameters(model)


def averages_state(averages: Averages) -> dict[str, dict[str, Tensor]]:
    """Return what resuming needs of the averages."""
    return {name: average.state_dict() for name, average in averages.items()}


def load_averages(averages: Averages, state: dict[str, dict[str, Tensor]]) -> None:
    """Restore averages_state."""
    for name, average in averages.items():
        average.load_state_dict(state[name])
