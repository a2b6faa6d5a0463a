"""The README is true: its commands run, its space works, it names every verb."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nas.cli.main import VERBS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M)
# Set-up blocks install; every line after them must run as it stands, in this order.
COMMANDS = [
    line.partition("#")[0].strip()
    for block in SHELL_BLOCKS[2:]
    for line in block.splitlines()
    if line.partition("#")[0].strip()
]
TINY = ["--trials", "1", "--epochs", "1", "--dataset", "digits"]


PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)


def readme_space():
    (space,) = (block for block in PYTHON_BLOCKS if "def suggest" in block)
    return space


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the README's search space, and with pictures to classify."""
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "pyramid.py").write_text(readme_space())
    (tmp_path / "photos").mkdir()
    for name in ("photos/1.png", "scan.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_first_two_blocks_are_one_command_each_for_a_fresh_machine():
    for block, job in zip(SHELL_BLOCKS[:2], ("nas search --budget 20000", "pytest"), strict=True):
        assert len(block.strip().splitlines()) == 1
        assert block.startswith("python -m pip install")
        assert job in block


@pytest.mark.slow
def test_python_of_the_readme_runs(clone):
    examples = [block for block in PYTHON_BLOCKS if "def suggest" not in block]
    assert len(examples) == 2
    for example in examples:
        small = example.replace("trials=12, epochs=3", "trials=1, epochs=1, workers=1")
        small = small.replace("top=3, seeds=5", "top=1, seeds=1, workers=1")
        assert small.count("workers=1") == 2
        exec(compile(small, "README.md", "exec"), {})
    assert (clone / "winner" / "network.py").is_file()
    assert (clone / "own-winner" / "network.py").is_file()


@pytest.mark.slow
def test_every_command_of_the_readme_runs(clone, capsys):
    assert any(c.startswith("nas export") for c in COMMANDS)
    setup = [re.split(r"&&", block)[1].strip() for block in SHELL_BLOCKS[:1]]
    for command in setup + COMMANDS:
        words = shlex.split(command)
        assert words[0] == "nas", command
        tiny = TINY if words[1] == "search" else []
        assert main(words[1:] + tiny) == 0, command
        assert capsys.readouterr().out, command
    assert (clone / "winner" / "network.py").is_file()


def test_studies_in_the_repository_can_be_shown_and_exported(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "studies.db", tmp_path)
    shutil.copytree(ROOT / "studies-artifacts", tmp_path / "studies-artifacts")
    monkeypatch.chdir(tmp_path)
    commands = set(re.findall(r"`(nas show --study [^`]*)`", README))
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
        assert "fewer than 20,000 parameters" in capsys.readouterr().out
        study = command.split()[-1]
        assert main(["export", "--study", study, "--out", study, "--data-dir", "none"]) == 0
        assert (tmp_path / study / "network.py").is_file()


def test_search_space_of_the_readme_is_about_twenty_lines():
    assert len([line for line in readme_space().splitlines() if line.strip()]) <= 24


def test_readme_names_every_verb():
    for verb in VERBS:
        assert f"nas {verb.name}" in README


def test_command_is_also_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "nas", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("nas ")
