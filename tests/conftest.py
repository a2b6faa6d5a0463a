"""Fixtures that several tests share."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

if TYPE_CHECKING:  # torch is loaded by the fixtures that need it
    from nas.candidates.architecture import Architecture
    from nas.data import Dataset, LabelledImages

DATA_BESIDE_REPOSITORY = Path(__file__).parents[2] / "shared" / "data"
os.environ.pop("NAS_STORAGE", None)  # the studies of whoever runs the tests are none of theirs


@event.listens_for(Engine, "connect")
def _leave_the_disk_alone(connection, record):
    """Databases of tests need not survive a power cut; waiting for the disk is most of a commit."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite-golden", action="store_true", help="write the texts that tests compare with"
    )


@pytest.fixture
def golden(request):
    """Compares a text with the file `golden/NAME.txt` beside the test.

    `pytest --rewrite-golden` writes the file: look at the difference before it is committed.
    """

    def compare(name: str, text: str) -> None:
        path = request.path.parent / "golden" / f"{name}.txt"
        if request.config.getoption("--rewrite-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path}: pytest --rewrite-golden writes it"
        assert text == path.read_text(encoding="utf-8")

    return compare


def make_tiny_images(num: int, seed: int) -> LabelledImages:
    """Images of 1x8x8 in 4 classes: noise, with the quadrant of its class brighter."""
    import torch

    from nas.data import LabelledImages

    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (num, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(num) % 4
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[:, top : top + 4, left : left + 4] += 90
    return LabelledImages("tiny", images, labels, ("a", "b", "c", "d"))


def make_tiny_data() -> Dataset:
    """180 tiny images to train on and 60 to validate on."""
    from nas.data import split

    return split(make_tiny_images(240, seed=0), Fraction(1, 4), seed=0)


@pytest.fixture(scope="session")
def tiny_data() -> Dataset:
    return make_tiny_data()


@pytest.fixture(scope="session")
def tiny_architecture() -> Architecture:
    """A network for `tiny_data` with every kind of parameter: 6*9 + 12 + 96*4 + 4 = 454."""
    from nas.candidates.architecture import Architecture
    from nas.candidates.layers import BatchNorm, Conv, Dropout, Flatten, Linear, MaxPool, ReLU

    layers = [Conv(6), BatchNorm(), ReLU(), MaxPool(2), Dropout(0.1), Flatten(), Linear(4)]
    return Architecture((1, 8, 8), layers)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The data directory that holds MNIST; skips the test where there is none."""
    given = os.environ.get("NAS_DATA_DIR")
    data_dir = Path(given) if given else DATA_BESIDE_REPOSITORY
    if not (data_dir / "MNIST" / "raw").is_dir():
        pytest.skip(f"no MNIST/raw in {data_dir}: set NAS_DATA_DIR to a folder that has it")
    return data_dir


@pytest.fixture
def pool():
    """Workers that cost nothing; a test's own fixture of that name takes its place."""
    from tests.fakes import FakePool

    return FakePool()


@pytest.fixture
def trained_here(monkeypatch):
    """Searches and certificates train for real, but here: workers take seconds to start."""
    from tests.fakes import LocalPool

    for module in ("searching.setup", "api.certificates"):
        monkeypatch.setattr(f"nas.{module}.WorkerPool", lambda data, *_: LocalPool(data))


@pytest.fixture
def make_search(tiny_data, tmp_path, pool):
    """Makes a search in one study, with the settings given."""
    import optuna

    from nas.candidates.budget import NO_LIMITS
    from nas.searching.config import SearchConfig
    from nas.spaces.task import Task
    from tests.fakes import LIMIT, make_space, search_in

    study = optuna.create_study(direction="maximize")

    def make(
        space=None, stop=None, max_params=LIMIT, epochs=3, study=study, pool=pool,
        limits=NO_LIMITS, **settings,
    ):  # fmt: skip
        classes = len(tiny_data.classes)
        task = Task(tiny_data.input_shape, classes, max_params, epochs, limits=limits)
        events = []
        search = search_in(
            study,
            space or make_space(),
            task,
            tiny_data,
            SearchConfig(
                budget=1, **{"trials": 5, "sampler": "random", "pruner": "none"} | settings
            ),
            pool,
            tmp_path / "artifacts",
            events.append,
            stop,
        )
        search.events = events
        return search

    return make


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set forward."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture(scope="module")
def dead_pid():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
