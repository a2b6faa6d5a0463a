"""Certified candidates side by side: one table for each protocol, as plain text in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import optuna

from nas.certification.records import (
    Protocol,
    Run,
    answers_of,
    certified_trials,
    last_decision,
    mean_over_seeds,
    openings,
    order_by_choice,
    read_runs,
    stack,
)
from nas.certification.statistics import (
    Mean,
    accuracy_of,
    accuracy_of_folds,
    compare,
    compare_folds,
    mean_of,
)
from nas.errors import count
from nas.metrics import decimals, percent
from nas.storage.ranking import best_trial, find_trial
from nas.storage.studies import study_data
from nas.storage.trials import TrialRecord


@dataclass(frozen=True)
class Page:
    """A table. A column whose name starts with '>' holds numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def certificate_tables(study: optuna.Study) -> list[Page]:
    """A table for each protocol under which something was measured; the best comes first."""
    makers = {
        Protocol.VALIDATION: _validation_page,
        Protocol.FOLDS: _folds_page,
        Protocol.HONEST: _honest_page,
        Protocol.WATCHED: _watched_page,
    }
    pages = []
    for protocol, make in makers.items():
        runs = {t: measured_runs(study, protocol, t) for t in certified_trials(study, protocol)}
        if runs:
            page = make(study, runs)
            pages.append(replace(page, title=page.title + _mixture(runs)))
    return pages


def certificate_lines(study: optuna.Study, trial: int) -> list[str]:
    """What a trial's network reached when it was trained again, a line for each protocol.

    These are accuracies of other trainings of the same network: not of the weights of the trial.
    """
    how = {
        Protocol.VALIDATION: "on the search's own split, on validation images",
        Protocol.HONEST: "on all training images, on test images opened once, at the end",
        Protocol.WATCHED: "on all training images, tested after every epoch, the last one",
    }
    runs = {protocol: measured_runs(study, protocol, trial) for protocol in how}
    return [
        f"Trained again {how[protocol]}: {spread_of(some)}"
        for protocol, some in runs.items()
        if some
    ]


def _mixture(runs: dict[int, list[Run]]) -> str:
    """A warning where not all trainings were done on one kind of device."""
    devices = sorted({run.device for some in runs.values() for run in some})
    return f"; trained on {' and on '.join(devices)}" if len(devices) > 1 else ""


def decided_trial(study: optuna.Study) -> int | None:
    """The trial that certification found the best of several, on validation images or on folds."""
    decision = last_decision(study)
    if decision is not None:
        trials, num_seeds = decision
        runs = {
            t: [r for r in measured_runs(study, Protocol.VALIDATION, t) if r.number < num_seeds]
            for t in trials
        }
        return order_by_choice(runs, study_data(study).num_valid)[0]
    runs = _whole_folds(study)
    if len(runs) < 2:
        return None
    return order_by_choice(runs, _num_in_folds(runs))[0]


def _whole_folds(study: optuna.Study) -> dict[int, list[Run]]:
    """The runs of the trials that were measured on every fold."""
    trials = certified_trials(study, Protocol.FOLDS)
    runs = {trial: measured_runs(study, Protocol.FOLDS, trial) for trial in trials}
    num_folds = max(map(len, runs.values()), default=0)
    return {trial: some for trial, some in runs.items() if len(some) == num_folds}


def _num_in_folds(runs: dict[int, list[Run]]) -> int:
    """Images in all folds together, on which each of these trials was measured."""
    return sum(map(len, answers_of(next(iter(runs.values())))))


def winner_of(study: optuna.Study) -> TrialRecord | None:
    """The network to take: the certified one, else the best of the search, if there is any."""
    number = decided_trial(study)
    return best_trial(study) if number is None else find_trial(study, number)


def measured_runs(study: optuna.Study, protocol: Protocol, trial: int) -> list[Run]:
    """The trainings of a trial that were measured."""
    return [run for run in read_runs(study, protocol, trial) if run.accuracy is not None]


def spread_of(runs: Sequence[Run]) -> str:
    """Mean over seeds, or folds, of one candidate's trainings as they ended, with the standard
    deviation of one training and the interval of the mean; in percent."""
    if runs[0].protocol == Protocol.FOLDS:
        return _spread(accuracy_of_folds(answers_of(runs)), runs)
    return _spread(accuracy_of(stack(runs)), runs)


def _spread(summary: Mean, runs: Sequence[Run]) -> str:
    """A mean over runs in words, without an interval where it has none."""
    images = _num_images(runs)
    trainings = count(summary.num_seeds, "fold" if runs[0].protocol == Protocol.FOLDS else "seed")
    if summary.num_seeds < 2:
        return f"{percent(summary.mean, images)} ({trainings})"
    places = decimals(images) + 1  # a mean of several has one more
    mean, std, low, high = (
        f"{100 * value:.{places}f}"
        for value in (summary.mean, summary.std, summary.low, summary.high)
    )
    interval = "" if math.isnan(summary.low) else f", 95 %: {low} to {high}"
    return f"{mean} ± {std} % ({trainings}{interval})"


