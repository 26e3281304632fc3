"""Run a study's search and the study at the settings that it found.

The search goes in rounds: suggest what can be suggested for every arm, train it, report the values. All arms' trials of
a round are trained together. Nothing is kept in memory only, so the same command goes on after a kill anywhere: what
was suggested is in Optuna's journal, what was trained in the records, and a setting once found in tuned/plan.json.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vitsweep.run.progress_table import final_table, print_tables
from vitsweep.study.locks import CellLock
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, Cell, Plan, read_plan, write_plan
from vitsweep.study.plan_builder import freeze_plan
from vitsweep.study.status import CellStatus
from vitsweep.study.tuning.rules import first_cells
from vitsweep.study.tuning.search import ArmSearch, Journal
from vitsweep.study.tuning.space import Search, parse_search
from vitsweep.study.tuning.trials import baseline_setting, best_settings, trial_results, trials_plan
from vitsweep.study.tuning.tuned import share_cells, tuned_plan

log = logging.getLogger(__name__)


class Training(Protocol):
    """Training of cells as the sweep was started; see run.sweep.SweepTraining."""

    def statuses(self, directory: Path, cells: list[Cell]) -> list[CellStatus]: ...

    def __call__(self, directory: Path, plan: Plan, before: list[CellStatus]) -> list[CellStatus]: ...


def run_tuning(
    plan: Plan,
    cells: list[Cell],
    directory: Path,
    training: Training,
    looks: Callable[[Path, Plan], list[CellStatus]] | None = None,
) -> list[CellStatus]:
    """Search each arm's setting, then train the study at these settings.

    Args:
        plan: the study's, as it lies in `directory`.
        cells: those of this start; other arms are not searched, other seeds not trained.
        directory: the sweep's.
        training: trains cells.
        looks: trains the cells of a plan that its looks need; None: all are trained.

    Returns:
        Statuses of the cells at the arms' own settings, and of trials that failed.
    """
    search = parse_search(plan.tune)
    with search_lock(directory / TUNING_NAME):
        failed = run_search(plan, search, {cell.arm for cell in cells}, directory / TUNING_NAME, training)
        if any(status.has_outside_cause for status in failed):
            return failed  # the user must correct something first, and the same command goes on
        tuned = freeze_tuned(plan, search, directory)
    if tuned is None:
        log.warning("%s: no trial of the baseline has a value, so nothing is judged at its own setting", plan.study)
        return failed
    place, wanted = directory / TUNED_NAME, {(cell.arm, cell.seed) for cell in cells}
    if shared := share_cells(directory, plan, place, tuned):
        log.info("%s: %d cells taken over from arms whose own setting is the baseline's", tuned.study, shared)
    own = [cell for cell in tuned.cells if (cell.arm, cell.seed) in wanted]
    if looks is None:
        after = training(place, tuned, training.statuses(place, own))
    else:
        after = looks(place, dataclasses.replace(tuned, cells=own))
    print_tables(final_table(tuned, [(status.cell, status.record) for status in after], place))
    return failed + after


@contextmanager
def search_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of a search; wait while another start of the same study holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = CellLock(directory)
    while not lock.acquire():
        lock.liveness.announce(directory)
        time.sleep(1)
    try:
        yield
    finally:
        lock.release()


def run_search(plan: Plan, search: Search, arms: set[str], directory: Path, training: Training) -> list[CellStatus]:
    """Search until every one of these arms has had all its trials; return the statuses of trials that failed.

    Args:
        plan: the study's.
        search: the same for every arm.
        arms: names of those that are searched now; the trials of others are kept as they are.
        directory: of the search, locked.
        training: trains cells.
    """
    journal, first = Journal(directory), first_cells(plan)
    start = baseline_setting(first[plan.baseline], search)
    searches = {arm: ArmSearch(journal, arm, search, start) for arm in first}
    failed: list[CellStatus] = []
    trained: set[str] = set()  # in this start; sweep.retry=failed trains a cell again once, not in every round
    while True:
        # In the first round trials of an earlier start may still lack their values.
        suggested = [
            trial
            for arm, own in searches.items()
            for trial in (own.suggest(is_settled=bool(trained)) if arm in arms else own.trials())
        ]
        trials = trials_plan(plan, search, first, suggested)
        if trials != read_plan(directory):
            write_plan(directory, trials)
        new = [cell for cell in trials.cells if cell.id not in trained]
        after = training(directory, trials, training.statuses(directory, new))
        trained |= {cell.id for cell in new}
        failed += [status for status in after if status.status == "failed"]
        for result in trial_results(directory, trials.arms, search.metric):
            if not math.isnan(result.value):
                searches[result.arm].report(result.number, result.value)
        is_stopped = any(status.has_outside_cause for status in after)
        if is_stopped or all(len(own.trials()) == own.size for arm, own in searches.items() if arm in arms):
            return failed


def freeze_tuned(plan: Plan, search: Search, directory: Path) -> Plan | None:
    """Freeze the study at the settings found, and return its plan; a setting that was frozen before stays.

    Returns:
        None if the baseline has no setting.
    """
    trials, earlier = read_plan(directory / TUNING_NAME), read_plan(directory / TUNED_NAME)
    assert trials is not None
    settings = best_settings(trial_results(directory / TUNING_NAME, trials.arms, search.metric), search)
    settings |= earlier.tune["settings"] if earlier else {}
    if plan.baseline not in settings:
        return None
    return freeze_plan(directory / TUNED_NAME, tuned_plan(plan, settings))
