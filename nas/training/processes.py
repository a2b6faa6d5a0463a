"""How a process that trains is started: with what around it, and without what."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType
from typing import Any

# glibc reads these when a process starts. By default it hands every large tensor back to the
# system after each step and takes the page faults again in the next one: 1.4 to 2.3 times slower.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
}


def make_context() -> Any:
    """What starts processes: a server that has loaded torch once forks each, in milliseconds."""
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload(["nas.training.worker"])
    return context


def start_process(context: Any, target: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    """A process that runs `target(*arguments)`, and ends with this one."""
    process = context.Process(target=target, args=arguments, daemon=True)
    # Without the current folder on its path: a file `token.py` there is none of its business.
    added = ALLOCATOR | {"PYTHONSAFEPATH": "1"}
    with _environment(added), _signals_held_back(), _without_main():
        process.start()
    return process


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Keep a Ctrl-C from what is being started: it could not handle one yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from importing the caller's main module, as multiprocessing lets them.

    It may be a script without a guard, a notebook, or standard input; a worker needs nothing of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set what is not set yet, for the processes that are started meanwhile."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
