"""Models and training states on disk, written atomically and read without executing code from the file."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vitsweep.config.convert import from_dict, to_dict
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError
from vitsweep.files import check_writable, write_atomically
from vitsweep.model.build import make_model
from vitsweep.study.record import AVERAGE, EMA, EPOCHS_FOLDER, FINAL_NAME, epoch_checkpoints, read_record

log = logging.getLogger(__name__)

N_AVERAGED = "n_averaged"  # of torch's AveragedModel
STATE_NAME = "state.pt"


def save_model(path: Path, weights: dict[str, Tensor], config: Config) -> None:
    """Write weights as safetensors with the model's configuration in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    model = to_dict(config)["model"]
    write_atomically(path, safetensors.torch.save(tensors, metadata={"model": json.dumps(model)}))


def load_model(cell_dir: str | Path, which: str = "best") -> nn.Module:
    """Load the trained model of a cell, in eval mode on the CPU in fp32.

    >>> model = vs.load_model(cell.directory, which="last")
    >>> model.config.patch_size, model.training
    (8, False)

    Args:
        cell_dir: the cell's directory, with its record.
        which: `best` (lowest validation loss), `last`, `ema` (where recipe.ema_decay is set) or `average`
            (where recipe.average_last is).

    Raises:
        RecordError: the checkpoint does not exist, or does not fit the record's configuration.
    """
    if which not in ("best", EMA, AVERAGE, "last"):
        raise RecordError(f"which={which}  is unknown; allowed: best, ema, average, last")
    path = Path(cell_dir) / f"{which}.safetensors"
    if not path.exists():
        why = (
            "the cell has not finished, its checkpoints were pruned, or this is a copy without (a published study, W&B)"
        )
        raise RecordError(f"{path}  is not there; {why}")
    model = make_model(from_dict(read_record(Path(cell_dir)).config))
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise RecordError(f"{path}  does not fit the record's configuration: {error}") from error
    return model.eval()


def save_epoch(directory: Path, epoch: int, model: nn.Module, config: Config) -> None:
    """Write the weights as `checkpoints/epoch-007.safetensors`, if the configuration asks for this epoch."""
    if config.checkpoint_every_epochs and epoch % config.checkpoint_every_epochs == 0:
        folder = directory / EPOCHS_FOLDER
        folder.mkdir(exist_ok=True)
        save_model(folder / f"epoch-{epoch:03d}.safetensors", model.state_dict(), config)


def drop_epochs(directory: Path, last_epoch: int) -> None:
    """Remove the weights of epochs after `last_epoch`, which are trained again."""
    check_writable(directory)
    for epoch, path in epoch_checkpoints(directory).items():
        if epoch > last_epoch:
            path.unlink()


def save_state(directory: Path, state: dict[str, Any]) -> None:
    """Write the training state to state.pt."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(directory / STATE_NAME, buffer.getvalue())


def load_state(directory: Path, config_hash: str) -> dict[str, Any] | None:
    """Return the saved state of this configuration, or None to train from the start; log why a state is not used.

    Loaded with `weights_only`, so a foreign file cannot execute code.
    """
    path = directory / STATE_NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torn or foreign: torch raises many types, and training from the start is right for all
        reason = f"{error}".strip().partition("\n")[0]
        log.warning("%s cannot be read (%s: %s); training from the start", path, type(error).__name__, reason)
        return None
    if not isinstance(state, dict) or state.get("config_hash") != config_hash:
        log.warning("%s belongs to another configuration; training from the start", path)
        return None
    return state


def drop_state(directory: Path) -> None:
    """Remove state.pt."""
    check_writable(directory)
    (directory / STATE_NAME).unlink(missing_ok=True)


def save_final(directory: Path, state: dict[str, Any]) -> None:
    """Write what training longer needs of a training state besides the weights, which the cell's checkpoints hold."""
    kept = {name: value for name, value in state.items() if name != "model"}
    kept["progress"] = {name: value for name, value in state["progress"].items() if name != "best_weights"}
    kept["averages"] = {name: {N_AVERAGED: values[N_AVERAGED]} for name, values in state["averages"].items()}
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    write_atomically(directory / FINAL_NAME, buffer.getvalue())


def load_final(directory: Path) -> dict[str, Any]:
    """Return the training state after a finished cell's last epoch; the mean of its last epochs starts anew.

    Raises:
        RecordError: a file of it is missing or damaged.
    """
    try:
        state = torch.load(directory / FINAL_NAME, map_location="cpu", weights_only=True)
        state["model"] = safetensors.torch.load_file(directory / "last.safetensors")
        best = safetensors.torch.load_file(directory / "best.safetensors") if state["progress"]["best_epoch"] else {}
        state["progress"]["best_weights"] = best
        for name, values in state["averages"].items():
            values |= {"module." + key: tensor for key, tensor in state["model"].items()}
            if name == AVERAGE:
                values[N_AVERAGED] = torch.zeros_like(values[N_AVERAGED])  # its first weights replace these
            else:
                weights = safetensors.torch.load_file(directory / f"{name}.safetensors")
                values |= {"module." + key: tensor for key, tensor in weights.items()}
    except FileNotFoundError as error:
        name = FINAL_NAME if FINAL_NAME in str(error) else "a checkpoint"
        reason = "its checkpoints were pruned, or an earlier version, which kept no state, has trained it"
        raise RecordError(f"{directory}  lacks {name}, from which training would continue; {reason}") from error
    except Exception as error:  # torch raises many types for a torn or foreign file
        first = f"{error}".strip().partition("\n")[0]
        raise RecordError(f"{directory}  cannot be continued ({type(error).__name__}: {first})") from error
    return state


def save_continued(finished: Path, directory: Path, config_hash: str) -> None:
    """Write the state of a finished cell as that from which the cell in `directory` resumes.

    Args:
        config_hash: of the cell in `directory`.

    Raises:
        RecordError: the finished cell has no such state any more.
    """
    save_state(directory, load_final(finished) | {"config_hash": config_hash})
