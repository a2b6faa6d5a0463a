"""Certification from the command line, with the real engine: search, certify, interrupt, look."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from nas.candidates.candidate import Candidate
from nas.certification.records import Protocol, openings, read_runs
from nas.cli.main import main
from nas.metrics import percent
from nas.storage.database import open_storage
from nas.storage.ranking import best_trials, find_trial
from nas.storage.studies import open_study
from nas.storage.trials import read_trials
from tests.fakes import add_trial

DIGITS = ["search", "--budget", "3k", "--dataset", "digits", "--epochs", "2", "--trials", "3",
          "--quiet"]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study():
    return open_study(open_storage(None))


def test_search_certify_and_show_work_in_a_row(capsys, trained_here):
    assert main(DIGITS) == 0
    capsys.readouterr()
    assert main(["certify", "--top", "2", "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    compared = {int(number) for number in re.findall(r"^trial (\d+), seed 1 of 2: ", out, re.M)}
    done = {r.number for r in best_trials(study())}
    assert len(compared) == 2
    assert compared <= done
    runs = {
        protocol: {t: read_runs(study(), protocol, t) for t in compared} for protocol in Protocol
    }
    assert all(len(some) == 2 for some in runs[Protocol.VALIDATION].values())
    (winner,) = [t for t, some in runs[Protocol.HONEST].items() if some]
    assert [len(run.is_right) for run in runs[Protocol.HONEST][winner]] == [304, 304]
    assert all(run.accuracy > 0.5 for run in runs[Protocol.HONEST][winner])
    assert out.count(": trained, ") == 2
    assert f"by accuracy and loss: trial {winner}\n" in out
    assert len(openings(study())) == 1

    tables = out[out.index("decided on 124 validation images") :]
    assert main(["show"]) == 0
    assert capsys.readouterr().out.endswith(tables)
    assert main(["show", str(winner)]) == 0
    assert "certified, honest: " in capsys.readouterr().out

    assert main(["certify", "--top", "2", "--seeds", "2"]) == 0
    assert capsys.readouterr().out.strip() == tables.strip()  # nothing trained, nothing opened


@pytest.mark.slow
def test_test_images_are_opened_after_the_last_training_and_by_no_search(folder):
    """In a process that says on its standard output when it opens a test image."""
    for part, num in (("train", 24), ("test", 6)):
        for name, value in (("dark", 20), ("light", 200)):
            (folder / "lamps" / part / name).mkdir(parents=True)
            for i in range(num):
                image = Image.new("L", (8, 8), value + i)
                image.save(folder / "lamps" / part / name / f"{i}.png")
    script = (
        "import os, sys\n"
        "test = os.path.join('lamps', 'test')\n"
        "is_test = lambda e, a: e == 'open' and test in str(a[0])\n"
        "sys.addaudithook(lambda e, a: is_test(e, a) and print('OPENED', a[0]))\n"
        "from nas.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def run(*arguments):
        options = ["--data-dir", "data", "--device", "cpu", "--workers", "1"]
        command = [sys.executable, "-u", "-c", script, *arguments, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    images = ["--dataset", "lamps", "--valid-share", "1/4"]
    out = run("search", "--budget", "3k", "--epochs", "1", "--trials", "2", *images)
    assert "OPENED" not in out
    lines = run("certify", "--top", "2", "--seeds", "1").splitlines()
    trained = [i for i, line in enumerate(lines) if re.match(r"trial \d+, seed 1 of 1: ", line)]
    opened = [i for i, line in enumerate(lines) if line.startswith("OPENED")]
    assert len(trained) == 3
    assert max(trained) < min(opened)
    assert sum(lines[i].endswith(".png") for i in opened) >= 12


@pytest.mark.slow
def test_interrupted_certification_keeps_what_is_done_and_says_how_to_go_on():
    assert main([*DIGITS, "--trials", "1"]) == 0
    first = next(r.number for r in read_trials(study()) if r.is_complete)
    candidate = find_trial(study(), first).candidate
    endless = replace(candidate.recipe, epochs=100_000)
    add_trial(study(), Candidate(candidate.architecture, endless), 0.5)
    second = len(read_trials(study())) - 1
    arguments = ["certify", str(first), str(second), "--seeds", "1", "--workers", "1"]
    # A process started in the background may ignore Ctrl-C: give it back its meaning.
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline().startswith(f"trial {first}, seed 1 of 1: ")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert rest.splitlines()[-1] == f"go on with: nas {' '.join(arguments)}"
    (run,) = read_runs(study(), Protocol.VALIDATION, first)
    assert f"{percent(run.accuracy, 124)} (1 seed)" in rest
    assert read_runs(study(), Protocol.VALIDATION, second) == []
    assert openings(study()) == []
