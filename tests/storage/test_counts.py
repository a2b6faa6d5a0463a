"""What the trials of a study come to."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nas.storage.counts import count_trained, count_trials


def add(study, state, fingerprint=None, value=None, seconds=None, reason=None, continues=None):
    attrs = {
        "fingerprint": fingerprint, "train_seconds": seconds, "reason": reason,
        "continues": continues,
    }  # fmt: skip
    known = {name: attr for name, attr in attrs.items() if attr is not None}
    study.add_trial(create_trial(state=state, value=value, user_attrs=known))


def test_tally_tells_what_every_trial_came_to():
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.COMPLETE, "a", 0.9, 2.0)
    add(study, TrialState.COMPLETE, "a", 0.9, reason="duplicate")
    add(study, TrialState.PRUNED, "b", seconds=1.0, reason="stopped by pruner")
    add(study, TrialState.PRUNED, reason="over budget")
    add(study, TrialState.FAIL, "c", seconds=0.5, reason="diverged")
    add(study, TrialState.FAIL, "d", reason="error")
    add(study, TrialState.FAIL, "e", seconds=0.25, reason="interrupted")
    add(study, TrialState.FAIL, "f")
    add(study, TrialState.RUNNING, "g")
    add(study, TrialState.WAITING)
    counts = count_trials(study)
    assert counts.counts == {
        "trained": 1, "duplicate": 1, "stopped by pruner": 1, "over budget": 1, "diverged": 1,
        "error": 1, "interrupted": 1, "lost": 1,
    }  # fmt: skip
    assert counts.counts_now == counts.counts | {"unfinished": 1}
    assert {name: seconds for name, seconds in counts.seconds.items() if seconds} == {
        "trained": 2.0, "stopped by pruner": 1.0, "diverged": 0.5, "interrupted": 0.25,
    }  # fmt: skip
    assert counts.scores == {0: 0.9}
    assert list(counts.trained) == [0, 2, 4]
    assert list(counts.running) == [8]
    assert count_trained(counts.counts) == 3


def test_networks_that_had_their_training_are_in_work_or_failed_are_not_trained_again():
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.FAIL, "interrupted", reason="interrupted")
    add(study, TrialState.FAIL, "lost")
    add(study, TrialState.FAIL, "error", reason="error")
    add(study, TrialState.PRUNED, "weak", reason="stopped by pruner")
    add(study, TrialState.COMPLETE, "good", 0.9)
    add(study, TrialState.RUNNING, "now")
    assert count_trials(study).known_fingerprints == {"error": 2, "weak": 3, "good": 4, "now": 5}


STOPPED = {"seconds": 1.0, "reason": "stopped by pruner"}


@pytest.mark.parametrize(
    ("state", "reason", "counts", "trained", "seen"),
    [
        (TrialState.RUNNING, None, {"promoted": 1}, [], 1),
        (TrialState.COMPLETE, None, {"promoted": 1, "trained": 1}, [1], 1),
        (TrialState.PRUNED, "stopped by pruner",
         {"promoted": 1, "stopped by pruner": 1}, [1], 1),
        (TrialState.FAIL, "diverged", {"promoted": 1, "diverged": 1}, [1], 1),
        (TrialState.FAIL, "interrupted", {"stopped by pruner": 1, "interrupted": 1}, [0], 0),
        (TrialState.FAIL, None, {"stopped by pruner": 1, "lost": 1}, [0], 0),
        (TrialState.PRUNED, "duplicate", {"stopped by pruner": 1, "duplicate": 1}, [0], 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fingerprint", ["a", None])  # which is written a moment later
def test_stopped_candidate_that_was_promoted_counts_once(
    state, reason, counts, trained, seen, fingerprint
):
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.PRUNED, "a", **STOPPED)
    value = 0.9 if state == TrialState.COMPLETE else None
    add(study, state, fingerprint, value, 2.0, reason, continues=0)
    found = count_trials(study)
    assert found.counts == counts
    assert list(found.trained) == trained
    assert found.known_fingerprints == {"a": seen}
    assert sum(found.seconds.values()) == (1.0 if state == TrialState.RUNNING else 3.0)


def test_candidate_that_is_taken_up_twice_at_once_is_that_of_the_first():
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.PRUNED, "a", **STOPPED)
    for _ in range(2):
        add(study, TrialState.RUNNING, continues=0)
    assert count_trials(study).known_fingerprints == {"a": 1}
