"""The verb `ladder`: a search under each of several budgets, and what came of all of them."""

from __future__ import annotations

import os
import re
import signal
from types import SimpleNamespace

import pytest

from nas.cli.main import main
from nas.errors import DivergedError
from nas.metrics import percent
from nas.storage.database import open_storage
from nas.storage.ranking import best_trials
from nas.storage.studies import open_study, study_names
from nas.storage.trials import read_trials
from tests.fakes import FakePool

LADDER = ["ladder", "--dataset", "digits", "--epochs", "1", "--workers", "1", "--sampler", "random"]
SPACE = """\"\"\"As wide as the budget allows, or less.\"\"\"
from nas import Architecture, Candidate, Conv, Flatten, GlobalAvgPool, Linear, Recipe, fit
def start(task):
    return {"share": 1.0}
def suggest(trial, task):
    share = trial.suggest_float("share", 0.3, 1.0)
    def make(width):
        layers = [Conv(width(1.0)), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
        return Architecture(task.input_shape, layers)
    return Candidate(fit(make, share, task), Recipe(epochs=task.epochs))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SPACE)
    return tmp_path


class Pool(FakePool):
    """The larger the better; remembers the jobs of every command."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def pools(monkeypatch):
    """The pool of each command, the last one last."""
    made = []

    def make(*arguments):
        made.append(Pool())
        return made[-1]

    monkeypatch.setattr("nas.searching.setup.WorkerPool", make)
    return made


def climb(*options, budgets="100,200,400", space="./mine.py", trials="2"):
    return main([*LADDER, "--space", space, "--budgets", budgets, "--trials", trials, *options])


def study_of(name):
    return open_study(open_storage(None), name)


def records(name):
    return read_trials(study_of(name))


def written(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".py")


@pytest.mark.slow
def test_ladder_really_searches_under_each_budget(folder, capsys):
    """With the real engine, once."""
    assert climb(budgets="1k,300", space="blocks", trials="1") == 0
    names = ["blocks-digits-1000", "blocks-digits-300"]
    assert sorted(study_names(open_storage(None))) == names
    for name, budget in zip(names, (1000, 300), strict=True):
        (best,) = best_trials(study_of(name))
        assert best.num_params < budget
        assert 0 < best.valid_accuracy <= 1
    assert re.search(r"^ *1,000 +\d+\.\d% ", capsys.readouterr().out, re.MULTILINE)


def test_every_budget_has_a_study_of_its_own_from_the_smallest_on(pools, capsys):
    assert climb(budgets="400,100,200,100") == 0
    out = capsys.readouterr().out
    assert sorted(study_names(open_storage(None))) == [
        "mine-digits-100", "mine-digits-200", "mine-digits-400",
    ]  # fmt: skip
    for budget in (100, 200, 400):
        found = [r for r in records(f"mine-digits-{budget}") if r.is_complete]
        assert len(found) == 2
        assert all(r.num_params < budget for r in found)
    (pool,) = pools
    assert len(pool.jobs) == 6
    assert max(pool.trained[:2]) < 100 < max(pool.trained[2:4]) < 200 < max(pool.trained[4:])
    assert [out.index(f"mine-digits-{budget}") for budget in (100, 200, 400)] == sorted(
        out.index(f"mine-digits-{budget}") for budget in (100, 200, 400)
    )


def test_table_names_the_best_under_each_budget_and_its_study(pools, capsys):
    climb()
    out = capsys.readouterr().out
    for budget in (100, 200, 400):
        best = best_trials(study_of(f"mine-digits-{budget}"))[0]
        row = [
            str(budget), percent(best.valid_accuracy, 124), str(best.num_params),
            f"{best.result.epochs}", str(best.number), f"mine-digits-{budget}",
        ]  # fmt: skip
        assert row in [line.split() for line in out.splitlines()]
    assert "parameters" in out.splitlines()[-2]


@pytest.mark.slow
def test_second_run_goes_on_and_trains_nothing_anew(pools, capsys):
    climb()
    table = capsys.readouterr().out.partition("validation accuracy under each budget")[2]
    before = {b: records(f"mine-digits-{b}") for b in (100, 200, 400)}
    assert climb() == 0
    assert capsys.readouterr().out.partition("validation accuracy under each budget")[2] == table
    assert pools[1].jobs == []
    for budget, was in before.items():
        now = records(f"mine-digits-{budget}")
        assert [(r.number, r.outcome) for r in now] == [(r.number, r.outcome) for r in was]


@pytest.mark.slow
def test_more_trials_or_budgets_are_added_to_what_is_there(pools):
    climb(budgets="100,200")
    assert climb(budgets="100,200,400", trials="3") == 0
    assert len(pools[1].jobs) == 1 + 1 + 3


def test_later_budget_begins_with_the_best_of_the_one_below_made_wider(pools):
    climb(budgets="1k,2k", trials="4")
    best = best_trials(study_of("mine-digits-1000"))
    above = records("mine-digits-2000")
    assert [r.params for r in above[:3]] == [r.params for r in best[:3]]
    assert above[3].params != best[3].params  # no more than three are taken over
    for smaller, wider in zip(best[:3], above, strict=False):
        assert wider.num_params == pytest.approx(2 * smaller.num_params, abs=40)


