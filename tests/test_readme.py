"""What the README promises, and how long it may be. That it is true: test_docs.py."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from nas.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M)


def test_first_two_blocks_are_one_command_each_for_a_fresh_machine():
    for block, job in zip(SHELL_BLOCKS[:2], ("nas search --budget 20000", "pytest"), strict=True):
        assert len(block.strip().splitlines()) == 1
        assert block.startswith("python -m pip install")
        assert job in block


def test_readme_has_at_most_a_hundred_lines_and_one_picture():
    assert len(README.splitlines()) <= 100
    assert README.count("![") + README.count("<img ") == 1


def test_picture_is_there_for_screens_and_for_phones():
    files = re.findall(r'src(?:set)?="([^"]+)"', README)
    assert len(files) == 2
    assert all((ROOT / file).is_file() for file in files)


def test_readme_says_how_large_the_installation_is():
    assert "about 6 GB" in README
    assert "https://pytorch.org/get-started/locally/" in README


def test_studies_in_the_repository_can_be_shown_and_exported(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "studies.db", tmp_path)
    shutil.copytree(ROOT / "studies-artifacts", tmp_path / "studies-artifacts")
    monkeypatch.chdir(tmp_path)
    first_page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"`(nas show --study [^`]*)`", first_page))
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
        assert "fewer than 20,000 parameters" in capsys.readouterr().out
        study = command.split()[-1]
        assert main(["export", "--study", study, "--out", study, "--data-dir", "none"]) == 0
        assert (tmp_path / study / "network.py").is_file()


def test_search_space_of_the_docs_is_about_twenty_lines():
    page = (ROOT / "docs" / "own-space.md").read_text(encoding="utf-8")
    (space,) = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    assert len([line for line in space.splitlines() if line.strip()]) <= 24


def test_command_is_also_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "nas", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("nas ")
