"""Real worker processes: they train, report, wait for answers, and may die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, ReLU
from nas.candidates.recipe import Recipe
from nas.metrics import EpochMetrics
from nas.training import cuda, train
from nas.training import pool as pool_module
from nas.training import worker as worker_module
from nas.training.messages import EpochDone, Failed, Job, Restarted, StepsDone, Trained
from nas.training.pool import WorkerPool
from tests.fakes import train_alone
from tests.odd_layers import CrashingConv, FaultyConv, GreedyConv

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=32)
LONG = Recipe(epochs=100_000, batch_size=32)


@pytest.fixture
def make_pool(tiny_data):
    pools = []

    def make(num_workers=1):
        pools.append(WorkerPool(tiny_data, CPU, torch.float32, num_workers))
        return pools[-1].__enter__()

    yield make
    for pool in pools:
        pool.__exit__(None, None, None)


def talk(pool, stop_after=None):
    """What the workers say of epochs until all are idle; each of these is answered."""
    said = []
    while pool.num_idle < pool.num_workers:
        for message in pool.wait(60):
            if not isinstance(message, StepsDone):
                said.append(message)
            if isinstance(message, EpochDone):
                pool.answer(message.number, message.metrics.epoch == stop_after)
    return said


def next_message(pool):
    while isinstance(message := pool.wait(60)[0], StepsDone):
        pass
    return message


def test_pool_knows_the_peak_of_a_worker_after_the_first_epoch_and_measures_it_once(
    make_pool, tiny_architecture
):
    pool = make_pool(2)
    pool.start(Job(0, tiny_architecture, RECIPE, seed=0))
    assert pool.peak is None
    assert isinstance(next_message(pool), EpochDone)
    peak = pool.peak
    assert peak > 0
    pool.answer(0, stop=True)
    talk(pool)
    for number in (1, 2):
        pool.start(Job(number, tiny_architecture, RECIPE, seed=0))
    talk(pool)
    assert pool.peak == peak


def test_worker_trains_as_the_engine_does(make_pool, tiny_architecture, tiny_data):
    pool = make_pool()
    pool.start(Job(7, tiny_architecture, RECIPE, seed=3))
    *epochs, last = talk(pool)
    assert [(m.number, m.metrics.epoch) for m in epochs] == [(7, 1), (7, 2)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = train(tiny_architecture, RECIPE, tiny_data, seed=3, precision=torch.float32)
    torch.set_num_threads(threads)
    assert isinstance(last, Trained)
    assert last.number == 7
    assert last.result.is_finished
    for ours, theirs in zip(expected.history, last.result.history, strict=True):
        assert (ours.train_loss, ours.valid_loss) == (theirs.train_loss, theirs.valid_loss)
    for name, tensor in expected.state_dict.items():
        assert torch.equal(tensor, last.result.state_dict[name])


@pytest.mark.slow
def test_job_of_so_many_images_is_trained_on_the_first_of_all(
    make_pool, tiny_architecture, tiny_data
):
    pool = make_pool()
    pool.start(Job(0, tiny_architecture, RECIPE, seed=3, num_images=64))
    trained = talk(pool)[-1]
    few = replace(tiny_data, train_index=tiny_data.train_index[:64])
    expected = train_alone(tiny_architecture, RECIPE, few, seed=3)
    assert [m.valid_loss for m in trained.result.history] == [
        m.valid_loss for m in expected.history
    ]


@pytest.mark.slow
def test_same_seed_gives_the_same_history_in_any_worker(make_pool, tiny_architecture):
    pool = make_pool(2)
    for number in (0, 1):
        pool.start(Job(number, tiny_architecture, RECIPE, seed=5))
    assert pool.num_idle == 0
    trained = [m for m in talk(pool) if isinstance(m, Trained)]
    losses = [[e.valid_loss for e in m.result.history] for m in trained]
    assert len(losses) == 2
    assert losses[0] == losses[1]


def test_worker_stops_where_the_answer_says(make_pool, tiny_architecture):
    pool = make_pool()
    pool.start(Job(0, tiny_architecture, LONG, seed=0))
    last = talk(pool, stop_after=3)[-1]
    assert len(last.result.history) == 3
    assert not last.result.is_finished


def test_stop_ends_every_training_before_its_next_step(make_pool, tiny_architecture):
    pool = make_pool(2)
    for number in (0, 1):
        pool.start(Job(number, tiny_architecture, LONG, seed=0))
    pool.stop()
    last = {m.number: m for m in talk(pool) if isinstance(m, Trained)}
    assert set(last) == {0, 1}
    assert not any(m.result.is_finished for m in last.values())


def test_broken_training_is_reported_and_the_worker_lives(make_pool, tiny_architecture):
    pool = make_pool()
    process = pool._workers[0].process
    pool.start(Job(1, "no architecture", RECIPE, seed=0))
    last = talk(pool)[-1]
    assert isinstance(last, Failed)
    assert not last.has_diverged
    assert "AttributeError" in last.detail
    pool.start(Job(2, tiny_architecture, RECIPE, seed=0))
    assert isinstance(talk(pool)[-1], Trained)
    assert pool._workers[0].process is process


def test_diverged_training_is_told_apart(make_pool, tiny_data):
    layers = [Flatten(), Linear(8), Linear(len(tiny_data.classes))]  # nothing normalises here
    architecture = Architecture(tiny_data.input_shape, layers)
    pool = make_pool()
    pool.start(Job(0, architecture, Recipe(learning_rate=99, epochs=50, warmup=0), seed=0))
    last = talk(pool)[-1]
    assert isinstance(last, Failed)
    assert last.has_diverged
    assert "not finite in epoch" in last.detail


def test_worker_that_is_killed_costs_its_own_candidate_and_is_replaced(
    make_pool, tiny_architecture
):
    pool = make_pool(2)
    pool.start(Job(0, tiny_architecture, LONG, seed=0))
    assert isinstance(next_message(pool), EpochDone)
    os.kill(pool._workers[0].process.pid, signal.SIGKILL)
    failed = next_message(pool)
    assert isinstance(failed, Failed)
    assert failed.number == 0
    assert "signal 9" in failed.detail
    assert pool.num_idle == 2
    for number in (1, 2):
        pool.start(Job(number, tiny_architecture, RECIPE, seed=0))
    assert {m.number for m in talk(pool) if isinstance(m, Trained)} == {1, 2}


class Clock:
    """In place of the time that workers are judged by: it moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: self.now))


