"""The main job from the command line, with the real engine: search, interrupt, go on, export.

Where it says `trained_here`, what is tested is not what workers do.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest

from nas.cli.main import main
from nas.storage.counts import count_trained, count_trials
from nas.storage.database import open_storage
from nas.storage.ranking import best_trials
from nas.storage.studies import open_study
from nas.storage.trials import read_trials

SEARCH = ["search", "--budget", "3k", "--dataset", "digits", "--epochs", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records():
    return read_trials(open_study(open_storage(None)))


def test_search_show_and_export_work_in_a_row(folder, capsys):
    assert main([*SEARCH, "--trials", "2"]) == 0
    out = capsys.readouterr().out
    assert "new study blocks-digits-3000" in out
    assert all(r.num_params < 3000 for r in records() if r.candidate)
    command = re.search(r"take it home: nas (.*)", out)[1]
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "compared on 124 validation images" in out
    assert "images differ by at most" in out
    (exported,) = folder.glob("blocks-digits-3000-trial-*")
    check = "import sys; sys.modules['nas'] = None; import network; network.load()"
    subprocess.run([sys.executable, "-c", check], cwd=exported, check=True)


@pytest.mark.slow
def test_search_for_a_device_says_to_take_its_code_home(capsys, trained_here):
    limits = ["--max-flash", "6k", "--max-ram", "6k"]
    assert main(["search", *SEARCH[3:], *limits, "--trials", "1"]) == 0
    command = re.search(r"take it home: nas (.*)", capsys.readouterr().out)[1]
    assert command == "export --format pytorch,c --study blocks-digits-6000"
    main(command.split())
    assert "c: " in capsys.readouterr().out


def test_same_command_again_continues_the_study_and_says_so(capsys, trained_here):
    main([*SEARCH, "--trials", "1"])
    capsys.readouterr()
    assert main([*SEARCH, "--trials", "2"]) == 0
    out = capsys.readouterr().out
    assert "continuing study blocks-digits-3000" in out
    assert "so far: 1 trained" in out
    assert sum(r.is_complete for r in records()) == 2


def advice(out):
    """The command that the output says to go on with."""
    return shlex.split(re.search(r"^go on with: nas (.*)$", out, re.M)[1])


@pytest.mark.slow
def test_time_that_was_too_short_is_told_with_a_command_that_works(capsys):
    assert main([*SEARCH, "--trials", "2", "--timeout", "0.001"]) == 1
    out = capsys.readouterr().out
    assert "no network yet" in out
    assert "--timeout 1m" in out
    assert main(advice(out)) == 0
    assert any(r.result for r in records())


@pytest.mark.slow
def test_search_with_a_time_limit_says_its_plan_and_ends_with_a_network(capsys):
    assert main([*SEARCH, "--trials", "2", "--timeout", "5m"]) == 0
    out = capsys.readouterr().out
    assert "5 min: about 2 candidates, the best for all 2 epochs" in out
    assert main(["export", "--data-dir", "none"]) == 0


@pytest.mark.slow
def test_check_says_what_would_fit_into_a_time(capsys):
    assert main(["check", *SEARCH[1:], "--trials", "2", "--draws", "10", "--timeout", "5m"]) == 0
    assert "5 min: about 2 candidates, the best for all 2 epochs" in capsys.readouterr().out
    assert not list(Path().glob("*.db"))


def test_studies_named_by_the_environment_need_no_option(folder, capsys, monkeypatch, trained_here):
    monkeypatch.setenv("NAS_STORAGE", "sqlite:///mine.db?password=hunter2")
    assert main([*SEARCH, "--trials", "1"]) == 0
    assert main(["show", "best"]) == 0
    assert {path.name for path in folder.iterdir()} == {"mine.db", "mine-artifacts"}
    assert "can read the password" not in capsys.readouterr().out


def test_password_on_the_command_line_is_remarked_on_and_not_repeated(capsys, trained_here):
    assert main([*SEARCH, "--trials", "1", "--storage", "sqlite:///mine.db?password=hunter2"]) == 0
    said = "".join(capsys.readouterr())
    assert "others on this machine can read the password" in said
    assert "set NAS_STORAGE instead" in " ".join(said.split())
    assert "hunter2" not in said


@pytest.mark.slow
def test_search_on_other_terms_is_refused_and_changes_nothing(folder, capsys, trained_here):
    main([*SEARCH, "--trials", "1", "--study", "s"])
    before = [(r.number, r.state) for r in records()]
    capsys.readouterr()
    assert main([*SEARCH, "--trials", "9", "--study", "s", "--budget", "4000"]) == 2
    assert "--budget was 3000, now it is 4000" in capsys.readouterr().err
    assert main([*SEARCH, "--trials", "9", "--study", "s", "--split-seed", "1"]) == 2
    assert "--split-seed changed" in capsys.readouterr().err
    assert [(r.number, r.state) for r in records()] == before


@pytest.mark.slow
def test_search_begins_with_the_best_of_another_study_and_only_once(folder, trained_here):
    main([*SEARCH, "--trials", "2", "--study", "old"])
    old = [r.params for r in best_trials(open_study(open_storage(None)))]
    again = [*SEARCH, "--budget", "4k", "--study", "new", "--warm-start", "old"]
    for trials in ("1", "3"):
        assert main([*again, "--trials", trials]) == 0
    new = [r.params for r in records()]
    assert new[: len(old)] == old
    assert all(new.count(params) == 1 for params in old)


def test_json_prints_nothing_but_json_on_standard_output(capsys, trained_here):
    assert main([*SEARCH, "--trials", "1", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    happened = [event["event"] for event in events if event["event"] != "note"]
    assert happened[0] == "search_started"
    assert happened[-1] == "search_ended"
    assert events[-1]["best_trial"] is not None
    assert events[-1]["reason"] is None


def test_quiet_prints_the_summary_alone(capsys, trained_here):
    assert main([*SEARCH, "--trials", "1", "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_hopeless_search_ends_with_a_sentence_and_exit_code_1(folder, capsys):
    (folder / "big.py").write_text(
        '"""Too big, but for one."""\n'
        "from nas import Architecture, Candidate, Flatten, Linear, Recipe\n"
        "def suggest(trial, task):\n"
        "    width = trial.suggest_int('width', 1, 10**6)\n"
        "    layers = [Flatten(), Linear(width), Linear(task.num_classes)]\n"
        "    return Candidate(Architecture(task.input_shape, layers), Recipe())\n"
    )
    code = main([*SEARCH, "--space", "./big.py", "--max-rejected", "5"])
    assert code == 1
    assert "5 proposals in a row were turned away before training" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupted_search_closes_its_trial_and_can_go_on(folder, name, code):
    long = [sys.executable, "-m", "nas", *SEARCH, "--epochs", "10000", "--pruner", "none"]
    # A process started in the background may ignore Ctrl-C: give it back its meaning.
    process = subprocess.Popen(
        [*long, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for line in process.stdout:
        if json.loads(line)["event"] == "epoch_ended":
            break
    os.kill(process.pid, getattr(signal, name))
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert json.loads(rest.splitlines()[-1])["why"] == "interrupted"
    last = records()[-1]
    assert (last.reason, last.state.name) == ("interrupted", "FAIL")
    assert not any(r.outcome == "unfinished" for r in records())


@pytest.mark.slow
def test_two_searches_that_start_at_once_share_a_study_and_train_nothing_twice(folder):
    command = [sys.executable, "-m", "nas", *SEARCH, "--trials", "6", "--workers", "1", "--quiet"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    progress = count_trials(open_study(open_storage(None)))
    num_trained = count_trained(progress.counts)
    assert num_trained in (6, 7)  # so many processes less one may train more than were asked for
    assert not progress.running
    trained = [r for r in records() if r.number in progress.trained]
    assert len({r.fingerprint for r in trained}) == num_trained


@pytest.mark.slow
def test_search_in_a_study_that_is_deleted_ends_with_one_line(folder):
    command = [sys.executable, "-m", "nas", *SEARCH, "--trials", "999", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if json.loads(line)["event"] == "trial_ended":
            break
    optuna.delete_study(study_name="blocks-digits-3000", storage=open_storage(None))
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 3
    assert "Traceback" not in errors
    assert "somebody deleted it" in errors.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 1, 2.5])
def test_interrupt_while_the_search_starts_ends_it_without_a_traceback(seconds):
    # To the whole group, as a terminal sends it: also to the processes that are just starting.
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *SEARCH, "--epochs", "10000"], start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not psutil.Process(process.pid).children():  # the first of those that are starting
        time.sleep(0.05)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_faulty_start_of_a_space_is_refused_before_anything_is_written(folder, capsys):
    text = (
        '"""Starts outside its own range."""\n'
        "import nas\n"
        "def start(task):\n"
        "    return {'width': 99}\n"
        "def suggest(trial, task):\n"
        "    width = trial.suggest_int('width', 1, 8)\n"
        "    layers = [nas.Conv(width), nas.GlobalAvgPool(), nas.Flatten()]\n"
        "    layers.append(nas.Linear(task.num_classes))\n"
        "    return nas.Candidate(nas.Architecture(task.input_shape, layers), nas.Recipe())\n"
    )
    (folder / "mine.py").write_text(text)
    assert main([*SEARCH, "--space", "./mine.py"]) == 2
    assert "width = 99 is not within 1 to 8" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir() if p.suffix != ".py"] == []


def test_image_size_without_a_folder_is_refused(folder, capsys):
    assert main(["search", "--budget", "3k", "--image-size", "16"]) == 2
    assert "--image-size is for folders" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_mnist_search_reaches_a_good_network_and_opens_no_test_image(mnist_dir, folder):
    """One real epoch, in a process that reports every file it opens."""
    script = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda e, a: e == 'open' and opened.append(str(a[0])))\n"
        "from nas.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "tests = [p for p in opened if 't10k' in p]\n"
        "print('opened', tests, sum('train-images' in p for p in opened))\n"
        "sys.exit(code)\n"
    )
    arguments = ["search", "--budget", "5000", "--dataset", "mnist", "--data-dir", str(mnist_dir)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--trials", "1", "--epochs", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.search(r"opened \[\] [1-9]", done.stdout), done.stdout
    (best,) = [r for r in records() if r.is_complete]
    assert best.valid_accuracy > 0.9
    assert best.num_params < 5000
