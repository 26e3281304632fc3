"""Training of one cell: fit(), read top to bottom, and run_cell(), which adds record, tracker and error handling.

fit() is a generator: it yields each Step and is sent its result, so the same loop serves a cell that is trained alone
(run_steps) and several that are trained as one program (pack.py).

Order, augmentation and dropout are drawn from streams named after the seed, the epoch and the step, so a cell that was
killed and resumed alone ends with the weights of an undisturbed one (on one machine, with the same number of threads).
"""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from vitsweep.config.recipe.rules import FALLING
from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.data.load import Data, load_data
from vitsweep.errors import LockLost, NonFiniteLoss, UserError
from vitsweep.files import check_writable
from vitsweep.study.record import (
    METRICS_NAME,
    TRIAL,
    Record,
    append_row,
    drop_rows_after,
    error_info,
    keep_history,
    now,
    read_rows,
    sync_rows,
    with_history,
    write_record,
)
from vitsweep.tracking.several import make_tracker
from vitsweep.tracking.tracker import Tracker
from vitsweep.train.average import average_epoch, averages_state, load_averages
from vitsweep.train.checkpoint import (
    STATE_NAME,
    drop_epochs,
    drop_state,
    load_state,
    save_epoch,
    save_final,
    save_model,
    save_state,
)
from vitsweep.train.device import peak_gib
from vitsweep.train.epoch_progress import make_progress
from vitsweep.train.evaluate import Scores, evaluate, save_predictions, score, trial_metrics
from vitsweep.train.optimizers import set_training_mode
from vitsweep.train.step import Setup, Step, Training, describe_setup, epoch_order, prepare, train_step
from vitsweep.train.stop import Interrupted, StopSignals

log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class TrainingProgress:
    """Position in training; saved together with the weights and the optimizer."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps of the current epoch."""
    totals: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0])
    """Summed loss and number of correct predictions over the images of those steps."""
    best_epoch: int = 0
    """Epoch with the lowest validation loss so far; 0: none yet."""
    best_loss: float = math.inf
    """Validation loss of that epoch."""
    best_weights: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """Weights after that epoch."""

    @property
    def is_start(self) -> bool:
        """Return whether no step has been taken."""
        return self.epoch == self.step == 0


def run_cell(config: Config, record: Record, directory: Path) -> Record:
    """Train one cell and write its record, also if training fails.

    Args:
        record: study, arm, seed, ... of the cell and results of earlier attempts; the rest is filled in.
        directory: the cell's own, existing directory; training resumes from a state saved there.

    Returns:
        The record with status done, failed or diverged.

    Raises:
        Interrupted: a signal requested a stop; the record's status is `interrupted` and the state is saved.
        UserError: the data or the device are not available; the record's status is `failed`.
    """
    record.pack = with_history({}, record.pack)
    with StopSignals() as stop, threads_of_start(record, directory):
        run_steps(run_attempt(config, record, directory, stop))
    return record


