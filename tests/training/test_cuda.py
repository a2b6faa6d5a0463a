"""Streams and waits of a GPU, counted without one."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
import torch

from nas.training import cuda

GPU = torch.device("cuda:0")


@pytest.fixture
def streams(monkeypatch):
    """The streams that were asked for."""
    made = []

    class Stream:
        def __init__(self, device):
            made.append(device)

        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext(stream))
    return made


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_forty_trainings_of_a_thread_ask_for_one_stream(streams):
    used = []

    def serve():
        for _ in range(40):
            with cuda.own_stream(GPU) as stream:
                used.append(stream)

    in_a_thread(serve)
    in_a_thread(serve)
    assert streams == [GPU, GPU]  # one a thread
    assert len(set(map(id, used[:40]))) == 1
    assert used[0] is not used[40]


def test_a_cpu_needs_no_stream(streams):
    with cuda.own_stream(torch.device("cpu")):
        pass
    assert streams == []


class FakeGraph:
    """Records how it was captured; its end fails where that is asked for."""

    end_error: Exception | None = None

    def __init__(self):
        self.said = []

    def register_generator_state(self, generator):
        self.said.append("generator")

    def capture_begin(self, pool, capture_error_mode):
        self.said.append((pool, capture_error_mode))

    def capture_end(self):
        self.said.append("end")
        if self.end_error is not None:
            raise self.end_error


@pytest.fixture
def graphs(monkeypatch):
    made = []

    def make():
        made.append(FakeGraph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    handles = iter(range(100))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    monkeypatch.setattr(cuda, "_OWN", threading.local())
    return made


def test_all_graphs_of_a_thread_live_in_one_memory(graphs):
    generator = torch.Generator()
    for _ in range(3):
        cuda.capture(lambda: None, generator)
    keeper, *others = graphs
    assert keeper.said == [(0, "thread_local"), "end"]
    assert [graph.said for graph in others] == [["generator", (0, "thread_local"), "end"]] * 3
    in_a_thread(lambda: cuda.capture(lambda: None, generator))
    assert graphs[-1].said[1][0] == 1  # another thread, another memory


def test_the_error_of_a_capture_is_not_replaced_by_that_of_its_end(graphs, monkeypatch):
    cuda.capture(lambda: None, torch.Generator())
    monkeypatch.setattr(FakeGraph, "end_error", RuntimeError("capture was invalidated"))

    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        cuda.capture(fail, torch.Generator())


def test_float32_is_true_float32_in_convolutions_too(monkeypatch):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        cuda.use_true_float32()
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