def test_worker_says_how_far_it_has_come_inside_of_an_epoch(tiny_data, tiny_architecture):
    again = tiny_data.train_index.repeat(1000)
    data = replace(tiny_data, train_index=again)  # an epoch of 180,000 images
    with WorkerPool(data, CPU, torch.float32, 1) as pool:
        pool.start(Job(3, tiny_architecture, RECIPE, seed=0))
        said = [message for _ in range(2) for message in pool.wait(60)]
        assert [type(message) for message in said] == [StepsDone, StepsDone]
        assert [message.number for message in said] == [3, 3]
        assert 0 <= said[0].epochs < said[1].epochs < 1
        pool.stop()
        assert isinstance(talk(pool)[-1], Trained)


@pytest.mark.slow
def test_epoch_that_lasts_longer_than_any_silence_is_no_fault(
    tiny_data, tiny_architecture, monkeypatch
):
    monkeypatch.setattr(pool_module, "SILENCE_SECONDS", 50.0)
    data = replace(tiny_data, train_index=tiny_data.train_index.repeat(2000))
    with WorkerPool(data, CPU, torch.float32, 1) as pool:
        clock = Clock(monkeypatch)
        pool.start(Job(0, tiny_architecture, RECIPE, seed=0))
        for _ in range(3):
            said = pool.wait(60)
            assert [type(message) for message in said] == [StepsDone]
            clock.now += 40