def test_first_budget_begins_with_the_start_of_the_space(pools):
    climb(budgets="100,200", trials="1")
    assert records("mine-digits-100")[0].params == {"share": 1.0}


def test_summaries_alone_are_printed_when_quiet(pools, capsys):
    climb("--quiet")
    out = capsys.readouterr().out
    assert "first epoch took" not in out
    assert "validation accuracy under each budget" in out


def test_ladder_that_finds_nothing_ends_with_exit_code_1(monkeypatch, capsys):
    def diverge(_):
        raise DivergedError(1)

    monkeypatch.setattr("nas.searching.setup.WorkerPool", lambda *arguments: Pool(score=diverge))
    assert climb(budgets="100,200", trials="1") == 1
    assert "no network yet" in capsys.readouterr().out


# What is refused


@pytest.mark.parametrize(
    "text", ["", ",", "1k,", ",1k", "1k,,2k", "1k 2k", "1k, 2k", "1k;2k", "1k,x", "0", "-5", "1e3"]
)
def test_bad_budgets_are_refused_in_one_line_and_nothing_is_written(text, folder, capsys):
    assert main(["ladder", f"--budgets={text}", "--dataset", "digits"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"nas ladder: --budgets [^\n]+such as 20000, 20_000 or 20k\n", err)
    assert written(folder) == []


def test_budget_that_is_too_small_is_refused_before_any_study_is_made(pools, folder, capsys):
    assert climb(budgets="400,28") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"nas: [^\n]*28 is too small[^\n]*\n", err)
    assert written(folder) == []
    assert pools == []


def test_ladder_has_no_option_for_one_study_or_budget(capsys):
    for option in ("--study", "--budget", "--warm-start"):
        assert main(["ladder", option, "100"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_study_that_cannot_go_on_is_found_before_any_training(pools, capsys):
    climb("--epochs", "2", budgets="400", trials="1")
    capsys.readouterr()
    assert climb() == 2
    line = capsys.readouterr().err
    assert re.fullmatch(r"nas: study 'mine-digits-400' cannot go on: --epochs was 2[^\n]*\n", line)
    assert pools[-1].jobs == []


def test_study_that_cannot_go_on_leaves_the_storage_as_it_was(pools):
    climb("--epochs", "2", budgets="400", trials="1")
    assert climb() == 2
    assert study_names(open_storage(None)) == ["mine-digits-400"]


def test_space_whose_ranges_move_with_the_budget_is_climbed_all_the_same(pools, folder):
    (folder / "moving.py").write_text(
        '"""Widths from a tenth of what fits."""\n'
        "from nas import Architecture, Candidate, Conv, Flatten, GlobalAvgPool, Linear, Recipe\n"
        "def suggest(trial, task):\n"
        "    most = task.max_params // 25\n"
        "    width = trial.suggest_int('width', most // 2, most)\n"
        "    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]\n"
        "    return Candidate(Architecture(task.input_shape, layers), Recipe())\n"
    )
    assert climb(budgets="200,2000", space="./moving.py", trials="1") == 0


# Ctrl-C


@pytest.mark.slow
def test_interrupted_ladder_shows_what_it_has_and_how_to_go_on(pools, capsys, monkeypatch):
    class Interrupted(Pool):
        def start(self, job):
            super().start(job)
            if len(self.jobs) == 4:  # of the second budget
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("nas.searching.setup.WorkerPool", lambda *arguments: Interrupted())
    before = signal.getsignal(signal.SIGINT)
    assert climb() == 130
    assert signal.getsignal(signal.SIGINT) is before
    out = capsys.readouterr().out
    assert "validation accuracy under each budget" in out
    command = re.search(r"^go on with: nas (ladder .*)$", out, re.MULTILINE)[1]
    assert [r.outcome for r in records("mine-digits-200")][-1] == "interrupted"
    assert records("mine-digits-400") == []
    monkeypatch.setattr("nas.searching.setup.WorkerPool", lambda *arguments: Pool())
    assert main(command.split()) == 0
    for budget in (100, 200, 400):
        assert sum(r.is_complete for r in records(f"mine-digits-{budget}")) == 2


@pytest.mark.slow
def test_time_limit_is_shared_by_the_budgets(pools, monkeypatch, capsys):
    """Each has its part, though the first alone could use all of the time."""
    clock = [1000.0]
    monkeypatch.setattr("nas.searching.stop.time", SimpleNamespace(monotonic=lambda: clock[0]))
    train = Pool._train

    def slowly(self, job):
        clock[0] += 4.0
        yield from train(self, job)

    monkeypatch.setattr(Pool, "_train", slowly)
    assert climb("--timeout", "60", budgets="1k,2k,4k", trials="100") == 0
    for budget in (1000, 2000, 4000):
        in_time = [r for r in records(f"mine-digits-{budget}") if r.is_complete]
        assert 3 <= len(in_time) <= 6  # some are drawn twice
    out = capsys.readouterr().out
    assert out.count("the time limit of 20 s is reached") == 3
    assert "go on with: nas ladder" in out
