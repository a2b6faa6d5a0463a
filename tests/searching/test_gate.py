"""What is let in to be trained, and what becomes of the rest."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from nas.candidates.architecture import Architecture
from nas.candidates.budget import Limits
from nas.candidates.candidate import Candidate
from nas.candidates.device import device_bytes
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.errors import DivergedError, SpaceError, StudyError
from nas.searching.events import TrialEnded
from nas.searching.pruners import promoted
from nas.storage.counts import count_trained
from nas.storage.ranking import best_trials, find_trial
from nas.storage.reasons import TRAINED, Reason
from nas.storage.trials import read_trials, record_reason
from tests.fakes import LIMIT, FakePool, fixed_space, make_space, one_network_space


def test_no_candidate_of_the_limit_or_more_is_trained(make_search, pool):
    make_search(trials=8).run()
    assert max(pool.trained) < LIMIT


@pytest.mark.parametrize(("excess", "is_trained"), [(-1, True), (0, False), (1, False)])
def test_gate_is_strict_around_the_limit(make_search, pool, excess, is_trained):
    num_params = 9 * 5 + 4 * 5 + 4  # width 5, one channel in, four classes
    search = make_search(fixed_space(5), max_params=num_params - excess, trials=1, max_rejected=2)
    search.run()
    assert pool.trained == ([num_params] if is_trained else [])


def test_worker_is_never_given_a_rejected_candidate(make_search, pool):
    search = make_search(fixed_space(30), max_rejected=4)
    ended = search.run()
    assert pool.jobs == []
    assert ended.counts == {"over budget": 4}
    assert "4 proposals in a row were turned away" in ended.why
    assert f"4 did not fit fewer than {LIMIT:,} parameters; give a larger budget" in ended.why
    assert "max_rejected" in ended.why


def test_rejected_proposal_is_pruned_with_reason_count_and_constraint(make_search, pool):
    search = make_search(fixed_space(20), max_rejected=1)
    search.run()
    (trial,) = search.ledger.study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == "over budget"
    assert trial.user_attrs["num_params"] == 9 * 20 + 4 * 20 + 4
    assert str(LIMIT) in trial.user_attrs["detail"]
    assert trial.constraints["num_params"] > 0


def test_trained_candidate_carries_a_satisfied_constraint(make_search, pool):
    search = make_search(fixed_space(5), trials=1)
    search.run()
    (trial,) = search.ledger.study.trials
    assert trial.constraints["num_params"] <= 0


# A network of width 5: its convolution makes 5 * 64 values of 64.
DEVICE = device_bytes(Architecture((1, 8, 8), [Conv(5), GlobalAvgPool(), Flatten(), Linear(4)]))
COSTS = {
    "max_macs": ("num_macs", 9 * 5 * 64 + 5 * 4),
    "max_weight_bytes": ("weight_bytes", 4 * (9 * 5 + 4 * 5 + 4)),
    "max_activation_bytes": ("activation_bytes", 4 * 6 * 64),
    "max_flash": ("flash_bytes", DEVICE.flash),
    "max_ram": ("ram_bytes", DEVICE.ram),
}


@pytest.mark.parametrize("limit", COSTS)
def test_every_limit_is_a_gate_and_a_constraint(make_search, pool, limit):
    name, cost = COSTS[limit]
    search = make_search(fixed_space(5), limits=Limits(**{limit: cost}), trials=1)
    search.run()
    (trial,) = search.ledger.study.trials
    assert trial.state == TrialState.COMPLETE
    assert trial.constraints.keys() == {"num_params", name}
    assert trial.constraints["num_params"] < 0 == trial.constraints[name]


@pytest.mark.parametrize("limit", COSTS)
def test_proposal_over_a_limit_beside_parameters_is_turned_away(make_search, pool, limit):
    name, cost = COSTS[limit]
    search = make_search(fixed_space(5), limits=Limits(**{limit: cost - 1}), max_rejected=1)
    ended = search.run()
    assert pool.jobs == []
    assert ended.counts == {"over budget": 1}
    (trial,) = search.ledger.study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.constraints["num_params"] < 0 < trial.constraints[name]
    assert f"at most {cost - 1:,} are allowed" in trial.user_attrs["detail"]
    assert trial.user_attrs["num_params"] == 69


def test_duplicate_carries_its_constraints_as_well(make_search, pool):
    limits = Limits(max_macs=10**6)
    search = make_search(one_network_space(), limits=limits, trials=2, max_rejected=1)
    search.run()
    first, again = search.ledger.study.trials
    assert again.constraints == first.constraints
    assert again.constraints.keys() == {"num_params", "num_macs"}


def test_proposal_that_cannot_exist_is_pruned_as_invalid(make_search, pool):
    def too_large_a_kernel(trial, task):
        layers = [Conv(4, 9, "valid"), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    search = make_search(make_space(too_large_a_kernel), max_rejected=2)
    ended = search.run()
    assert ended.counts == {"invalid": 2}
    assert re.search(
        "2 cannot be built, the last because: .*does not fit.*; change the sp", ended.why
    )
    assert search.ledger.study.trials[0].state == TrialState.PRUNED
    assert "does not fit" in search.ledger.study.trials[0].user_attrs["detail"]


def test_space_that_raises_ends_the_search_and_closes_its_trial(make_search, pool):
    def broken(trial, task):
        raise KeyError("nothing")

    search = make_search(make_space(broken))
    with pytest.raises(SpaceError, match=r"test_search\.py|fakes\.py"):
        search.run()
    assert [t.state for t in search.ledger.study.trials] == [TrialState.FAIL]


def test_same_candidate_is_not_trained_twice_not_even_in_a_later_run(make_search, pool):
    for _ in range(2):
        search = make_search(one_network_space(), max_rejected=3)
        search.run()
    assert len(pool.jobs) == 1
    assert search.ledger.progress.counts == {"trained": 1, "duplicate": 6}
    assert search.ledger.study.trials[-1].user_attrs["detail"] == "trial 0 is the same"


def test_duplicate_of_a_trained_candidate_is_told_with_its_score(make_search, pool):
    for run in range(2):  # the second run has the score from the study
        search = make_search(one_network_space(), max_rejected=2)
        search.run()
        first, *others = read_trials(search.ledger.study)
        assert len(others) == 2 * (run + 1)
        for record in others:
            assert record.state == TrialState.COMPLETE
            assert record.valid_accuracy == first.valid_accuracy > 0
            assert (record.reason, record.num_params) == ("duplicate", first.num_params)
            assert (record.fingerprint, record.seed, record.history) == (None, None, ())


def test_duplicate_of_a_duplicate_names_the_trial_that_was_trained(make_search, pool):
    for _ in range(2):
        search = make_search(one_network_space(), max_rejected=2)
        search.run()
    details = [r.detail for r in read_trials(search.ledger.study)[1:]]
    assert details == 4 * ["trial 0 is the same"]


def test_search_that_had_ended_with_rejections_tries_again_when_it_is_repeated(make_search, pool):
    """Perhaps with another sampler, or something to begin with."""
    for run in (1, 2):
        search = make_search(one_network_space(), max_rejected=4)
        assert "4 proposals in a row were turned away" in search.run().why
        assert search.ledger.progress.counts == {"trained": 1, "duplicate": 4 * run}


def test_search_ends_with_what_most_rejections_have_in_common(make_search):
    ended = make_search(one_network_space(), max_rejected=3).run()
    assert "3 had been trained before; make the space larger" in ended.why
    assert "larger budget" not in ended.why


def test_rejections_in_a_row_are_counted_on_where_a_search_was_broken_off(make_search, pool):
    """What is broken off before it was a candidate makes no difference."""
    make_search(one_network_space(), max_rejected=2).run()
    search = make_search(one_network_space(), max_rejected=5)
    lost = search.ledger.lease.ask()
    search.ledger.study._storage.set_trial_user_attr(lost._trial_id, "owner", "nobody")
    search = make_search(one_network_space(), max_rejected=5)
    search.run()
    assert search.ledger.progress.counts == {"trained": 1, "duplicate": 5, "lost": 1}


def test_rejections_before_a_candidate_that_fitted_do_not_count(make_search, pool):
    search = make_search(make_space(), trials=9, max_rejected=50)
    search.run()
    rejected = [r.reason is not None for r in read_trials(search.ledger.study)]
    assert any(rejected)
    assert not rejected[-1]
    assert make_search(make_space()).num_rejected == 0


def test_network_that_another_process_has_begun_meanwhile_is_not_trained_as_well(make_search, pool):
    search = make_search(one_network_space(), max_rejected=3)
    propose = search.space.propose
    other = make_search(one_network_space())

    def slow(trial, task):
        if not pool.jobs:
            begun = other.ledger.ask()
            other.runner.start(begun, other._admitted(begun))
        return propose(trial, task)

    search.space = SimpleNamespace(propose=slow)
    assert search._admitted(search.ledger.ask()) is None
    assert len(pool.jobs) == 1


def test_of_two_processes_that_take_up_the_same_trial_the_second_is_a_duplicate(make_search):
    search = make_search(one_network_space())
    trial = search.ledger.ask()
    trial.set_user_attr("fingerprint", search._admitted(trial).fingerprint)
    record_reason(trial, Reason.STOPPED_BY_PRUNER, "")
    search.ledger.study.tell(trial, state=TrialState.PRUNED)
    owners = search.ledger.lease, make_search(one_network_space()).ledger.lease
    first, second = (owner.promote(search.ledger.study.trials[0]) for owner in owners)
    assert search._admitted(first)
    assert search._admitted(second) is None
    assert search.ledger.study.trials[second.number].user_attrs["detail"] == "trial 1 is the same"
    assert promoted(search.ledger.study.trials) == {0}  # by the first, which runs


def test_duplicate_is_neither_best_nor_trained_and_has_no_weights(make_search, pool):
    search = make_search(one_network_space(), trials=3, max_rejected=2)
    ended = search.run()
    read_trials(search.ledger.study)
    numbers = [r.number for r in best_trials(search.ledger.study)]
    assert numbers == [0] == [search.ledger.best().number]
    assert (ended.best_trial, find_trial(search.ledger.study, None).number) == (0, 0)
    assert count_trained(search.ledger.progress.counts) == 1
    assert "2 proposals in a row were turned away" in ended.why
    assert search.ledger.results.weights.load(0)
    with pytest.raises(StudyError, match="only those of the best"):
        search.ledger.results.weights.load(1)


def test_duplicate_is_told_to_who_listens_with_its_score_and_as_no_best(make_search, pool):
    search = make_search(one_network_space(), max_rejected=1)
    search.run()
    first, again = (event for event in search.events if isinstance(event, TrialEnded))
    assert (first.trial, first.reason, first.is_best) == (0, None, True)
    assert (again.trial, again.reason, again.is_best) == (1, Reason.DUPLICATE, False)
    assert again.valid_accuracy == first.valid_accuracy
    assert (again.num_params, again.train_seconds) == (first.num_params, None)


def test_duplicate_of_a_candidate_in_work_is_pruned(make_search):
    search = make_search(one_network_space(), pool=FakePool(2), trials=3, max_rejected=2)
    search.run()
    first, again, *_ = read_trials(search.ledger.study)
    assert first.outcome == TRAINED
    assert (again.state, again.reason) == (TrialState.PRUNED, Reason.DUPLICATE)
    assert again.valid_accuracy is None


def one_network_among_others_space(number, repeat):
    """Trial `repeat` proposes what trial `number` did; each of the others something of its own."""

    def propose(trial, task):
        rate = 0.01 + (number if trial.number == repeat else trial.number) / 1000
        layers = [Conv(5), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
        recipe = Recipe(epochs=task.epochs, learning_rate=rate)
        return Candidate(Architecture(task.input_shape, layers), recipe)

    return make_space(propose)


def test_duplicate_of_a_candidate_that_the_pruner_stopped_is_pruned(make_search, pool):
    pool.score = lambda _: 0.9 if len(pool.jobs) <= 5 else 0.1
    space = one_network_among_others_space(5, repeat=6)
    for trials in (6, 7):  # seen in the study, and in the same run
        search = make_search(space, trials=trials, max_rejected=1, pruner="median", epochs=9)
        search.run()
    stopped, again, *_ = read_trials(search.ledger.study)[5:]
    assert stopped.outcome == Reason.STOPPED_BY_PRUNER
    assert (again.state, again.outcome) == (TrialState.PRUNED, Reason.DUPLICATE)


def test_duplicate_of_a_candidate_that_diverged_is_pruned(make_search, pool):
    def score(num_params):
        raise DivergedError(1)

    pool.score = score
    search = make_search(one_network_space(), max_rejected=1)
    assert search.run().counts == {"diverged": 1, "duplicate": 1}
    assert search.ledger.study.trials[1].state == TrialState.PRUNED


def test_score_of_a_duplicate_is_that_of_the_same_network_among_many(make_search, pool):
    pool.score = lambda _: 0.1 * len(pool.jobs)
    search = make_search(one_network_among_others_space(1, repeat=4), trials=5)
    search.run()
    values = [t.value for t in search.ledger.study.trials]
    assert values[4] == values[1]
    assert len(set(values)) == len(values) - 1 == 5
