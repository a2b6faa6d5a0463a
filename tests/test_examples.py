"""The scripts of `examples/` run, with fewer and shorter trainings. The notebook: test_api.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ALL = sorted(Path(__file__).parents[1].glob("examples/*.py"))
CALLBACKS = ("mlflow_callback", "wandb_callback")  # they need what the tests do not install
EXAMPLES = [path for path in ALL if path.stem not in CALLBACKS]
SHORT = {"trials=6, epochs=8": "trials=2, epochs=1", "top=2, seeds=2": "top=1, seeds=1"}


def test_every_script_says_how_it_is_run():
    assert len(EXAMPLES) == 3
    for path in ALL:
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8")


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