@contextmanager
def threads_of_start(record: Record, directory: Path) -> Iterator[None]:
    """Train with as many CPU threads as the saved state, if any: their number decides the last bits of sums."""
    threads = torch.get_num_threads()
    if changes_threads(record, directory):
        log.info("%s seed %d continues with %d threads, as it began", record.arm, record.seed, record.threads)
        torch.set_num_threads(record.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def changes_threads(record: Record, directory: Path) -> bool:
    """Return whether a cell has a saved state that was trained on the CPU with another number of threads."""
    is_other = record.device == "cpu" and record.threads not in (0, torch.get_num_threads())
    return is_other and (directory / STATE_NAME).exists()


def run_steps(training: Training) -> None:
    """Train one cell step by step; an error in a step is raised inside its training."""
    resume_training: Callable[[], Step] = partial(next, training)
    while True:
        try:
            wanted = resume_training()
        except StopIteration:
            return
        try:
            began = time.monotonic()
            totals_2 = train_step(wanted.setup, wanted.config, wanted.index_B, wanted.epoch, wanted.step)
            if wanted.is_last:
                totals_2.tolist()  # waits for the GPU
            resume_training = partial(training.send, (totals_2, time.monotonic() - began))
        except BaseException as error:
            resume_training = partial(training.throw, error)


def run_attempt(
    config: Config,
    record: Record,
    directory: Path,
    stop: StopSignals,
    load: Callable[[Config], Data] = load_data,
) -> Training:
    """Train one cell with record, tracker and error handling; see run_cell.

    Args:
        stop: active signal handlers.
        load: returns the images.
    """
    tracker = make_tracker(config.tracker)
    earlier_seconds, began = record.time_seconds, time.monotonic()

    def save_record(status: str, error: BaseException | None = None) -> None:
        record.status, record.error = status, None if error is None else error_info(error)
        record.time_seconds = earlier_seconds + (time.monotonic() - began) / len(record.pack.get("cells", "1"))
        write_record(directory, record)

    record.started, record.finished = record.started or now(), ""
    record.attempts += 1
    save_record("running")
    try:
        yield from fit(config, record, directory, tracker, stop, save_record, load)
        end: tuple = ("done",)
    except LockLost:  # the record is another process's now
        raise
    except Interrupted as error:
        end = ("interrupted", error)
    except UserError as error:
        end = ("failed", error)
    except NonFiniteLoss as error:
        end = ("diverged", error)
        log.error("%s seed %d diverged: %s", record.arm, record.seed, error)
    except Exception as error:
        end = ("failed", error)
        log.exception("%s seed %d failed", record.arm, record.seed)
    record.finished = now()
    save_record(*end)  # before the tracker, which may wait for a network
    tracker.finish(record)
    if record.status == "done":
        drop_state(directory)
    elif isinstance(end[1], Interrupted | UserError):
        raise end[1]


def fit(
    config: Config,
    record: Record,
    directory: Path,
    tracker: Tracker,
    stop: StopSignals,
    save_record: Callable[[str], None],
    load: Callable[[Config], Data],
) -> Training:
    """Train the model of `config`, write checkpoints and predictions, fill in the record; see run_cell."""
    # 1. Prepare, and resume from a saved state if there is one.
    setup = prepare(config, load)
    earlier = dataclasses.replace(record)
    describe_setup(record, setup, directory)
    progress = resume(setup, directory, record)
    keep_history(record, earlier, progress.is_start)
    speeds = [row["images_per_second"] for row in drop_rows_after(directory, progress.epoch)]
    drop_epochs(directory, progress.epoch)
    tracker.start(record, directory)
    record.wandb += [run for run in tracker.runs if run not in record.wandb]
    save_record("running")
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        sync_rows(directory)
        save_state(directory, training_state(setup, progress, record))
        record.epoch = progress.epoch
        save_record("running")
        saved_at = time.monotonic()

    def save_if_due() -> None:
        if stop.requested or time.monotonic() - saved_at >= config.checkpoint_seconds:
            save()  # raises LockLost, too
        if stop.requested:
            raise Interrupted(stop.requested)

    arm = record.arm if len(record.arm) <= 24 else f"{record.arm[:21]}..."  # the figures need the rest of 80 columns
    title, epochs = f"{arm} seed {record.seed}", config.recipe.epochs
    display = make_progress(title, epochs, setup.steps_per_epoch, progress.epoch, as_lines="cells" in record.pack)
    with display, stop.deferring():
        for epoch in range(progress.epoch + 1, epochs + 1):
            # 2. Train for an epoch.
            epoch_began = time.monotonic()
            order_N = epoch_order(setup, config.seed, epoch)
            totals_2 = torch.tensor(progress.totals, device=setup.device)
            first_step, step_seconds = progress.step, 0.0
            setup.model.train()
            set_training_mode(setup.optimizer, True)
            for step in range(first_step, setup.steps_per_epoch):
                index_B = order_N[step * setup.batch_size : (step + 1) * setup.batch_size]
                wanted = Step(setup=setup, config=config, index_B=index_B, epoch=epoch, step=step)
                step_totals_2, seconds = yield wanted
                totals_2 += step_totals_2
                step_seconds += seconds
                progress.step = step + 1
                display.step(epoch, progress.step)
                if stop.requested or time.monotonic() - saved_at >= config.checkpoint_seconds:
                    progress.totals = totals_2.tolist()
                    save_if_due()
            loss_sum, num_right = totals_2.tolist()
            if not math.isfinite(loss_sum):
                raise NonFiniteLoss(f"the training loss became {loss_sum} in epoch {epoch}")

            # 3. Validate, keep the best weights, write and log the row.
            val = validate(setup, progress, epoch, config.recipe)
            num_trained = setup.steps_per_epoch * setup.batch_size
            num_timed = num_trained - first_step * setup.batch_size
            row = {
                "epoch": epoch,
                "train/loss": loss_sum / num_trained,
                "train/accuracy": num_right / num_trained,
                "val/loss": val.loss,
                "val/accuracy": val.accuracy,
                "lr": setup.schedule.lr,
                "time_seconds": time.monotonic() - epoch_began,
                "images_per_second": num_timed / step_seconds if num_timed else None,
            }
            setup.schedule.after_epoch(val.loss)
            append_row(directory, row)
            save_epoch(directory, epoch, setup.model, config)
            tracker.log(row)
            display.epoch(row)
            speeds.append(row["images_per_second"])
            progress.epoch, progress.step, progress.totals = epoch, 0, [0.0, 0.0]
            record.epoch = epoch
            save_if_due()

    sync_rows(directory)

    # 4. Score the last and the best model once on every split, test included; save both.
    record.images_per_second = median([s for s in speeds if s] or [0.0]) or None
    score_and_save(config, record, directory, setup, progress)
    record.peak_gib = peak_gib(setup.device)
    check_writable(directory)
    for name, path, caption in draw_pictures(config, directory, setup):
        tracker.image(name, path, caption)


def validate(setup: Setup, progress: TrainingProgress, epoch: int, recipe: RecipeConfig) -> Scores:
    """Score the validation images; keep the weights if their loss is the lowest so far, add them to the averages."""
    set_training_mode(setup.optimizer, False)
    val = evaluate(setup.model, setup.data.val, setup.data, setup.precision, setup.evaluation_batch)
    if val.loss < progress.best_loss:
        weights = {name: tensor.detach().clone() for name, tensor in setup.model.state_dict().items()}
        progress.best_epoch, progress.best_loss, progress.best_weights = epoch, val.loss, weights
    average_epoch(setup.averages, setup.model, epoch, recipe)
    return val


def score_and_save(config: Config, record: Record, directory: Path, setup: Setup, progress: TrainingProgress) -> None:
    """Fill in the record's metrics; write predictions.npz and the weights (last, best, and each average).

    Of a trial the validation images alone are scored and nothing is written: no choice may see a test image.
    """
    if record.role == TRIAL:
        val = evaluate(setup.model, setup.data.val, setup.data, setup.precision, setup.evaluation_batch)
        record.metrics = trial_metrics(val, progress.best_epoch or progress.epoch)
        return
    final, final_test = score(setup.model, setup.data, setup.precision, setup.evaluation_batch)
    save_model(directory / "last.safetensors", setup.model.state_dict(), config)
    if config.recipe.schedule not in FALLING:  # the others end at the last epoch
        save_final(directory, training_state(setup, progress, record))
    best, best_test = final, final_test
    if progress.best_epoch != progress.epoch and progress.best_weights:
        setup.model.load_state_dict(progress.best_weights)
        best, best_test = score(setup.model, setup.data, setup.precision, setup.evaluation_batch)
    save_model(directory / "best.safetensors", setup.model.state_dict(), config)
    record.metrics = {"final": final, "best": {"epoch": progress.best_epoch or progress.epoch} | best}
    tests = {"final": final_test, "best": best_test}
    for name, average in setup.averages.items():
        record.metrics[name], tests[name] = score(average.module, setup.data, setup.precision, setup.evaluation_batch)
        save_model(directory / f"{name}.safetensors", average.module.state_dict(), config)
    save_predictions(directory, setup.data.test, tests)


def training_state(setup: Setup, progress: TrainingProgress, record: Record) -> dict:
    """Return the state that resuming needs; tensors and plain values only."""
    return {
        "config_hash": record.config_hash,
        "data_fingerprint": setup.data.fingerprint,
        "precision": setup.precision,
        "model": setup.model.state_dict(),
        "optimizer": setup.optimizer.state_dict(),
        "schedule": setup.schedule.state_dict(),
        "averages": averages_state(setup.averages),
        "progress": vars(progress),
    }


def resume(setup: Setup, directory: Path, record: Record) -> TrainingProgress:
    """Load the saved state and return its progress; return the start if there is no matching state."""
    state = load_state(directory, record.config_hash)
    if state is None:
        return TrainingProgress()
    if state["data_fingerprint"] != setup.data.fingerprint:
        log.warning("the images are not those of the saved state; training from the start")
        return TrainingProgress()
    last_epoch = state["progress"]["epoch"]
    if [row["epoch"] for row in read_rows(directory)][:last_epoch] != list(range(1, last_epoch + 1)):
        log.warning("%s lacks rows of epochs 1 to %d; training from the start", METRICS_NAME, last_epoch)
        return TrainingProgress()
    if state["precision"] != setup.precision:
        log.warning("precision was %s and is now %s", state["precision"], setup.precision)
    setup.model.load_state_dict(state["model"])
    setup.optimizer.load_state_dict(state["optimizer"])
    setup.schedule.load_state_dict(state["schedule"])
    load_averages(setup.averages, state.get("averages", {}))
    progress = TrainingProgress(**state["progress"])
    log.info("%s seed %d resumes at epoch %d, step %d", record.arm, record.seed, progress.epoch + 1, progress.step)
    return progress


def draw_pictures(config: Config, directory: Path, setup: Setup) -> list[tuple[str, Path, str]]:
    """Return a finished cell's pictures (name, file, caption), by the function that tracker.pictures names."""
    if not config.tracker.pictures or not config.tracker.shows_pictures:
        return []
    module, _, function = config.tracker.pictures.rpartition(".")
    if module == "analysis.pictures":  # ours; a folder `analysis` on the user's path has the same name
        module = "vitsweep.analysis.pictures"
    try:
        return getattr(import_module(module), function)(directory, setup.model, setup.data)
    except Exception as error:  # a missing picture must not fail the cell
        log.warning("no pictures of this cell: %s: %s", type(error).__name__, error)
        return []