@pytest.mark.slow
def test_training_that_hangs_is_ended_and_costs_its_own_candidate(
    make_pool, tiny_architecture, monkeypatch
):
    monkeypatch.setattr(pool_module, "SILENCE_SECONDS", 100.0)
    clock = Clock(monkeypatch)
    pool = make_pool(2)

    def hear():
        messages = pool.wait(60)
        for message in messages:
            if isinstance(message, EpochDone):
                pool.answer(message.number, stop=False)
        return messages

    pool.start(Job(0, tiny_architecture, LONG, seed=0))
    while not any(isinstance(message, EpochDone) for message in hear()):
        pass
    os.kill(pool._workers[0].process.pid, signal.SIGSTOP)
    pool.start(Job(1, tiny_architecture, LONG, seed=0))
    failed = []
    while not failed:
        clock.now += 40
        said = []
        while not any(message.number == 1 for message in said):
            said += hear()
        failed = [message for message in said if isinstance(message, Failed)]
    assert [(m.number, m.detail) for m in failed] == [(0, "it hung: no step in 100 s")]
    assert failed[0].history  # the epochs before
    assert pool.num_idle == 1
    pool.start(Job(2, tiny_architecture, RECIPE, seed=0))
    pool.stop()
    assert {m.number for m in talk(pool) if isinstance(m, Trained)} == {1, 2}


def work_once_it_is_there(connections, data, *how):
    """A worker that takes as long to start as a file takes to appear."""
    while not Path(data.name).exists():
        time.sleep(0.01)
    worker_module.work(connections, data, *how)


@pytest.mark.slow
def test_worker_that_takes_long_to_start_does_not_hang(
    tiny_architecture, tiny_data, monkeypatch, tmp_path
):
    monkeypatch.setattr(pool_module, "SILENCE_SECONDS", 10.0)
    monkeypatch.setattr(pool_module, "work", work_once_it_is_there)
    data = replace(tiny_data, name=str(tmp_path / "go"))
    with WorkerPool(data, CPU, torch.float32, 1) as pool:
        clock = Clock(monkeypatch)
        pool.start(Job(0, tiny_architecture, RECIPE, seed=0))
        for _ in range(3):
            clock.now += 40
            assert pool.wait(0.0) == []
        (tmp_path / "go").touch()
        assert isinstance(talk(pool)[-1], Trained)


@pytest.mark.slow
def test_training_is_not_taken_to_hang_when_the_search_stood_still(
    make_pool, tiny_architecture, monkeypatch
):
    """Both were stopped, and continued."""
    monkeypatch.setattr(pool_module, "SILENCE_SECONDS", 30.0)
    pool = make_pool()
    pool.start(Job(0, tiny_architecture, LONG, seed=0))
    assert isinstance(next_message(pool), EpochDone)
    now = time.monotonic()
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now + 1000))
    assert pool.wait(0.0) == []
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now + 1020))
    assert pool.wait(0.0) == []
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now + 1050))
    (hung,) = pool.wait(0.0)
    assert isinstance(hung, Failed)


@pytest.mark.slow
def test_idle_worker_that_died_is_replaced_when_it_is_needed(make_pool, tiny_architecture):
    pool = make_pool()
    process = pool._workers[0].process
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    pool.start(Job(0, tiny_architecture, RECIPE, seed=0))
    assert isinstance(talk(pool)[-1], Trained)


def odd(layer):
    return Architecture((1, 8, 8), [layer, GlobalAvgPool(), Flatten(), Linear(4)])


@pytest.fixture
def shared_pool(tiny_data):
    """Three workers in one process, as on a GPU."""
    pool = WorkerPool(tiny_data, CPU, torch.float32, 3)
    pool._workers = pool._start_process(3)
    yield pool
    pool.__exit__(None, None, None)


@pytest.mark.slow
def test_workers_that_share_a_process_train_at_once(shared_pool, tiny_architecture):
    for number in range(3):
        shared_pool.start(Job(number, tiny_architecture, RECIPE, seed=number))
    assert shared_pool.num_idle == 0
    said = talk(shared_pool)
    assert {m.number for m in said if isinstance(m, Trained)} == {0, 1, 2}
    assert len({w.process.pid for w in shared_pool._workers}) == 1


