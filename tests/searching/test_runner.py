"""What becomes of candidates in work, with workers that cost nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from optuna.trial import TrialState

from nas.candidates.recipe import Recipe
from nas.errors import DivergedError, SearchError, StudyError
from nas.metrics import EpochMetrics, Speed
from nas.searching.events import EpochEnded, Note, SpeedMeasured, TrialStarted
from nas.searching.samplers import derive_seed
from nas.storage.reasons import Reason
from nas.storage.trials import read_trials, stored
from nas.training import TrainResult
from nas.training.messages import EpochDone, Restarted, StepsDone, Trained
from nas.training.optimizers import learning_rates
from tests.fakes import FakePool, fixed_space


def test_trained_trial_records_what_it_takes_to_train_it_again(make_search, pool):
    search = make_search(trials=1)
    search.run()
    (record,) = [r for r in read_trials(search.ledger.study) if r.is_complete]
    assert record.candidate.architecture.num_params == record.num_params == pool.trained[0]
    assert record.candidate.fingerprint == record.fingerprint
    assert record.seed == pool.jobs[0].seed == derive_seed(0, record.number, "training")
    assert record.epochs == 3 == len(record.history)
    assert record.device == "cpu, eager engine, fp32"
    assert set(record.versions) == {"nas", "torch", "optuna", "python"}
    trial = search.ledger.study.trials[record.number]
    assert trial.intermediate_values == {m.epoch: m.valid_accuracy for m in record.history}
    assert trial.value == record.history[-1].valid_accuracy
    scalars = {"owner", "index", "num_params", "num_macs", "fingerprint", "epochs", "train_seconds"}
    assert trial.user_attrs.keys() == scalars  # all that the dashboard prints
    assert stored(trial, "pruner") == "none"


def test_pruner_stops_a_weak_candidate_and_it_counts_as_trained(make_search, pool):
    pool.score = lambda _: 0.9 if len(pool.jobs) <= 5 else 0.1
    search = make_search(fixed_space(5), trials=6, pruner="median", epochs=9)
    ended = search.run()
    assert ended.counts == {"trained": 5, "stopped by pruner": 1}
    last = read_trials(search.ledger.study)[-1]
    assert last.state == TrialState.PRUNED
    assert 9 // 3 < last.epochs < 9
    assert last.detail == f"after {last.epochs} of 9 epochs"


def test_diverged_candidate_is_pruned_with_its_reason_and_the_search_goes_on(make_search, pool):
    def score(num_params):
        if len(pool.jobs) == 1:
            raise DivergedError(2)
        return 0.5

    pool.score = score
    search = make_search(fixed_space(5), trials=3)
    assert search.run().counts == {"diverged": 1, "trained": 2}
    first = search.ledger.study.trials[0]
    assert first.state == TrialState.PRUNED  # so that samplers learn from it
    assert first.user_attrs["detail"] == "loss or weights not finite in epoch 2"


def test_three_errors_in_a_row_end_the_search_with_the_cause(make_search, pool):
    def score(num_params):
        raise RuntimeError("the device\nis gone")

    pool.score = score
    search = make_search(fixed_space(5))
    with pytest.raises(SearchError, match=r"3 candidates in a row failed: .*the device is gone"):
        search.run()
    assert [t.state for t in search.ledger.study.trials] == [TrialState.FAIL] * 3


def test_errors_that_are_not_in_a_row_do_not_end_the_search(make_search, pool):
    def score(num_params):
        if len(pool.jobs) % 3:
            raise RuntimeError("now and then")
        return 0.5

    pool.score = score
    ended = make_search(fixed_space(5), trials=3).run()
    assert ended.counts == {"error": 6, "trained": 3}


class RestartingPool(FakePool):
    """Trains the first epoch of each candidate, and then all of it again."""

    def _train(self, job):
        yield EpochDone(job.number, EpochMetrics(1, 9.0, 9.0, 0.0, 0.01))
        yield Restarted(job.number, "out of memory")
        yield from super()._train(job)


def test_restarted_training_is_recorded_once_and_from_its_beginning(make_search):
    search = make_search(pool=RestartingPool(), trials=2)
    search.run()
    records = [r for r in read_trials(search.ledger.study) if r.is_complete]
    assert len(records) == 2
    for record in records:
        assert [m.epoch for m in record.history] == [1, 2, 3]
        assert record.history[0].train_loss == 1.0


class GivingWayPool(FakePool):
    """Trains an epoch of each candidate in graphs, then, without a word, all of it eagerly."""

    engine = "graph"

    def _train(self, job):
        if self.engine == "graph":
            for epoch in (1, 2):
                yield EpochDone(job.number, EpochMetrics(epoch, 9.0, 9.0, 0.0, 0.01))
            self.engine = "eager"
            yield StepsDone(job.number, 0.5)
        yield EpochDone(job.number, EpochMetrics(1, 1.0, 1.0, 0.5, 0.01))
        if len(self.jobs) == 2:
            raise KeyboardInterrupt
        yield Trained(job.number, self.result)

    result = TrainResult((EpochMetrics(1, 1.0, 1.0, 0.5, 0.01),), {"w": torch.zeros(2)}, 0.1, True)


def test_training_that_begins_again_in_another_engine_keeps_no_epochs_of_the_first(make_search):
    class BreakingPool(GivingWayPool):
        def _train(self, job):
            self.jobs.append(job)
            yield from super()._train(job)

    search = make_search(pool=BreakingPool(), trials=1)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    record = read_trials(search.ledger.study)[-1]
    assert [m.train_loss for m in record.history] == [1.0]


def test_engine_that_took_over_stands_in_the_records_of_what_begins_after_that(make_search):
    search = make_search(fixed_space(5), pool=GivingWayPool(), trials=2)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    devices = [record.device for record in read_trials(search.ledger.study)]
    assert devices == ["cpu, graph engine, fp32", "cpu, eager engine, fp32"]


def test_error_with_several_workers_closes_every_trial(make_search):
    def score(num_params):
        raise RuntimeError("broken")

    search = make_search(fixed_space(5), pool=FakePool(2, score))
    with pytest.raises(SearchError):
        search.run()
    assert not any(t.state == TrialState.RUNNING for t in search.ledger.study.trials)


def test_second_interrupt_closes_what_is_in_work(make_search, pool):
    def score(num_params):
        raise KeyboardInterrupt

    pool.score = score
    search = make_search(fixed_space(5))
    with pytest.raises(KeyboardInterrupt):
        search.run()
    (record,) = read_trials(search.ledger.study)
    assert (record.state, record.reason) == (TrialState.FAIL, Reason.INTERRUPTED)


def test_search_that_breaks_off_twice_keeps_what_each_training_came_to(make_search):
    num_calls = 0

    def score(num_params):
        nonlocal num_calls
        num_calls += 1
        if num_calls in (3, 5):  # in the third epoch, and of the training after it in the second
            raise KeyboardInterrupt
        return 0.5

    for _ in range(2):
        search = make_search(trials=1, epochs=5, pool=FakePool(1, score))
        with pytest.raises(KeyboardInterrupt):
            search.run()
    search = make_search(trials=1, epochs=5, pool=FakePool(1, score))
    search.run()
    records = [record for record in read_trials(search.ledger.study) if record.history]
    assert [record.outcome for record in records] == ["interrupted", "interrupted", "trained"]
    assert [[m.epoch for m in record.history] for record in records] == [
        [1, 2], [1], [1, 2, 3, 4, 5],
    ]  # fmt: skip
    assert [record.train_seconds for record in records] == pytest.approx([0.02, 0.01, 0.1])


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
    record = next(r for r in read_trials(search.ledger.study) if r.reason == Reason.DIVERGED)
    assert (record.epochs, len(record.history)) == (2, 2)
    assert record.train_seconds == pytest.approx(0.02)


def test_trial_is_closed_even_when_nobody_listens_any_more(make_search, monkeypatch):
    search = make_search(pool=FakePool(2))

    def observer(event):
        raise BrokenPipeError

    search.runner.callback = lambda event: (
        observer(event) if isinstance(event, EpochEnded) else None
    )
    with pytest.raises(BrokenPipeError):
        search.run()
    assert not any(t.state == TrialState.RUNNING for t in search.ledger.study.trials)


@pytest.mark.parametrize("when", [1, 3, "told"], ids=["amid", "last epoch", "told"])
def test_trial_that_another_process_has_closed_is_dropped_and_the_search_goes_on(make_search, when):
    """This process stood still so long that another took it for dead."""
    search = make_search(trials=2)
    storage = search.ledger.study._storage
    closed = []

    def close(trial_id):
        if not closed:
            closed.append(trial_id)
            storage.set_trial_state_values(trial_id, TrialState.FAIL)

    class ForeignPool(FakePool):
        def wait(self, timeout_seconds):
            messages = super().wait(timeout_seconds)
            is_now = messages[0].metrics.epoch == when if hasattr(messages[0], "metrics") else True
            if is_now:
                close(search.ledger.study.trials[messages[0].number]._trial_id)
            return messages

    search.runner.pool = search.pool = pool = ForeignPool()
    ended = search.run()
    assert ended.counts == {"lost": 1, "trained": 2}
    assert not any(t.state == TrialState.RUNNING for t in search.ledger.study.trials)
    first = read_trials(search.ledger.study)[0]
    assert (first.state, first.valid_accuracy) == (TrialState.FAIL, None)
    notes = [event.text for event in search.events if isinstance(event, Note)]
    assert notes.count("trial 0 was given to another process: dropped here") == 1
    assert len(pool.jobs) == 3
    assert search.runner.running == {}
    with pytest.raises(StudyError, match="are not in"):
        search.ledger.results.weights.load(0)


def test_events_say_what_was_proposed_and_the_rate_that_each_epoch_ended_with(make_search, pool):
    search = make_search(trials=6, epochs=19)
    search.run()
    started = {e.trial: e for e in search.events if isinstance(e, TrialStarted)}
    trials = search.ledger.study.trials
    assert all(e.params == trials[e.trial].params for e in started.values())
    ended = [e for e in search.events if isinstance(e, EpochEnded)]
    assert len(ended) >= 6 * 19 / 2
    for event in ended:
        recipe = replace(Recipe(), epochs=int(event.epochs))
        num_batches = pool.num_train // recipe.batch_size
        rates = learning_rates(recipe, num_batches * recipe.epochs)
        assert event.learning_rate == rates[event.metrics.epoch * num_batches - 1]


def test_speed_of_the_first_epoch_is_told_once(make_search, pool):
    pool.peak = 1e9
    search = make_search(trials=3, epochs=2)
    search.run()
    (event,) = [e for e in search.events if isinstance(e, SpeedMeasured)]
    first = next(e for e in search.events if isinstance(e, EpochEnded))
    started = next(e for e in search.events if isinstance(e, TrialStarted))
    assert (event.trial, event.device, event.workers) == (0, "cpu, eager engine, fp32", 1)
    batch_size = Recipe().batch_size
    num_stepped = pool.num_train // batch_size * batch_size
    flops = 2 * started.num_macs * (3 * num_stepped + pool.num_valid)
    assert event.speed == Speed(flops / first.metrics.seconds, 1e9)
    assert search.events.index(event) == search.events.index(first) + 1


def test_no_speed_is_told_where_no_peak_is_known(make_search, pool):
    search = make_search(trials=1)
    search.run()
    assert not any(isinstance(e, SpeedMeasured) for e in search.events)


def test_rate_of_a_training_that_is_cut_short_is_that_of_the_engine(make_search, pool):
    search = make_search(trials=1, epochs=9)
    trial = search.ledger.ask()
    candidate = search.space.propose(trial, search.task)
    running = search.ledger.prepare(trial, candidate)
    running.job(1600)
    before = running.learning_rate(4)
    running.shorten(4, 6)
    assert running.schedules == (6,)
    assert running.learning_rate(4) == before
    assert before > running.learning_rate(5) > running.learning_rate(6)
    assert running.learning_rate(6) < 0.01 * before
    running.begin_again()  # the worker has the job that it was given
    assert running.schedules == (9,)
    assert running.learning_rate(4) == before
    assert running.learning_rate(9) < running.learning_rate(6)
