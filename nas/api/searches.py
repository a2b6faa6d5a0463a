"""`nas.search`, `nas.ladder` and `nas.check`: from a budget to a network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from nas.api.display import annotated, shown
from nas.errors import NasError, StudyError, hint, option
from nas.reports.frontier import Point, points_of
from nas.reports.results import StudyResult
from nas.searching.config import FIELDS, RANGES, SearchConfig
from nas.searching.estimate import CheckResult, forecast, foresee, space_stats
from nas.searching.events import Callback
from nas.searching.setup import SearchSetup
from nas.searching.stop import StopRequest
from nas.searching.warm_start import proposals_from
from nas.storage.database import open_storage, storage_errors
from nas.storage.studies import (
    check_study_name,
    study_names,
)
from nas.training.device import device_name

MOST_UP = 3  # networks that a study of a ladder takes over from the one below


def search(
    config: SearchConfig | None = None,
    *,
    callback: Callback | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> StudyResult:
    """Search for the best network under a budget, or go on with a search of the same name.

        study = nas.search(budget=20_000, dataset="digits", trials=12, workers=1)

    Args:
        config: what to search for; or its fields as keywords.
        callback: called with every event; None shows them as `nas search` does.
        stop: ends the search when it is true; None: Ctrl-C and the time limit end it.

    Raises:
        NasError: a keyword is bad, or the search cannot go on; every check is made before the
            first write.
    """
    config = _config(config, options)
    name = None if config.study is None else check_study_name(config.study)
    setup = SearchSetup(config)
    task = setup.task(config.budget)
    name = name or setup.study_name(config.budget)
    pool = setup.make_pool()  # the images may not fit into shared memory
    with (
        storage_errors(config.storage),
        stop or StopRequest(config.timeout_seconds) as stop,
        shown(callback) as show,
    ):
        warm = []
        if config.warm_start is not None:
            # Before the database is made, which a wrong name must not leave behind.
            old = open_storage(config.storage)
            warm = proposals_from(config.warm_start, setup.space, task, old)
        study = setup.open_study(open_storage(config.storage, create=True), name, task)
        with pool:
            ended = setup.run(study, task, pool, annotated(study, show), stop, warm)
    return StudyResult(study, config.storage, ended)


@dataclass(frozen=True)
class LadderResult:
    """Searches under several budgets."""

    budgets: tuple[int, ...]
    studies: tuple[StudyResult, ...]  # those that were begun, the smallest budget first
    points: tuple[Point, ...]  # every trained network: each counts for every budget it fits
    is_cut: bool  # a time limit or a signal ended one of them


def ladder(
    budgets: Sequence[int],
    *,
    callback: Callback | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> LadderResult:
    """Search under one budget after another, the smallest first; all are checked before.

    Each begins with the shapes that were best below. A time limit is shared in equal parts.

        nas.ladder([1_000, 5_000, 20_000], dataset="digits", trials=5)

    Raises:
        NasError: as `search`.
    """
    budgets = tuple(sorted(set(budgets)))
    if not budgets:
        raise NasError(f"{option('budgets')} is empty: give at least one number of parameters")
    configs = {budget: _config(None, options | {"budget": budget}) for budget in budgets}
    config = configs[budgets[0]]
    setup = SearchSetup(config)
    tasks = {budget: setup.task(budget) for budget in budgets}
    pool = setup.make_pool()
    studies: dict[int, optuna.Study] = {}
    results: list[StudyResult] = []
    is_cut = False
    with storage_errors(config.storage), stop or StopRequest(config.timeout_seconds) as stop:
        storage = open_storage(config.storage, create=True)
        # Those that are there come first: one that cannot go on is found before any is made.
        there = study_names(storage)
        for budget in sorted(tasks, key=lambda budget: setup.study_name(budget) not in there):
            studies[budget] = setup.open_study(storage, setup.study_name(budget), tasks[budget])
        with pool:
            smaller: optuna.Study | None = None
            for place, (budget, task) in enumerate(tasks.items()):
                stop.allot(len(tasks) - place)
                warm = []
                if smaller is not None and points_of([smaller]):
                    with contextlib.suppress(StudyError):  # a space may offer others here
                        warm = proposals_from(
                            smaller.study_name, setup.space, task, storage, MOST_UP
                        )
                with shown(callback) as show:
                    told = annotated(studies[budget], show)
                    ended = setup.run(studies[budget], task, pool, told, stop, warm)
                results.append(StudyResult(studies[budget], config.storage, ended))
                is_cut = is_cut or ended.reason is not None
                if stop.signal_number is not None:
                    break
                smaller = studies[budget]
        points = points_of(list(studies.values()))
    return LadderResult(budgets, tuple(results), tuple(points), is_cut)


def check(
    config: SearchConfig | None = None,
    *,
    draws: int = 1000,
    callback: Callable[[CheckResult], None] = lambda found: None,
    **options: Any,
) -> CheckResult:
    """Say what a search would find and how long it would take; writes nothing.

        nas.check(budget=20_000, dataset="digits").forecast.seconds_likely

    Args:
        draws: candidates to draw at random.
        callback: called with what the space holds, before the first probe trains.

    Raises:
        NasError: as `search`; or a candidate could not be trained.
    """
    config = _config(config, options)
    setup = SearchSetup(config)
    task = setup.task(config.budget)
    stats = space_stats(setup.space, task, draws)
    found = CheckResult(
        config=config, space=setup.space.name, task=task, dataset=setup.data.name,
        num_train=len(setup.data.train_index), num_valid=len(setup.data.valid_index),
        workers=setup.num_workers, device=device_name(setup.device, setup.precision, setup.engine),
        notes=tuple(setup.notes()), stats=stats,
    )  # fmt: skip
    callback(found)
    if not stats.fitting:
        return found
    pruner = setup.pruner(task)
    notices: list[str] = []
    expected = forecast(
        stats.fitting, setup.data, setup.precision, stats.most_trained(config.trials),
        setup.num_workers, pruner, setup.device, setup.engine, notices.append,
    )  # fmt: skip
    plan = None
    if config.timeout_seconds is not None:
        has_start = bool(setup.space.first_proposals(task))
        plan = foresee(
            expected, setup.data, task.epochs, setup.num_workers, pruner,
            config.timeout_seconds, has_start=has_start,
        )  # fmt: skip
    notes = (*found.notes, *notices)
    return replace(found, notes=notes, forecast=expected, plan=plan)


def _config(config: SearchConfig | None, options: dict[str, Any]) -> SearchConfig:
    unknown = [name for name in options if name not in FIELDS]
    if unknown:
        raise NasError(f"{unknown[0]} is no keyword of a search: {hint(unknown[0], FIELDS)}")
    if config is not None:
        return replace(config, **options)
    most = options.get("max_flash")
    if options.get("budget") is None and most is not None:  # a parameter takes a byte or more
        low, high = RANGES["budget"]
        options = options | {"budget": min(max(most, low), high) if isinstance(most, int) else high}
    if options.get("budget") is None:
        raise NasError("budget or max_flash is required, such as budget=20_000")
    return SearchConfig(**options)
