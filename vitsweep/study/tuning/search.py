"""Search of one arm's setting by Optuna, kept in a journal, so that a killed search goes on where it was.

The sampler is made anew for each trial, seeded by the trial's number: so a suggestion depends on that number and on the
values of the trials before it, not on when the process was started. The first half of tpe's trials, and all of grid's
and random's, depend on no value: they are suggested together, and are the same for every arm.
"""

import importlib.util
import itertools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsweep.paths import install_command
from vitsweep.study.tuning.space import Parameter, Search, Setting, grid_shape

JOURNAL_NAME = "optuna.journal"
LOCK_NAME = f"{JOURNAL_NAME}.lock"
EXTRA = "tune"


@dataclass(kw_only=True, frozen=True)
class Trial:
    """One setting of one arm."""

    arm: str
    number: int
    """From 0, in the order of suggestion."""
    setting: Setting


def optuna_errors() -> list[str]:
    """Return a message if Optuna is not installed."""
    if importlib.util.find_spec("optuna"):
        return []
    return [f"study.tune  needs Optuna, which is not installed; {install_command(EXTRA)}"]


def num_trials(search: Search, start: Setting) -> int:
    """Return the number of settings that each arm is trained with: a grid without the baseline's has one more."""
    return search.trials + (search.sampler == "grid" and is_extra(search, start))


def is_extra(search: Search, start: Setting) -> bool:
    """Return whether the baseline's setting lies in the space and on no point of the grid."""
    return search.contains(start) and start not in grid_points(search)


def grid_points(search: Search) -> list[Setting]:
    """Return the settings of a grid, the last parameter fastest."""
    keys = [parameter.key for parameter in search.parameters]
    pairs = zip(search.parameters, grid_shape(search), strict=True)
    axes = [parameter.points(number) for parameter, number in pairs]
    return [dict(zip(keys, point, strict=True)) for point in itertools.product(*axes)]


def fixed_points(search: Search, start: Setting) -> list[Setting]:
    """Return the settings that no sampler chooses: the baseline's, if it lies in the space, and those of a grid."""
    first = [start] if search.contains(start) else []
    return first + [point for point in grid_points(search) if point != start] if search.sampler == "grid" else first


class Journal:
    """Optuna's storage of the searches of all arms, in one file. One process at a time may open it.

    Args:
        directory: of the search.
    """

    def __init__(self, directory: Path):
        import optuna  # late: an extra, and only a search needs it
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = directory / JOURNAL_NAME
        with suppress(FileNotFoundError):
            (directory / LOCK_NAME).unlink()  # of a process that was killed while it wrote
        _drop_torn_line(path)
        self.storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a killed writer left incomplete; Optuna reads nothing that is written behind it."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with open(path, "r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)


class ArmSearch:
    """Search of one arm.

    Args:
        journal: of all arms.
        arm: the arm's name.
        search: space and budget.
        start: the baseline's setting, which is tried first if it lies in the space.
    """

    def __init__(self, journal: Journal, arm: str, search: Search, start: Setting):
        import optuna

        self.arm, self.search = arm, search
        self.fixed, self.size = fixed_points(search, start), num_trials(search, start)
        self.study = optuna.create_study(
            storage=journal.storage,
            study_name=arm,
            direction="maximize" if search.is_maximized else "minimize",
            load_if_exists=True,
        )

        for torn in self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            if len(torn.params) < len(search.parameters):  # its suggestion was killed; it is suggested again
                self.study.tell(torn.number, state=optuna.trial.TrialState.FAIL)

    @property
    def num_free(self) -> int:
        """Number of first trials that depend on no value of another one."""
        return self.size if self.search.sampler != "tpe" else max(2, self.size // 2)

    def trials(self) -> list[Trial]:
        """Return every trial that was suggested, in order."""
        settings = [{p.key: p.rounded(found.params[p.key]) for p in self.search.parameters} for found in self._kept()]
        return [Trial(arm=self.arm, number=number, setting=setting) for number, setting in enumerate(settings)]

    def suggest(self, is_settled: bool) -> list[Trial]:
        """Suggest the trials that can be suggested now, and return them all.

        Args:
            is_settled: whether every earlier trial has its value or failed; else only those that need none are added.
        """
        number = len(self._kept())
        last = self.num_free if number < self.num_free else min(number + is_settled, self.size)
        for place in range(number, last):
            self._suggest_one(place)
        return self.trials()

    def report(self, number: int, value: float) -> None:
        """Keep the value of a trial; one that has a value stays as it is."""
        found = self._kept()[number]
        if not found.state.is_finished():
            self.study.tell(found.number, value)

    def _kept(self) -> list[Any]:
        """Return Optuna's trials, without those that wait for their suggestion or whose suggestion was killed."""
        found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if trial.state.name in ("RUNNING", "COMPLETE")]

    def _suggest_one(self, number: int) -> None:
        # Not the sum: the trials of neighboring seeds would be the same ones, shifted.
        import numpy as np  # late: status needs none
        import optuna

        seed = int(np.random.SeedSequence([self.search.sampler_seed, number]).generate_state(1)[0])
        waiting = self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING])
        if number < len(self.fixed) and not waiting:  # else killed between the two steps
            self.study.enqueue_trial(self.fixed[number])
        if number < self.num_free:
            self.study.sampler = optuna.samplers.RandomSampler(seed=seed)
        else:
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        self.study.ask({parameter.key: _distribution(parameter) for parameter in self.search.parameters})


def _distribution(parameter: Parameter) -> Any:
    """Return Optuna's distribution of a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values:
        return CategoricalDistribution(parameter.values)
    is_log = parameter.scale == "log"
    if parameter.is_integer:
        return IntDistribution(int(parameter.low), int(parameter.high), log=is_log)
    return FloatDistribution(parameter.low, parameter.high, log=is_log)