def _num_images(runs: Sequence[Run]) -> int | None:
    """How many images each was measured on."""
    return min((len(run.is_right) for run in runs if run.is_right is not None), default=None)


def _points(num_images: int | None, mean: float, low: float, high: float) -> str:
    """A difference with its interval, in points."""
    places = decimals(num_images) + 1
    first, *ends = (f"{100 * value:+.{places}f}" for value in (mean, low, high))
    return f"{first} ({' to '.join(ends)})"


def _certainty(probability: float) -> str:
    """In percent, and never all or nothing."""
    if 0.005 <= probability <= 0.995:
        return f"{probability:.0%}"
    return "over 99%" if probability > 0.5 else "under 1%"


def _validation_page(study: optuna.Study, runs: dict[int, list[Run]]) -> Page:
    num_valid = study_data(study).num_valid
    decision = last_decision(study)
    if decision is not None:  # what else was measured, earlier or later, had no part in it
        trials, num_seeds = decision
        runs = {t: [run for run in runs[t] if run.number < num_seeds] for t in trials}
    order = order_by_choice(runs, num_valid)
    best = order[0]
    rows = []
    for trial in order:
        lead = common = certainty = ""
        if trial != best:
            difference = compare(stack(runs[best]), stack(runs[trial]))
            images = _num_images(runs[trial])
            lead = _points(images, difference.mean, difference.low, difference.high)
            certainty = _certainty(difference.probability)
            common = f"{difference.errors_in_common:.0%}"
        rows.append(
            (
                str(trial), _num_params(study, trial), spread_of(runs[trial]),
                f"{mean_over_seeds(r.loss for r in runs[trial]):.4f}", lead, certainty, common,
            )
        )  # fmt: skip
    title = f"on {num_valid:,} validation images; nothing is decided yet"
    if decision is not None:
        title = f"decided on {num_valid:,} validation images, by accuracy and loss: trial {best}"
    return Page(
        title,
        (
            "trial", ">parameters", "accuracy", ">loss", f"lead of trial {best}, points",
            ">surely ahead", ">errors in common",
        ),
        rows,
    )  # fmt: skip


def _folds_page(study: optuna.Study, runs: dict[int, list[Run]]) -> Page:
    runs = _whole_folds(study)
    num_folds = len(next(iter(runs.values())))
    num_images = _num_in_folds(runs)
    order = order_by_choice(runs, num_images)
    best = order[0]
    rows = []
    for trial in order:
        lead = certainty = common = ""
        if trial != best:
            difference = compare_folds(*(answers_of(runs[number]) for number in (best, trial)))
            lead = _points(num_images, difference.mean, difference.low, difference.high)
            certainty = _certainty(difference.probability)
            common = f"{difference.errors_in_common:.0%}"
        rows.append(
            (
                str(trial), _num_params(study, trial), spread_of(runs[trial]),
                f"{mean_over_seeds(run.loss for run in runs[trial]):.4f}", lead, certainty, common,
            )
        )  # fmt: skip
    return Page(
        f"on each of {num_folds} folds of {num_images:,} training images, trained on the others; "
        f"by accuracy and loss: trial {best}",
        (
            "trial", ">parameters", "accuracy", ">loss", f"lead of trial {best}, points",
            ">surely ahead", ">errors in common",
        ),
        rows,
    )  # fmt: skip


def _honest_page(study: optuna.Study, runs: dict[int, list[Run]]) -> Page:
    rows = [
        (str(trial), _num_params(study, trial), spread_of(some)) for trial, some in runs.items()
    ]
    num_openings = len(openings(study))
    num_images = len(stack(next(iter(runs.values())))[0])
    return Page(
        f"honest: trained on all training images, last epoch, then {num_images:,} test images; "
        f"this study opened them {count(num_openings, 'time')}",
        ("trial", ">parameters", "accuracy"),
        rows,
    )


def _watched_page(study: optuna.Study, runs: dict[int, list[Run]]) -> Page:
    rows = [
        (
            str(trial),
            _num_params(study, trial),
            spread_of(some),
            _spread(_best_epochs(some), some),
            percent(max(run.best_accuracy for run in some), _num_images(some)),
        )
        for trial, some in runs.items()
    ]
    return Page(
        "watched: tested after every epoch, as many published figures are; the best is optimistic",
        ("trial", ">parameters", "last epoch", "best epoch", ">best of all"),
        rows,
    )


def _best_epochs(runs: Sequence[Run]) -> Mean:
    """Without an interval: they were chosen by the images that they are measured on."""
    return replace(mean_of([run.best_accuracy for run in runs]), low=math.nan, high=math.nan)


def _num_params(study: optuna.Study, trial: int) -> str:
    return f"{find_trial(study, trial).num_params or 0:,}"