@pytest.mark.slow
def test_candidate_that_is_out_of_memory_beside_others_is_tried_again_alone(
    shared_pool, tiny_architecture
):
    shared_pool.start(Job(0, tiny_architecture, LONG, seed=0))
    assert isinstance(next_message(shared_pool), EpochDone)
    shared_pool.start(Job(1, odd(GreedyConv(4)), RECIPE, seed=0))
    restarted = next_message(shared_pool)
    assert isinstance(restarted, Restarted)
    assert restarted.number == 1
    assert shared_pool.num_idle == 0  # nobody is to join it
    shared_pool.answer(0, stop=True)
    stopped, failed = talk(shared_pool)
    assert isinstance(stopped, Trained)
    assert isinstance(failed, Failed)
    assert failed.number == 1
    assert "out of memory" in failed.detail
    assert shared_pool.num_idle == 3


def test_candidate_that_is_out_of_memory_alone_is_not_tried_again(shared_pool):
    shared_pool.start(Job(0, odd(GreedyConv(4)), RECIPE, seed=0))
    assert isinstance(next_message(shared_pool), Failed)
    assert shared_pool.num_idle == 3


@pytest.mark.slow
def test_candidates_beside_one_that_takes_the_process_down_are_trained_again(
    shared_pool, tiny_architecture
):
    shared_pool.start(Job(0, tiny_architecture, RECIPE, seed=5))
    shared_pool.start(Job(1, tiny_architecture, RECIPE, seed=6))
    first = {shared_pool.wait(60)[0].number for _ in range(1)}
    shared_pool.start(Job(2, odd(CrashingConv(4)), RECIPE, seed=0))
    said = talk(shared_pool)
    assert {m.number for m in said if isinstance(m, Restarted)} == {0, 1, 2}
    trained = {m.number: m.result for m in said if isinstance(m, Trained)}
    failed = [m for m in said if isinstance(m, Failed)]
    assert set(trained) == {0, 1}
    assert [m.number for m in failed] == [2]
    assert "exit code 3" in failed[0].detail
    assert all(result.is_finished for result in trained.values())
    assert first <= {0, 1}
    assert shared_pool.num_idle == 3


@pytest.mark.slow
def test_workers_ignore_the_signals_of_the_terminal(make_pool, tiny_architecture):
    pool = make_pool()
    pool.start(Job(0, tiny_architecture, RECIPE, seed=0))
    assert isinstance(next_message(pool), EpochDone)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        os.kill(pool._workers[0].process.pid, getattr(signal, name))
    pool.answer(0, stop=False)
    assert isinstance(talk(pool)[-1], Trained)


def test_no_process_is_left_when_the_pool_ends(tiny_data, tiny_architecture):
    with WorkerPool(tiny_data, CPU, torch.float32, 2) as pool:
        pool.start(Job(0, tiny_architecture, LONG, seed=0))  # one is busy, one is idle
        processes = [psutil.Process(w.process.pid) for w in pool._workers]
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, time, torch\n"
        "from tests.conftest import make_tiny_data\n"
        "from nas.training.pool import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    with WorkerPool(make_tiny_data(), torch.device('cpu'), torch.float32, 2) as pool:\n"
        "        print(*[w.process.pid for w in pool._workers], flush=True)\n"
        "        time.sleep(600)\n"
    )
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": root}, cwd=root,
    )  # fmt: skip
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(1)  # past their start
    parent.kill()
    parent.wait()
    workers = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_images_are_shared_and_not_copied(make_pool, tiny_data):
    make_pool(2)
    assert tiny_data.images.is_shared()


@pytest.mark.slow
def test_many_candidates_of_different_shape_leave_nothing_behind(make_pool, tiny_data):
    pool = make_pool()
    process = psutil.Process(pool._workers[0].process.pid)
    seen = []
    for number in range(50):
        width = 4 + 9 * (number % 5)  # the largest is among the first five
        layers = [Conv(width), BatchNorm(), ReLU(), Conv(2 * width), GlobalAvgPool(), Flatten()]
        architecture = Architecture(
            tiny_data.input_shape, [*layers, Linear(len(tiny_data.classes))]
        )
        pool.start(Job(number, architecture, Recipe(epochs=1, batch_size=32), seed=0))
        assert isinstance(talk(pool)[-1], Trained)
        seen.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
    assert seen[49][0] <= seen[4][0] * 1.02
    assert seen[49][1:] == seen[4][1:]


