"""Whose a running trial is, and what becomes of it when its process dies."""

from __future__ import annotations

import itertools
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from nas.storage import leases
from nas.storage.database import open_storage
from nas.storage.leases import LEASE_SECONDS, Lease, index_of
from nas.storage.reasons import Reason, reason_of
from nas.storage.trials import record_reason


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


@pytest.fixture(scope="module")
def sleeper():
    """Another process, which lives."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def put_record(lease, **changes):
    """Change what the study knows of a process."""
    key = f"process:{lease.name}"
    lease.study.set_user_attr(key, lease.study.user_attrs[key] | changes)


@pytest.fixture
def die(dead_pid):
    """Makes an owner look like a process of this machine that is no more."""
    return lambda lease: put_record(lease, pid=dead_pid)


def begin(lease):
    """A trial that has come so far that it is being trained."""
    trial = lease.ask()
    trial.set_user_attr("fingerprint", f"network {trial.suggest_int('width', 1, 10**9)}")
    return trial


def close(trial, reason):
    record_reason(trial, reason, "")
    trial.study.tell(trial, state=TrialState.FAIL)


def outcomes(study):
    return [(t.state.name, reason_of(t)) for t in study.trials]


def index(study, number):
    return index_of(study.trials[number], study.trials)


def waiting(study):
    """The values of each trial in the queue."""
    return [t.system_attrs["fixed_params"] for t in study.trials if t.state == TrialState.WAITING]


LOST = ("FAIL", "lost")


# Asking


def test_trial_has_its_owner_and_its_place(study):
    lease = Lease(study)
    trial = lease.ask()
    assert study.trials[trial.number].user_attrs == {"owner": lease.name, "index": 0}
    assert f"process:{lease.name}" in study.user_attrs


def test_new_trial_is_left_alone_until_it_has_had_time_for_a_name(study, monkeypatch):
    Lease(study).keep_alive()
    study.ask()  # by that process, which has not put its name there yet
    lease = Lease(study)
    assert lease.recover() == []
    assert [t.state.name for t in study.trials] == ["RUNNING"]
    monkeypatch.setattr("nas.storage.leases.UNOWNED_SECONDS", 0.0)
    assert lease.recover() == []
    assert outcomes(study) == [LOST]


def test_trial_just_taken_from_the_queue_is_left_alone_until_it_has_had_time_for_a_name(
    study, monkeypatch
):
    study.enqueue_trial({"width": 4})
    Lease(study).keep_alive()
    study.ask()  # by that process, which has not put its name there yet
    lease = Lease(study)
    assert lease.recover() == []
    assert [t.state.name for t in study.trials] == ["RUNNING"]
    monkeypatch.setattr("nas.storage.leases.UNOWNED_SECONDS", 0.0)
    assert lease.recover() == [0]
    assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]


def test_trial_without_a_name_is_lost_at_once_where_no_other_process_lives(study, die):
    dead = Lease(study)
    dead.keep_alive()
    study.ask()  # and there the process was killed
    die(dead)
    assert Lease(study).recover() == []
    assert outcomes(study) == [LOST]


# Leaving


def test_whoever_leaves_closes_the_trials_of_the_dead_and_no_others(study, die):
    dead, lease, other = Lease(study), Lease(study), Lease(study)
    lease.keep_alive()
    begin(dead)
    begin(other)
    die(dead)
    lease.leave()
    assert outcomes(study) == [LOST, ("RUNNING", None)]


def test_last_one_to_leave_closes_the_trial_that_has_no_name_on_it(study, die):
    dead, first, last = Lease(study), Lease(study), Lease(study)
    for lease in (dead, first, last):
        lease.keep_alive()
    study.ask()  # and there the process was killed
    die(dead)
    first.leave()
    assert outcomes(study) == [("RUNNING", None)]
    last.leave()
    assert outcomes(study) == [LOST]


def test_one_who_left_without_a_trial_has_no_record_and_is_back_when_it_asks_again(study):
    lease, other = Lease(study), Lease(study)
    lease.leave()
    assert study.user_attrs == {}
    begin(lease)
    lease.leave()
    begin(lease)
    other.leave()
    assert outcomes(study) == [("RUNNING", None)] * 2


def test_trial_without_a_name_is_a_reason_to_look_again_soon(study, die):
    other, lease = Lease(study), Lease(study)
    other.keep_alive()
    study.ask()
    lease.recover()
    assert lease.is_in_doubt
    die(other)
    lease.recover()
    assert not lease.is_in_doubt


def running(study):
    return study.get_trials(states=(TrialState.RUNNING,))


def test_what_waits_in_the_queue_comes_first_and_in_its_order(study):
    for width in (7, 5):
        study.enqueue_trial({"width": width})
    lease = Lease(study)
    assert [lease.ask().suggest_int("width", 1, 30) for _ in range(3)][:2] == [7, 5]
    assert [t.number for t in running(study)] == [0, 1, 2]
    assert [t.user_attrs["owner"] for t in running(study)] == [lease.name] * 3


def test_sampler_sees_the_trials_that_were_there_when_it_was_asked(study):
    """Optuna keeps what it has read, and does not know that this trial was asked for."""
    seen = []

    class Looking(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study, trial):
            seen.append(len(study._get_trials(deepcopy=False, use_cache=True)))
            return {}

    study.sampler = Looking()
    lease = Lease(study)
    for _ in range(3):
        lease.ask().suggest_int("width", 1, 30)
    assert seen == [1, 2, 3]


def test_beat_is_raised_now_and_then_and_names_this_process(study, clock):
    lease = Lease(study)
    beats = []
    for seconds in (0, 1, leases.HEARTBEAT_SECONDS - 1, 1, leases.HEARTBEAT_SECONDS):
        clock.now += seconds
        lease.keep_alive()
        record = study.user_attrs[f"process:{lease.name}"]
        beats.append(record["beat"])
    assert beats == [1, 1, 2, 2, 3]
    assert record["pid"] == psutil.Process().pid
    assert 2 * leases.HEARTBEAT_SECONDS < LEASE_SECONDS


NUM_QUEUED = 8


def take_queued(url, barrier, results):
    storage = open_storage(url, create=True)
    study = optuna.load_study(study_name="s", storage=storage)
    lease = Lease(study)
    barrier.wait(60)
    taken = [lease.ask() for _ in range(NUM_QUEUED)]
    results.put((lease.name, [t.number for t in taken if t.number < NUM_QUEUED]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of forks
def test_processes_that_ask_at_once_never_get_the_same_trial_of_the_queue(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    fork = multiprocessing.get_context("fork")
    for round_ in range(3):
        path = tmp_path / "s.db"
        path.unlink(missing_ok=True)
        study = optuna.create_study(study_name="s", storage=open_storage(url, create=True))
        for width in range(NUM_QUEUED):
            study.enqueue_trial({"width": width})
        study._storage.engine.dispose()  # not to be shared with a child
        barrier, results = fork.Barrier(2), fork.Queue()
        children = [fork.Process(target=take_queued, args=(url, barrier, results)) for _ in "ab"]
        for child in children:
            child.start()
        taken = dict(results.get(timeout=60) for _ in children)
        for child in children:
            child.join(60)
        assert sorted(itertools.chain(*taken.values())) == list(range(NUM_QUEUED)), round_
        trials = study.get_trials()
        assert len(trials) == 2 * NUM_QUEUED
        for name, numbers in taken.items():
            assert all(trials[number].user_attrs["owner"] == name for number in numbers)


# Live processes


def test_trials_of_this_process_are_left_alone(study):
    lease = Lease(study)
    begin(lease)
    assert lease.recover() == []
    assert Lease(study).recover() == []  # a second search in this process
    assert outcomes(study) == [("RUNNING", None)]


def test_trials_of_this_process_are_its_own_whatever_is_written_of_it(study):
    lease = Lease(study)
    begin(lease)
    put_record(lease, pid=0, started=0.0)
    assert lease.recover() == []


def test_trial_of_its_own_that_it_never_got_is_closed(study):
    """The database began it, but its answer did not come back."""
    lease = Lease(study)
    begin(lease)
    study.add_trial(optuna.trial.create_trial(
        state=TrialState.RUNNING, user_attrs={"owner": lease.name}
    ))  # fmt: skip
    assert lease.recover() == []
    assert outcomes(study) == [("RUNNING", None), LOST]


def test_trials_of_another_live_process_are_left_alone(study, sleeper, clock):
    lease, other = Lease(study), Lease(study)
    begin(other)
    started = leases._start(sleeper.pid)
    put_record(other, pid=sleeper.pid, started=started)
    for _ in range(4):  # its beat stands still, but it is there to be seen
        assert lease.recover() == []
        clock.now += LEASE_SECONDS
    assert outcomes(study) == [("RUNNING", None)]


def test_start_time_that_is_read_a_little_differently_is_the_same_process(study, sleeper):
    other = Lease(study)
    begin(other)
    started = leases._start(sleeper.pid)
    put_record(other, pid=sleeper.pid, started=started + leases.START_TOLERANCE / 2)
    assert Lease(study).recover() == []


def test_later_process_with_the_same_number_is_another_one(study, sleeper):
    other = Lease(study)
    begin(other)
    started = leases._start(sleeper.pid)
    put_record(other, pid=sleeper.pid, started=started - 60)
    assert Lease(study).recover() == [0]
    assert outcomes(study)[0] == LOST


def test_process_that_has_ended_and_whose_parent_has_not_noticed_is_dead(study):
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        process = psutil.Process(child.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        other = Lease(study)
        begin(other)
        put_record(other, pid=child.pid, started=leases._start(child.pid))
        assert Lease(study).recover() == [0]
    finally:
        child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="how a start time is read differs")
def test_process_is_the_same_after_the_clock_of_this_machine_was_set(study, sleeper, monkeypatch):
    other = Lease(study)
    begin(other)
    put_record(other, pid=sleeper.pid, started=leases._start(sleeper.pid))
    boot_time = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time + 60)
    assert Lease(study).recover() == []


# Other machines


def other_machine(study, clock):
    """A process of another machine, and a trial of it."""
    other = Lease(study)
    begin(other)
    put_record(other, machine="elsewhere", beat=1)
    return other


def test_process_of_another_machine_lives_while_its_beat_goes_on(study, clock):
    other, lease = other_machine(study, clock), Lease(study)
    for beat in range(2, 8):
        assert lease.recover() == []
        clock.now += LEASE_SECONDS - 1
        put_record(other, beat=beat)
    assert outcomes(study) == [("RUNNING", None)]


def test_process_of_another_machine_is_given_up_when_its_beat_stands_still_for_the_lease(
    study, clock
):
    other_machine(study, clock)
    lease = Lease(study)
    for _ in range(4):
        assert lease.recover() == []
        clock.now += LEASE_SECONDS / 4
    assert lease.recover() == [0]
    assert outcomes(study) == [LOST, ("WAITING", None)]


def test_after_a_time_without_the_database_the_others_have_the_whole_lease_again(study, clock):
    """They waited for it as well, and could not raise their beat."""
    other, lease = other_machine(study, clock), Lease(study)
    assert lease.recover() == []
    for beat in (2, 3):
        clock.now += 2 * LEASE_SECONDS
        assert lease.recover() == []  # this process is the first that is back
        clock.now += LEASE_SECONDS / 4
        put_record(other, beat=beat)
        assert lease.recover() == []
    for _ in range(4):
        clock.now += LEASE_SECONDS / 4
        assert outcomes(study) == [("RUNNING", None)]
        found = lease.recover()
    assert found == [0]


def test_lease_begins_when_this_process_first_looks(study, clock):
    other_machine(study, clock)
    clock.now += 10 * LEASE_SECONDS
    assert Lease(study).recover() == []


def test_number_of_a_process_says_nothing_on_another_machine(study, clock, dead_pid):
    other = Lease(study)
    begin(other)
    put_record(other, pid=dead_pid, machine="another")
    assert Lease(study).recover() == []


@pytest.mark.skipif(sys.platform != "linux", reason="machines are told apart otherwise")
@pytest.mark.parametrize("changed", ["hostname", "boot", "container"])
def test_another_host_a_later_start_and_another_container_are_other_machines(monkeypatch, changed):
    before = leases._machine()
    assert leases._machine() == before
    read_text = Path.read_text
    match changed:
        case "hostname":
            monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        case "boot":
            monkeypatch.setattr(Path, "read_text", lambda self: read_text(self)[::-1])
        case "container":
            monkeypatch.setattr("os.readlink", lambda path: "pid:[1]")
    assert leases._machine() != before


# Dead processes


@pytest.mark.parametrize("is_known", [True, False], ids=["dead", "unknown"])
def test_trial_of_a_dead_process_is_closed_as_lost_and_queued_once(study, die, is_known):
    other, lease = Lease(study), Lease(study)
    study.enqueue_trial({"width": 4})
    begin(other)
    if is_known:
        die(other)
    else:  # as a study of before, or of another program, has
        study._storage.set_trial_user_attr(study.trials[0]._trial_id, "owner", "nobody")
    assert lease.recover() == [0]
    assert outcomes(study) == [LOST, ("WAITING", None)]
    assert waiting(study) == [{"width": 4}]
    for again in (lease, Lease(study)):
        assert again.recover() == []
    assert len(study.trials) == 2


def test_only_the_trials_of_the_dead_are_closed(study, die):
    dead, alive = Lease(study), Lease(study)
    trials = [begin(lease) for lease in (alive, dead, alive, dead)]
    die(dead)
    assert alive.recover() == [1, 3]
    assert [state for state, _ in outcomes(study)[:4]] == ["RUNNING", "FAIL"] * 2
    assert waiting(study) == [trials[1].params, trials[3].params]


def test_trial_that_ended_just_before_it_was_to_be_closed_stays_as_it_ended(
    study, die, monkeypatch
):
    other, lease = Lease(study), Lease(study)
    trial = begin(other)
    die(other)
    is_alive = lease._is_alive

    def slow(name):
        study.tell(trial, 0.5)
        return is_alive(name)

    monkeypatch.setattr(lease, "_is_alive", slow)
    assert lease.recover() == []
    assert outcomes(study) == [("COMPLETE", None)]


def test_trial_that_ends_while_it_is_being_closed_is_complete(study, die, monkeypatch):
    other, lease = Lease(study), Lease(study)
    trial = begin(other)
    die(other)
    close_it = study._storage.set_trial_state_values

    def slow(trial_id, state, values=None):
        monkeypatch.undo()
        study.tell(trial, 0.5)
        return close_it(trial_id, state, values)

    monkeypatch.setattr(study._storage, "set_trial_state_values", slow)
    assert lease.recover() == []
    assert outcomes(study) == [("COMPLETE", None)]


@pytest.mark.parametrize("reason", list(Reason))
def test_trial_that_died_while_its_end_was_told_is_lost_unless_that_was_a_failure(
    study, die, reason
):
    """What is told as a result, to samplers too, is one only when it was."""
    other, lease = Lease(study), Lease(study)
    record_reason(begin(other), reason, "")
    die(other)
    lease.recover()
    failures = ("diverged", "error", "interrupted", "time limit", "surplus")
    assert outcomes(study)[0] == ("FAIL", reason if reason in failures else "lost")


def test_retry_has_the_values_and_the_place_of_what_it_repeats(study, die):
    other, lease = Lease(study), Lease(study)
    first, second = begin(other), begin(lease)
    die(other)
    lease.recover()
    retry = begin(lease)
    assert (first.number, second.number, retry.number) == (0, 1, 2)
    assert retry.params == first.params
    assert retry.user_attrs["retry_of"] == 0
    assert [index(study, n) for n in range(3)] == [0, 1, 0]
    assert index(study, lease.ask().number) == 2


def test_what_died_twice_is_given_up(study, die):
    lease = Lease(study)
    for found in ([0], []):
        other = Lease(study)
        trial = begin(other)
        die(other)
        assert lease.recover() == found
    assert trial.user_attrs["retry_of"] == 0
    assert outcomes(study) == [LOST, LOST]
    assert lease.recover() == []


@pytest.mark.parametrize("reason", [Reason.INTERRUPTED, Reason.TIME_LIMIT])
def test_what_was_broken_off_from_outside_is_queued_again_however_often(study, reason):
    lease = Lease(study)
    for number in range(5):
        trial = begin(lease)
        assert trial.user_attrs.get("retry_of", 0) == 0
        close(trial, reason)
        assert lease.recover() == [number]
        assert lease.recover() == []
    assert {str(t.params or waiting(study)[0]) for t in study.trials} == {str(trial.params)}
    assert [index(study, number) for number in range(6)] == [0] * 6


def test_what_died_once_and_was_interrupted_is_tried_again(study, die):
    other, lease = Lease(study), Lease(study)
    begin(other)
    die(other)
    assert lease.recover() == [0]
    close(begin(lease), Reason.INTERRUPTED)
    assert lease.recover() == [1]
    begin(other)
    assert lease.recover() == []  # the second time that a process died over it
    assert outcomes(study) == [LOST, ("FAIL", "interrupted"), LOST]


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.DIVERGED, Reason.SURPLUS])
def test_what_failed_by_itself_is_not_tried_again(study, reason):
    lease = Lease(study)
    close(begin(lease), reason)
    assert lease.recover() == []


def test_what_ended_well_is_not_tried_again(study):
    lease = Lease(study)
    study.tell(begin(lease), 0.5)
    study.tell(begin(lease), state=TrialState.PRUNED)
    assert lease.recover() == []


def test_what_was_no_candidate_yet_is_not_tried_again(study, die):
    other, lease = Lease(study), Lease(study)
    trial = other.ask()
    trial.suggest_int("width", 1, 30)
    die(other)
    assert lease.recover() == []
    assert outcomes(study) == [LOST]


def test_what_came_from_the_queue_is_tried_again_though_it_was_no_candidate_yet(study, die):
    other, lease = Lease(study), Lease(study)
    study.enqueue_trial({"width": 4})
    other.ask()
    die(other)
    assert lease.recover() == [0]
    assert waiting(study) == [{"width": 4}]
    other = Lease(study)
    other.ask()  # and the retry, too
    die(other)
    assert lease.recover() == []


# Two processes that find the same dead one at the same moment


def queued_twice(study, die):
    dead = Lease(study)
    width = begin(dead).params["width"]
    die(dead)
    lease = Lease(study)
    assert lease.recover() == [0]
    study.enqueue_trial({"width": width}, user_attrs={"retry_of": 0})
    return lease


def test_retry_that_was_broken_off_is_tried_again_though_another_was_its_duplicate(study, die):
    lease = queued_twice(study, die)
    first, second = begin(lease), lease.ask()
    record_reason(second, Reason.DUPLICATE, "")
    study.tell(second, state=TrialState.PRUNED)
    assert lease.recover() == []
    close(first, Reason.INTERRUPTED)
    assert lease.recover() == [1]
    assert lease.recover() == []


def test_candidate_that_another_trial_has_trained_meanwhile_is_not_tried_again(study, die):
    dead, lease = Lease(study), Lease(study)
    fingerprint = begin(dead).user_attrs["fingerprint"]
    twin = lease.ask()
    twin.set_user_attr("fingerprint", fingerprint)
    study.tell(twin, 0.5)
    die(dead)
    assert lease.recover() == []


def test_candidate_from_the_queue_whose_retry_was_a_duplicate_is_not_tried_again(study, die):
    dead, lease = Lease(study), Lease(study)
    study.enqueue_trial({"width": 4})
    dead.ask()
    die(dead)
    assert lease.recover() == [0]
    retry = lease.ask()
    record_reason(retry, Reason.DUPLICATE, "")
    study.tell(retry, state=TrialState.PRUNED)
    assert lease.recover() == []


# Places


def test_places_are_counted_up(study):
    lease = Lease(study)
    for number in range(4):
        assert index(study, lease.ask().number) == number


def test_places_go_on_in_a_study_of_before_whose_trials_have_none_written(study):
    for value in (0.1, 0.2, 0.3):
        study.add_trial(optuna.trial.create_trial(value=value))
    assert [index(study, number) for number in range(3)] == [0, 1, 2]
    assert index(study, Lease(study).ask().number) == 3


def test_what_was_no_candidate_has_no_place_of_its_own(study):
    lease = Lease(study)
    study.tell(begin(lease), 0.5)
    close(lease.ask(), Reason.INTERRUPTED)
    study.tell(begin(lease), 0.6)
    assert [index(study, number) for number in (0, 2)] == [0, 1]
    close(begin(lease), Reason.INTERRUPTED)  # a candidate: its place is for its retry
    assert index(study, lease.ask().number) == 3


def test_places_are_never_equal_but_for_retries(study, die):
    """Five processes, of which now and then one dies or is interrupted, early or late."""
    owners = [Lease(study) for _ in range(5)]
    for number in range(60):
        lease = owners[number % 5]
        trial = lease.ask()
        if number % 3:
            trial.suggest_float("rate", 0, 1)
            trial.set_user_attr("fingerprint", str(number))
        if number % 7 == 0:
            close(trial, Reason.INTERRUPTED)
        elif number % 11 == 0:
            die(lease)
            owners[number % 5] = Lease(study)
        elif number % 2:
            study.tell(trial, 0.5)
        owners[0].recover()
    own, retries = [], []
    for trial in study.trials:
        if trial.state == TrialState.WAITING or "index" not in trial.user_attrs:
            continue
        if "retry_of" in trial.user_attrs:
            root = study.trials[trial.user_attrs["retry_of"]]
            assert trial.user_attrs["index"] == root.user_attrs["index"]
            retries.append(trial)
        elif not (is_broken_off(trial) and "fingerprint" not in trial.user_attrs):
            own.append(trial.user_attrs["index"])
    assert retries
    assert len(own) == len(set(own)) > 30


def is_broken_off(trial):
    return reason_of(trial) in ("interrupted", "lost")


def test_place_stays_what_it_was_when_a_trial_in_front_is_found_to_be_void(study, die):
    early, late = Lease(study), Lease(study)
    early.ask()
    begin(late)
    die(early)
    assert late.recover() == []
    assert index(study, 1) == 1
    assert index(study, begin(late).number) == 0  # which nothing has had
    assert index(study, begin(late).number) == 2


def test_trial_of_the_queue_that_died_before_its_place_was_written_keeps_the_one_it_had(study, die):
    for width in (4, 5):
        study.enqueue_trial({"width": width})
    dead, lease = Lease(study), Lease(study)
    dead.keep_alive()
    study.ask().set_user_attr("owner", dead.name)
    die(dead)
    assert lease.recover() == [0]
    places = [(trial.user_attrs.get("retry_of"), index(study, trial.number))
              for trial in (begin(lease), begin(lease), begin(lease))]  # fmt: skip
    assert places == [(None, 1), (0, 0), (None, 2)]


# Stopped trials that are promoted


@pytest.fixture
def stopped(study):
    """A trial that the pruner stopped."""
    trial = begin(Lease(study))
    record_reason(trial, Reason.STOPPED_BY_PRUNER, "")
    study.tell(trial, state=TrialState.PRUNED)
    return study.trials[0]


def test_trial_that_goes_on_with_a_stopped_one_has_its_parameters_and_an_owner(study, stopped):
    lease = Lease(study)
    trial = lease.promote(stopped)
    assert trial.suggest_int("width", 1, 10**9) == stopped.params["width"]
    attrs = study.trials[1].user_attrs
    assert (attrs["continues"], attrs["owner"]) == (0, lease.name)
    assert study.trials[1].state == TrialState.RUNNING
    assert [index(study, number) for number in (0, 1)] == [0, 1]


def test_trial_that_goes_on_with_a_stopped_one_is_not_queued_again_but_keeps_its_place(
    study, stopped, die
):
    dead, lease = Lease(study), Lease(study)
    dead.promote(stopped)
    die(dead)
    assert lease.recover() == []
    assert reason_of(study.trials[1]) == Reason.LOST
    lease.promote(stopped)
    again = study.trials[2].user_attrs
    assert (again["continues"], again["retry_of"]) == (0, 1)
    assert [index(study, number) for number in (1, 2)] == [1, 1]
