"""Counts: what the trials of a study come to, whoever trained them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from nas.storage.reasons import REJECTED, TRAINED, UNFINISHED, Reason, outcome_of, reason_of
from nas.storage.trials import PROMOTED_FROM

PROMOTED = "promoted"  # in counts: stopped by the pruner, and another trial goes on with it

# What counts towards `--trials`: these had their training. The others were turned away at the gate,
# cut off from outside, or lost to an error. A stopped one that was promoted counts once.
_USED_TRAINING = (TRAINED, Reason.STOPPED_BY_PRUNER, Reason.DIVERGED)


@dataclass(frozen=True)
class TrialCounts:
    """What the trials of a study come to, of all processes that search in it."""

    counts: Counter[str]  # of those that have ended, by what became of them
    seconds: dict[str, float]  # spent training, by the same
    known_fingerprints: dict[str, int]  # of trials that were trained, are in work or failed
    scores: dict[int, float]  # of trials that were trained to their end
    trained: Sequence[int]  # numbers of those that count towards `--trials`
    running: Sequence[int]

    @property
    def num_running(self) -> int:
        return len(self.running)

    @property
    def counts_now(self) -> Counter[str]:
        """`counts`, with what is in work."""
        return self.counts + Counter({UNFINISHED: self.num_running})


def count_trials(study: optuna.Study) -> TrialCounts:
    """Read the trials, but no more of each than is needed: there may be thousands."""
    counts: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    seen: dict[str, int] = {}
    scores: dict[int, float] = {}
    trained, running = [], []
    trials = study.get_trials(deepcopy=False)
    promoted = {
        trial.user_attrs[PROMOTED_FROM]
        for trial in trials
        if PROMOTED_FROM in trial.user_attrs
        and (trial.state == TrialState.RUNNING or outcome_of(trial) in _USED_TRAINING)
    }
    for trial in trials:
        attrs, is_known = trial.user_attrs, False
        is_running = trial.state == TrialState.RUNNING
        if is_running:
            running.append(trial.number)
        elif trial.state != TrialState.WAITING:
            outcome = PROMOTED if trial.number in promoted else outcome_of(trial)
            counts[outcome] += 1
            seconds[outcome] += attrs.get("train_seconds") or 0.0
            if outcome in _USED_TRAINING:
                trained.append(trial.number)
            if outcome == TRAINED and trial.value is not None:
                scores[trial.number] = trial.value
            is_known = outcome in _USED_TRAINING or outcome == Reason.ERROR
        if is_running or is_known:
            # A promoted trial has the network of the stopped one before it stores its fingerprint.
            before = trials[attrs[PROMOTED_FROM]].user_attrs if PROMOTED_FROM in attrs else {}
            fingerprint = attrs.get("fingerprint") or before.get("fingerprint")
            if fingerprint:
                seen.setdefault(fingerprint, trial.number)
    return TrialCounts(counts, dict(seconds), seen, scores, trained, running)


def count_trained(outcomes: Counter[str]) -> int:
    """How many of these `counts` count towards `--trials`."""
    return sum(outcomes[str(name)] for name in _USED_TRAINING)


def num_rejected_last(study: optuna.Study) -> int:
    """How many of the newest proposals were turned away, one after another."""
    num_rejected = 0
    for trial in reversed(study.get_trials(deepcopy=False)):
        if reason_of(trial) in REJECTED:
            num_rejected += 1
        elif "fingerprint" in trial.user_attrs and PROMOTED_FROM not in trial.user_attrs:
            break
    return num_rejected