# Errors of a device, which a CPU can raise as well


def test_text_of_a_device_error_reaches_the_parent_and_the_process_is_a_new_one(make_pool):
    pool = make_pool()
    process = pool._workers[0].process
    pool.start(Job(0, odd(FaultyConv(4)), RECIPE, seed=0))
    (failed,) = talk(pool)
    text = "CUDA error: no kernel image is available for execution on the device"
    assert failed == Failed(0, f"AcceleratorError: {text}")
    assert pool._workers[0].process is not process


def test_text_of_a_device_error_is_told_of_those_beside_it_too(shared_pool, tiny_architecture):
    shared_pool.start(Job(0, tiny_architecture, LONG, seed=0))
    assert isinstance(next_message(shared_pool), EpochDone)
    shared_pool.start(Job(1, odd(FaultyConv(4)), RECIPE, seed=0))
    restarted = []
    while not restarted:
        restarted = [m for m in shared_pool.wait(60) if isinstance(m, Restarted)]
    assert {m.number for m in restarted} == {0, 1}
    assert all("no kernel image" in m.detail for m in restarted)


@pytest.mark.slow
def test_answer_to_a_training_that_begins_again_meanwhile_reaches_nobody(
    shared_pool, tiny_architecture
):
    shared_pool.start(Job(0, tiny_architecture, LONG, seed=0))
    assert isinstance(next_message(shared_pool), EpochDone)
    shared_pool.start(Job(1, odd(FaultyConv(4)), RECIPE, seed=0))
    assert isinstance(next_message(shared_pool), Restarted)
    shared_pool.answer(0, stop=True)  # what was asked before
    said = talk(shared_pool, stop_after=2)
    epochs = [m.metrics.epoch for m in said if isinstance(m, EpochDone) and m.number == 0]
    assert epochs == [1, 2]


MEMORY_FAULTS = [
    ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ("AcceleratorError", "CUDA error: out of memory"),
]


@pytest.mark.parametrize(("error", "text"), MEMORY_FAULTS)
def test_every_kind_of_memory_error_is_tried_again_alone(shared_pool, error, text):
    """Two of them beside each other: neither is lost at once."""
    for number in range(2):
        shared_pool.start(Job(number, odd(FaultyConv(4, error=error, text=text)), RECIPE, seed=0))
    said = talk(shared_pool)
    assert any(isinstance(m, Restarted) and text in m.detail for m in said)
    assert {m.number for m in said if isinstance(m, Failed)} == {0, 1}
    assert all(text in m.detail for m in said)


@pytest.mark.slow
def test_after_the_second_memory_error_there_are_fewer_at_a_time(shared_pool, tiny_architecture):
    notices = []
    shared_pool.on_notice = notices.append
    for number in (1, 2):
        shared_pool.start(Job(0, tiny_architecture, LONG, seed=0))
        shared_pool.start(Job(number, odd(GreedyConv(4)), RECIPE, seed=0))
        assert len([m for m in talk(shared_pool, stop_after=1) if isinstance(m, Restarted)]) == 1
    assert notices == ["the GPU's memory was full 2 times: from here on 2 at a time"]
    assert (shared_pool.num_workers, shared_pool.num_idle) == (2, 2)


