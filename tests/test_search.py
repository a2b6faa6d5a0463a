"""The story of a search, with workers that cost nothing."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas import search as search_module
from nas.architecture import Architecture
from nas.budget import NO_LIMITS, Limits
from nas.candidate import Candidate, Recipe
from nas.errors import DivergedError, SearchError, SpaceError, StudyError
from nas.events import EpochEnded, Note, SearchEnded, SearchStarted, TrialEnded, TrialStarted
from nas.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.metrics import EpochMetrics
from nas.samplers import derive_seed
from nas.search import Search, SearchSettings
from nas.stopping import StopRequest
from nas.tally import count_trained
from nas.task import Task
from nas.trials import TRAINED, Reason, best_trials, find_trial, read_trials
from nas.weights import WeightsStore
from nas.worker import EpochDone
from nas.workers import Restarted
from tests.fakes import FakePool, make_space, suggest

LIMIT = 150  # of parameters: widths 1 to 10 fit, 11 to 30 do not


@pytest.fixture
def pool():
    return FakePool()


@pytest.fixture
def make_search(tiny_data, tmp_path, pool):
    """Makes a search in one study, with the settings given."""
    study = optuna.create_study(direction="maximize")

    def make(
        space=None, stop=None, max_params=LIMIT, epochs=3, study=study, pool=pool,
        limits=NO_LIMITS, **settings,
    ):  # fmt: skip
        classes = len(tiny_data.classes)
        task = Task(tiny_data.input_shape, classes, max_params, epochs, limits=limits)
        events = []
        search = Search(
            study,
            space or make_space(),
            task,
            tiny_data,
            SearchSettings(**{"trials": 5, "sampler": "random", "pruner": "none"} | settings),
            pool,
            WeightsStore(study, tmp_path / "artifacts"),
            events.append,
            stop or StopRequest(),
        )
        search.events = events
        return search

    return make


def fixed_space(width):
    """A space that proposes one width for ever, with another learning rate each time."""

    def propose(trial, task):
        learning_rate = trial.suggest_float("learning_rate", 0.01, 0.1)
        layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
        recipe = Recipe(epochs=task.epochs, learning_rate=learning_rate)
        return Candidate(Architecture(task.input_shape, layers), recipe)

    return make_space(propose)


def one_network_space():
    """A space that proposes one network and recipe for ever."""

    def propose(trial, task):
        trial.suggest_float("no_effect", 0, 1)
        layers = [Conv(4), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))

    return make_space(propose)


def test_trials_counts_trained_candidates_and_not_proposals_over_budget(make_search, pool):
    search = make_search(trials=5)
    search.run()
    records = read_trials(search.study)
    assert sum(r.is_complete for r in records) == 5 == len(pool.trained)
    assert any(r.reason == Reason.OVER_BUDGET for r in records)


def test_no_candidate_of_the_limit_or_more_is_trained(make_search, pool):
    make_search(trials=30).run()
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
    assert f"{LIMIT:,}" in ended.why


def test_rejected_proposal_is_pruned_with_reason_count_and_constraint(make_search, pool):
    search = make_search(fixed_space(20), max_rejected=1)
    search.run()
    (trial,) = search.study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == "over budget"
    assert trial.user_attrs["num_params"] == 9 * 20 + 4 * 20 + 4
    assert str(LIMIT) in trial.user_attrs["detail"]
    assert trial.constraints["num_params"] > 0


def test_trained_candidate_carries_a_satisfied_constraint(make_search, pool):
    search = make_search(fixed_space(5), trials=1)
    search.run()
    (trial,) = search.study.trials
    assert trial.constraints["num_params"] <= 0


# A network of width 5: its convolution makes 5 * 64 values of 64.
COSTS = {
    "max_macs": ("num_macs", 9 * 5 * 64 + 5 * 4),
    "max_weight_bytes": ("weight_bytes", 4 * (9 * 5 + 4 * 5 + 4)),
    "max_activation_bytes": ("activation_bytes", 4 * 6 * 64),
}


@pytest.mark.parametrize("limit", COSTS)
def test_every_limit_is_a_gate_and_a_constraint(make_search, pool, limit):
    name, cost = COSTS[limit]
    search = make_search(fixed_space(5), limits=Limits(**{limit: cost}), trials=1)
    search.run()
    (trial,) = search.study.trials
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
    (trial,) = search.study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.constraints["num_params"] < 0 < trial.constraints[name]
    assert f"at most {cost - 1:,} are allowed" in trial.user_attrs["detail"]
    assert trial.user_attrs["num_params"] == 69


def test_duplicate_carries_its_constraints_as_well(make_search, pool):
    limits = Limits(max_macs=10**6)
    search = make_search(one_network_space(), limits=limits, trials=2, max_rejected=1)
    search.run()
    first, again = search.study.trials
    assert again.constraints == first.constraints
    assert again.constraints.keys() == {"num_params", "num_macs"}


def test_every_limit_is_told_at_the_start_and_when_nothing_fits(make_search, pool):
    search = make_search(fixed_space(30), limits=Limits(max_macs=10**6), max_rejected=2)
    ended = search.run()
    words = f"fewer than {LIMIT:,} parameters, at most 1,000,000 multiply-accumulates"
    assert search.events[0].budget == words
    assert f"did not fit {words}" in ended.why


def test_proposal_that_cannot_exist_is_pruned_as_invalid(make_search, pool):
    def too_large_a_kernel(trial, task):
        layers = [Conv(4, 9, "valid"), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    search = make_search(make_space(too_large_a_kernel), max_rejected=2)
    assert search.run().counts == {"invalid": 2}
    assert search.study.trials[0].state == TrialState.PRUNED
    assert "does not fit" in search.study.trials[0].user_attrs["detail"]


def test_space_that_raises_ends_the_search_and_closes_its_trial(make_search, pool):
    def broken(trial, task):
        raise KeyError("nothing")

    search = make_search(make_space(broken))
    with pytest.raises(SpaceError, match=r"test_search\.py|fakes\.py"):
        search.run()
    assert [t.state for t in search.study.trials] == [TrialState.FAIL]


def test_trained_trial_records_what_it_takes_to_train_it_again(make_search, pool):
    search = make_search(trials=1)
    search.run()
    (record,) = [r for r in read_trials(search.study) if r.is_complete]
    assert record.candidate.architecture.num_params == record.num_params == pool.trained[0]
    assert record.candidate.fingerprint == record.fingerprint
    assert record.seed == pool.jobs[0].seed == derive_seed(0, record.number, "training")
    assert record.epochs == 3 == len(record.history)
    assert record.device == "cpu, fp32"
    assert set(record.versions) == {"nas", "torch", "optuna", "python"}
    trial = search.study.trials[record.number]
    assert trial.intermediate_values == {m.epoch: m.valid_accuracy for m in record.history}
    assert trial.value == record.history[-1].valid_accuracy
    for name in ("num_params", "num_macs", "architecture", "recipe", "fingerprint", "epochs",
                 "seed", "train_seconds", "device", "versions"):  # fmt: skip
        assert name in trial.user_attrs


def test_pruner_stops_a_weak_candidate_and_it_counts_as_trained(make_search, pool):
    pool.score = lambda _: 0.9 if len(pool.jobs) <= 5 else 0.1
    search = make_search(fixed_space(5), trials=6, pruner="median", epochs=9)
    ended = search.run()
    assert ended.counts == {"trained": 5, "stopped by pruner": 1}
    last = read_trials(search.study)[-1]
    assert last.state == TrialState.PRUNED
    assert 9 // 3 < last.epochs < 9
    assert last.detail == f"after {last.epochs} of 9 epochs"


def test_diverged_candidate_fails_with_its_reason_and_the_search_goes_on(make_search, pool):
    def score(num_params):
        if len(pool.jobs) == 1:
            raise DivergedError(2)
        return 0.5

    pool.score = score
    search = make_search(fixed_space(5), trials=3)
    assert search.run().counts == {"diverged": 1, "trained": 2}
    first = search.study.trials[0]
    assert first.state == TrialState.FAIL
    assert first.user_attrs["detail"] == "loss or weights not finite in epoch 2"


def test_three_errors_in_a_row_end_the_search_with_the_cause(make_search, pool):
    def score(num_params):
        raise RuntimeError("the device\nis gone")

    pool.score = score
    search = make_search(fixed_space(5))
    with pytest.raises(SearchError, match=r"3 candidates in a row failed: .*the device is gone"):
        search.run()
    assert [t.state for t in search.study.trials] == [TrialState.FAIL] * 3


def test_errors_that_are_not_in_a_row_do_not_end_the_search(make_search, pool):
    def score(num_params):
        if len(pool.jobs) % 3:
            raise RuntimeError("now and then")
        return 0.5

    pool.score = score
    ended = make_search(fixed_space(5), trials=3).run()
    assert ended.counts == {"error": 6, "trained": 3}


@pytest.mark.parametrize("num_workers", [2, 3])
def test_workers_train_at_once_and_the_total_is_exact(make_search, num_workers):
    pool = FakePool(num_workers)
    search = make_search(pool=pool, trials=7)
    ended = search.run()
    assert ended.counts["trained"] == 7 == len(pool.jobs)
    assert pool.most_at_once == num_workers
    assert not any(t.state == TrialState.RUNNING for t in search.study.trials)


class RestartingPool(FakePool):
    """Trains the first epoch of each candidate, and then all of it again."""

    def _train(self, job):
        yield EpochDone(job.number, EpochMetrics(1, 9.0, 9.0, 0.0, 0.01))
        yield Restarted(job.number, "out of memory")
        yield from super()._train(job)


def test_restarted_training_is_recorded_once_and_from_its_beginning(make_search):
    search = make_search(pool=RestartingPool(), trials=2)
    search.run()
    records = [r for r in read_trials(search.study) if r.is_complete]
    assert len(records) == 2
    for record in records:
        assert [m.epoch for m in record.history] == [1, 2, 3]
        assert record.history[0].train_loss == 1.0


def test_error_with_several_workers_closes_every_trial(make_search):
    def score(num_params):
        raise RuntimeError("broken")

    search = make_search(fixed_space(5), pool=FakePool(2, score))
    with pytest.raises(SearchError):
        search.run()
    assert not any(t.state == TrialState.RUNNING for t in search.study.trials)


def test_second_interrupt_closes_what_is_in_work(make_search, pool):
    def score(num_params):
        raise KeyboardInterrupt

    pool.score = score
    search = make_search(fixed_space(5))
    with pytest.raises(KeyboardInterrupt):
        search.run()
    (record,) = read_trials(search.study)
    assert (record.state, record.reason) == (TrialState.FAIL, Reason.INTERRUPTED)


def test_same_candidate_is_not_trained_twice_not_even_in_a_later_run(make_search, pool):
    for _ in range(2):
        search = make_search(one_network_space(), max_rejected=3)
        search.run()
    assert len(pool.jobs) == 1
    assert search.counts == {"trained": 1, "duplicate": 6}
    assert search.study.trials[-1].user_attrs["detail"] == "trial 0 is the same"


def test_duplicate_of_a_trained_candidate_is_told_with_its_score(make_search, pool):
    for run in range(2):  # the second run has the score from the study
        search = make_search(one_network_space(), max_rejected=2)
        search.run()
        first, *others = read_trials(search.study)
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
    details = {r.detail for r in read_trials(search.study)[1:]}
    assert details == {"trial 0 is the same"}


def test_duplicate_is_neither_best_nor_trained_and_has_no_weights(make_search, pool):
    search = make_search(one_network_space(), trials=3, max_rejected=2)
    ended = search.run()
    read_trials(search.study)
    assert [r.number for r in best_trials(search.study)] == [0] == [search.best().number]
    assert (ended.best_trial, find_trial(search.study, None).number) == (0, 0)
    assert count_trained(search.counts) == 1
    assert "2 proposals in a row were turned away" in ended.why
    assert search.weights.load(0)
    with pytest.raises(StudyError, match="only those of the best"):
        search.weights.load(1)


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
    first, again, *_ = read_trials(search.study)
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
    stopped, again, *_ = read_trials(search.study)[5:]
    assert stopped.outcome == Reason.STOPPED_BY_PRUNER
    assert (again.state, again.outcome) == (TrialState.PRUNED, Reason.DUPLICATE)


def test_duplicate_of_a_candidate_that_diverged_is_pruned(make_search, pool):
    def score(num_params):
        raise DivergedError(1)

    pool.score = score
    search = make_search(one_network_space(), max_rejected=1)
    assert search.run().counts == {"diverged": 1, "duplicate": 1}
    assert search.study.trials[1].state == TrialState.PRUNED


def test_score_of_a_duplicate_is_that_of_the_same_network_among_many(make_search, pool):
    pool.score = lambda _: 0.1 * len(pool.jobs)
    search = make_search(one_network_among_others_space(1, repeat=4), trials=5)
    search.run()
    values = [t.value for t in search.study.trials]
    assert values[4] == values[1]
    assert len(set(values)) == len(values) - 1 == 5


def test_candidate_lost_to_an_error_does_not_use_up_a_trial(make_search, pool):
    def score(num_params):
        if len(pool.jobs) == 1:
            raise RuntimeError("once")
        return 0.5

    pool.score = score
    assert make_search(trials=1).run().counts["trained"] == 1


def test_broken_off_training_keeps_the_epochs_it_reported(make_search, pool):
    def score(num_params):
        pool.calls = getattr(pool, "calls", 0) + 1
        if pool.calls == 3:
            raise DivergedError(3)
        return 0.5

    pool.score = score
    search = make_search(trials=1, epochs=5)
    search.run()
    record = next(r for r in read_trials(search.study) if r.reason == Reason.DIVERGED)
    assert (record.epochs, len(record.history)) == (2, 2)
    assert record.train_seconds == pytest.approx(0.02)


def test_trial_is_closed_even_when_nobody_listens_any_more(make_search, monkeypatch):
    search = make_search(pool=FakePool(2))

    def observer(event):
        raise BrokenPipeError

    search.observer = lambda event: observer(event) if isinstance(event, EpochEnded) else None
    with pytest.raises(BrokenPipeError):
        search.run()
    assert not any(t.state == TrialState.RUNNING for t in search.study.trials)


def test_search_continues_the_count_of_its_study(make_search, pool):
    make_search(trials=3).run()
    assert len(pool.trained) == 3
    second = make_search(trials=5)
    second.run()
    assert len(pool.trained) == 5
    ended = make_search(trials=5).run()
    assert len(pool.trained) == 5
    assert "5 trained candidates" in ended.why


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_interrupted_and_resumed_search_equals_the_uninterrupted_one(make_search, pool, sampler):
    straight = make_search(
        trials=14, sampler=sampler, study=optuna.create_study(direction="maximize")
    )
    straight.run()
    resumed = optuna.create_study(direction="maximize")
    for trials in (3, 9, 14):
        make_search(trials=trials, sampler=sampler, study=resumed).run()
    assert [t.params for t in resumed.trials] == [t.params for t in straight.study.trials]
    assert [t.value for t in resumed.trials] == [t.value for t in straight.study.trials]
    seeds = [t.user_attrs.get("seed") for t in resumed.trials]
    assert seeds == [t.user_attrs.get("seed") for t in straight.study.trials]


def test_other_versions_in_a_study_are_told_once(make_search, pool, monkeypatch):
    make_search(trials=2).run()
    search = make_search(trials=3)
    search.run()
    assert not any("made with" in event.text for event in search.events if isinstance(event, Note))
    monkeypatch.setattr(search_module, "versions", lambda: {"nas": "0", "torch": "9.9"})
    search = make_search(trials=4)
    search.run()
    (text,) = [e.text for e in search.events if isinstance(e, Note) and "made with" in e.text]
    assert f"torch {torch.__version__}" in text
    assert "torch 9.9" not in text


def test_search_begins_where_the_space_says_and_only_once(make_search, pool):
    space = replace(make_space(), start=lambda task: {"width": 7})
    search = make_search(space, trials=4)
    search.run()
    make_search(space, trials=8).run()
    widths = [t.params["width"] for t in search.study.trials]
    assert widths[0] == 7
    assert widths[1:].count(7) < len(widths[1:])
    assert sum(bool(t.system_attrs.get("fixed_params")) for t in search.study.trials) == 1


def starting_space(*widths):
    return replace(make_space(), start=lambda task: [{"width": width} for width in widths])


def widths(search):
    """Those of the proposals that were made so far."""
    return [t.params["width"] for t in search.study.trials if t.params]


def test_search_begins_with_every_start_of_the_space_in_its_order(make_search, pool):
    search = make_search(starting_space(3, 7, 5), trials=3)
    search.run()
    assert widths(search) == [3, 7, 5]


def test_what_a_start_leaves_out_is_sampled_for_each(make_search, pool):
    def propose(trial, task):
        trial.suggest_float("rate", 0, 1)
        return suggest(trial, task)

    space = replace(make_space(propose), start=starting_space(3, 7, 5).start)
    search = make_search(space, trials=3)
    search.run()
    assert widths(search) == [3, 7, 5]
    assert len({t.params["rate"] for t in search.study.trials}) == 3


def test_what_a_search_is_told_to_begin_with_comes_before_the_start_of_its_space(make_search):
    search = make_search(starting_space(3, 7), trials=4)
    search.begin_with([{"width": 9}, {"width": 2}])
    search.run()
    assert widths(search) == [9, 2, 3, 7]


def test_search_that_goes_on_proposes_what_is_left_of_its_beginning_and_nothing_twice(make_search):
    for trials in (1, 3, 6):
        search = make_search(starting_space(3, 9, 7), trials=trials)
        search.begin_with([{"width": 9}, {"width": 2}])
        search.run()
    assert widths(search)[:4] == [9, 2, 3, 7]
    assert sum("fixed_params" in t.system_attrs for t in search.study.trials) == 4


def test_search_that_goes_on_can_be_told_to_begin_with_something_new(make_search):
    make_search(trials=2).run()
    search = make_search(trials=3)
    before = widths(search)
    new = next(width for width in range(1, 11) if width not in before)
    search.begin_with([{"width": new}])
    search.run()
    assert widths(search) == [*before, new]


def test_beginning_that_does_not_fit_is_turned_away_at_the_gate(make_search, pool):
    search = make_search(starting_space(30, 5), trials=2)
    search.begin_with([{"width": 20}, {"width": 4}])
    search.run()
    reasons = [(r.params["width"], r.reason) for r in read_trials(search.study)]
    assert reasons == [(20, Reason.OVER_BUDGET), (4, None), (30, Reason.OVER_BUDGET), (5, None)]
    assert len(pool.jobs) == 2


def test_same_beginning_in_other_words_is_trained_once(make_search, pool):
    search = make_search(starting_space(5), trials=2)
    search.begin_with([{"width": 5, "unheard": 1}])
    search.run()
    records = read_trials(search.study)
    assert [r.params["width"] for r in records].count(5) == 1


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_beginning_makes_no_difference_to_a_search_that_is_resumed(make_search, sampler):
    space = starting_space(3, 30, 7, 5)
    straight = make_search(
        space, trials=14, sampler=sampler, study=optuna.create_study(direction="maximize")
    )
    straight.run()
    resumed = optuna.create_study(direction="maximize")
    for trials in (1, 2, 9, 14):
        make_search(space, trials=trials, sampler=sampler, study=resumed).run()
    assert [t.params for t in resumed.trials] == [t.params for t in straight.study.trials]


def test_time_limit_closes_the_running_trial_and_ends_the_search(make_search, pool):
    stop = StopRequest(3600)
    pool.score = lambda _: setattr(stop, "_deadline", 0.0) or 0.5  # passes in the first epoch
    search = make_search(stop=stop)
    ended = search.run()
    assert ended.why == "the time limit of 3,600 s is reached"
    last = read_trials(search.study)[-1]
    assert (last.state, last.reason) == (TrialState.FAIL, Reason.TIME_LIMIT)
    assert last.epochs == 1


def test_signal_closes_the_running_trial_and_ends_the_search(make_search, pool):
    with StopRequest() as stop:
        pool.score = lambda _: os.kill(os.getpid(), signal.SIGINT) or 0.5
        search = make_search(stop=stop)
        ended = search.run()
    assert ended.why == "interrupted"
    assert stop.exit_code == 130
    assert read_trials(search.study)[-1].reason == Reason.INTERRUPTED
    assert not any(t.state == TrialState.RUNNING for t in search.study.trials)


def test_interrupted_candidate_does_not_use_up_a_trial(make_search, pool):
    with StopRequest() as stop:
        pool.score = lambda _: os.kill(os.getpid(), signal.SIGINT) or 0.5
        make_search(stop=stop, trials=2).run()
    ended = make_search(trials=2, pool=FakePool()).run()
    assert ended.counts["trained"] == 2


def test_events_tell_the_whole_story_in_order(make_search, pool):
    search = make_search(fixed_space(5), trials=1, epochs=2)
    search.run()
    kinds = [type(event) for event in search.events]
    assert kinds == [SearchStarted, TrialStarted, EpochEnded, EpochEnded, TrialEnded, SearchEnded]
    assert search.events[-2].is_best
    assert search.events[-1].best_trial == 0


def test_best_is_the_highest_score_and_among_equals_the_smallest_network(make_search, pool):
    pool.score = lambda _: 0.5
    search = make_search(trials=6)
    search.run()
    best = best_trials(search.study)[0]
    assert best.num_params == min(pool.trained)


def test_toy_space_is_what_the_tests_take_it_for(tiny_data):
    task = Task(tiny_data.input_shape, len(tiny_data.classes), LIMIT)
    candidate = suggest(optuna.trial.FixedTrial({"width": 10}), task)
    assert candidate.architecture.num_params == 9 * 10 + 4 * 10 + 4
