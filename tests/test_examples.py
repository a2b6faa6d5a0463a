"""The scripts of `examples/` run, with fewer and shorter trainings. The notebook: test_api.py."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tests.reports.test_live import STORY

ALL = sorted(Path(__file__).parents[1].glob("examples/*.py"))
CALLBACKS = ("mlflow_callback", "wandb_callback")  # they need what the tests do not install
EXAMPLES = [path for path in ALL if path.stem not in CALLBACKS]
SHORT = {"trials=6, epochs=8": "trials=2, epochs=1", "top=2, seeds=2": "top=1, seeds=1"}


def test_every_script_says_how_it_is_run():
    assert len(EXAMPLES) == 3
    for path in ALL:
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_logs_each_training_and_ends_its_run(name, monkeypatch):
    library = MagicMock()
    for module in ("mlflow", "mlflow.entities", "wandb"):
        monkeypatch.setitem(sys.modules, module, library)
    (path,) = (path for path in ALL if path.stem == name)
    script = runpy.run_path(str(path))
    (logger,) = (made() for what, made in script.items() if what.endswith("Logger"))
    for event in STORY:
        logger(event)
    assert logger.runs == {}
    called = str(library.mock_calls)
    for words in ("trial-1", "num_params", "12345", "valid_accuracy", "0.93", "trained"):
        assert words in called


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    script = path.read_text(encoding="utf-8")
    for long, short in SHORT.items():
        script = script.replace(long, short)
    assert "trials=2, epochs=1" in script
    (tmp_path / path.name).write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for folder in re.findall(r'nas.export\(\w+, "([^"]+)"', script):
        assert (tmp_path / folder / "network.py").is_file()