def work_without_room(connections, data, *how):
    """A worker on a GPU that is smaller than the images."""

    def fail(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB.")

    type(data).to = fail
    worker_module.work(connections, data, *how)


def test_images_that_do_not_fit_on_the_device_are_said_to_be_the_reason(
    monkeypatch, make_pool, tiny_architecture
):
    monkeypatch.setattr(pool_module, "work", work_without_room)
    pool = make_pool(2)
    for number in (0, 1):
        pool.start(Job(number, tiny_architecture, RECIPE, seed=0))
    assert [m.detail for m in talk(pool)] == [
        "the 0 MiB of images cannot be brought to cpu: OutOfMemoryError: CUDA out of memory. "
        "Tried to allocate 4.00 GiB."
    ] * 2


def work_without_capture(connections, data, *how):
    """A worker on a GPU where nothing can be captured."""

    def fail(function, generator):
        raise torch.AcceleratorError(
            "CUDA error: operation not permitted when stream is capturing\nSearch for it"
        )

    cuda.capture = fail
    worker_module.work(connections, data, *how)


def test_where_capture_fails_the_eager_engine_takes_over_in_a_new_process_and_says_so_once(
    monkeypatch, tiny_data, tiny_architecture
):
    monkeypatch.setattr(pool_module, "work", work_without_capture)
    notices = []
    how = {"engine": "graph", "on_notice": notices.append}
    with WorkerPool(tiny_data, CPU, torch.float32, 2, **how) as pool:
        pool._workers[1:] = []
        pool._workers[0].process.kill()
        pool._workers = pool._start_process(2)  # in one process, as on a GPU
        process = pool._workers[0].process
        for number in (0, 1):
            pool.start(Job(number, tiny_architecture, RECIPE, seed=number))
        said = talk(pool)
        assert pool._workers[0].process is not process
        assert pool.engine == "eager"
        pool.start(Job(2, tiny_architecture, RECIPE, seed=2))
        said += talk(pool)
    assert notices == [
        "steps cannot be captured as graphs here (AcceleratorError: CUDA error: operation not "
        "permitted when stream is capturing): from here on the eager engine trains, and begins "
        "again with the candidates in work"
    ]
    assert {type(message) for message in said} == {EpochDone, Trained}  # nothing failed
    for number in range(3):
        expected = train_alone(tiny_architecture, RECIPE, tiny_data, seed=number)
        epochs = [m.metrics for m in said if isinstance(m, EpochDone) and m.number == number]
        assert [(e.train_loss, e.valid_loss, e.valid_accuracy) for e in epochs] == [
            (e.train_loss, e.valid_loss, e.valid_accuracy) for e in expected.history
        ]


def work_until_capture_fails(connections, data, device, precision, stop, engine, peak):
    """A worker on a GPU where the second candidate cannot be captured, and the first has begun."""
    if engine == "graph":
        job = connections[0].recv()
        connections[0].send(EpochDone(job.number, EpochMetrics(1, 9.0, 9.0, 0.0, 0.01)))
        number = connections[1].recv().number
        connections[1].send(Failed(number, "no", is_device_lost=True, is_capture=True))
        os._exit(1)
    worker_module.work(connections, data, device, precision, stop, engine, peak)


@pytest.mark.slow
def test_answer_from_before_the_eager_engine_took_over_reaches_nobody(
    monkeypatch, tiny_data, tiny_architecture
):
    monkeypatch.setattr(pool_module, "work", work_until_capture_fails)
    with WorkerPool(tiny_data, CPU, torch.float32, 1, engine="graph") as pool:
        pool._workers[0].process.kill()
        pool._workers = pool._start_process(2)  # in one process, as on a GPU
        for number in (0, 1):
            pool.start(Job(number, tiny_architecture, RECIPE, seed=number))
        assert isinstance(next_message(pool), EpochDone)
        while pool.engine == "graph":
            pool.wait(0.1)
        pool.answer(0, stop=True)
        said = talk(pool)
        process = pool._workers[0].process
        assert process.is_alive()
    trained = {m.number: m.result for m in said if isinstance(m, Trained)}
    assert trained.keys() == {0, 1}
    assert all(result.is_finished for result in trained.values())
    assert all(len(result.history) == 2 for result in trained.values())


def test_an_error_of_the_eager_engine_that_speaks_of_captures_is_an_error_like_others(make_pool):
    pool = make_pool()
    layer = FaultyConv(4, error="RuntimeError", text="not permitted when stream is capturing")
    pool.start(Job(0, odd(layer), RECIPE, seed=0))
    (failed,) = talk(pool)
    assert failed.detail == "RuntimeError: not permitted when stream is capturing"


def test_importing_a_worker_asks_nothing_of_cuda():
    """Else a process that is forked from one that has it could not use CUDA."""
    code = (
        "import torch\n"
        "names = [n for n in dir(torch._C) if n.startswith('_cuda_')]\n"
        "def refuse(*args, **named): raise SystemExit('CUDA was asked')\n"
        "for name in names: setattr(torch._C, name, refuse)\n"
        "import nas.training.worker\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
