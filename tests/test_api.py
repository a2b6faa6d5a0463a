"""nas from Python: searches, results, certificates and exports as values."""

from __future__ import annotations

import ast
import inspect
import json
import linecache
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import nas
from nas import api
from nas.api import searches
from nas.certification.certify import Certification
from nas.cli.main import COMMAND
from nas.data import source_of, split
from nas.reports import annotator
from nas.reports.repetition import repetition
from nas.searching.config import SearchConfig
from nas.searching.events import EpochEnded, Note, SearchEnded, SearchStarted, TrialEnded
from nas.spaces.loader import load_space
from nas.storage.artifacts import WeightsStore, default_artifact_dir
from nas.storage.studies import space_source

ROOT = Path(__file__).parents[1]
QUICK = {"budget": 2_000, "dataset": "digits", "trials": 1, "epochs": 2, "workers": 1}


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/s.db"


@pytest.mark.slow
def test_search_certify_and_export_work_in_a_row(storage, tmp_path):
    events = []
    study = nas.search(**QUICK, storage=storage, callback=events.append)
    kinds = [type(event) for event in events if not isinstance(event, Note)]
    assert kinds[0] is SearchStarted
    assert kinds[-1] is SearchEnded
    assert {EpochEnded, TrialEnded} < set(kinds)
    assert study.ended == events[-1]

    best = study.best
    assert best.architecture.num_params == best.num_params < 2_000
    assert best.recipe.epochs == len(best.history) == 2
    assert best.accuracy == best.history[-1].valid_accuracy
    (row,) = study.leaderboard()
    assert (row["number"], row["accuracy"], row["epochs"]) == (best.number, best.accuracy, 2)

    data = split(source_of("digits", data_dir=tmp_path).training_images(), Fraction(1, 12), 0)
    images, labels = data.images[data.valid_index], data.labels[data.valid_index]
    scores = best.model()(best.normalise(images))
    assert (scores.argmax(1) == labels).double().mean().item() == pytest.approx(best.accuracy)

    events = []
    certified = nas.certify(study, top=1, seeds=1, workers=1, callback=events.append)
    lines = [event.text for event in events if isinstance(event, Note)]
    assert certified.best.number == best.number
    assert 0 < certified.runs[-1].accuracy <= 1
    assert any("the test images are opened" in line for line in lines)

    run = certified.runs[-1]
    done = nas.export(study, tmp_path / "certified", certified=True)
    assert (done.provenance.trial, done.accuracy) == (best.number, None)
    kept = WeightsStore(study.optuna_study, default_artifact_dir(storage)).read(run.artifact_id)
    written = load_file(done.folder / "weights.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in kept.items())
    text = f"{run.accuracy:.1%} of 304 test images, trained on all 1,493 training images"
    assert text in " ".join((done.folder / "network.py").read_text().split())
    assert f"As exported: {text}" in (done.folder / "README.md").read_text()

    done = nas.export(best, tmp_path / "winner")
    assert done.folder == tmp_path / "winner"
    assert done.accuracy == pytest.approx(best.accuracy)

    again = nas.load_study(storage=storage)
    assert (again.name, again.best.number) == (study.name, best.number)
    assert nas.list_studies(storage=storage) == [study.name] == ["blocks-digits-2000"]
    assert nas.search(**QUICK, storage=storage, callback=events.append).best.number == best.number
    assert len(study.trials) == study.best.number + 1


@pytest.mark.slow
def test_export_of_certified_weights_needs_a_certificate(storage, tmp_path, trained_here):
    study = nas.search(**QUICK, storage=storage, callback=print)
    for subject in (study, study.best):
        with pytest.raises(nas.NasError, match=r"certif.+ nas\.certify\(study='blocks-digits-2000"):
            nas.export(subject, tmp_path / "winner", certified=True)
    assert not (tmp_path / "winner").exists()


def suggest_one(trial, task):
    """A space of one parameter."""
    width = trial.suggest_int("width", 1, 9)
    layers = [nas.Conv(width), nas.GlobalAvgPool(), nas.Flatten(), nas.Linear(task.num_classes)]
    return nas.Candidate(nas.Architecture(task.input_shape, layers), nas.Recipe(epochs=task.epochs))


def test_space_may_be_a_function(storage, trained_here):
    study = nas.search(**QUICK, space=suggest_one, storage=storage, callback=lambda event: None)
    assert study.name == "suggest_one-digits-2000"
    assert study.best.params.keys() == {"width"}
    assert "A space of one parameter" in space_source(study.optuna_study)
    with pytest.raises(nas.NasError, match="the space of a function in Python: give that one"):
        study.save_space()
    assert repetition(study.optuna_study) is None


SPACE_FILE = """# coding: latin-1
import nas

# Größe
def suggest(trial, task):
    layers = [nas.Conv(trial.suggest_int("width", 1, 9)), nas.GlobalAvgPool(), nas.Flatten()]
    architecture = nas.Architecture(task.input_shape, [*layers, nas.Linear(task.num_classes)])
    return nas.Candidate(architecture, nas.Recipe(epochs=task.epochs))
"""


@pytest.mark.slow
def test_study_goes_on_with_the_space_file_that_it_keeps(
    storage, trained_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path, given = tmp_path / "one.py", {**QUICK, "space": "./one.py", "callback": print}
    path.write_text(SPACE_FILE, encoding="latin-1")
    nas.search(**given, storage=storage)
    path.write_text(SPACE_FILE.replace("9", "8"), encoding="latin-1")
    words = (
        r"the text of the space file changed\. .*`nas\.load_study\('one-.*save_space\(\)` writes"
    )
    with pytest.raises(nas.NasError, match=words):
        nas.search(**given, storage=storage)
    study = nas.load_study("one-digits-2000", storage=storage)
    assert " --space ./one.py " in repetition(study.optuna_study)
    with pytest.raises(nas.NasError, match=r"one\.py' exists: name another file"):
        study.save_space()
    with pytest.raises(nas.NasError, match=r"must end in \.py"):
        study.save_space("one.txt")
    assert study.save_space(force=True) == Path("one.py")
    assert path.read_text(encoding="latin-1") == SPACE_FILE
    again = nas.search(**given | {"trials": QUICK["trials"] + 1}, storage=storage)
    assert len(again.trials) > len(study.trials) - 1


def test_function_whose_text_is_not_at_hand_is_known_by_its_code(storage, monkeypatch):
    # As Python 3.13 keeps the text of `python -c`, which is not that of the function.
    line = "def suggest(trial, task): ...\n"
    monkeypatch.setitem(linecache.cache, "<string>", (len(line), None, [line], "<string>"))
    made = {}
    for number in (1, 2):
        scope = {"nas": nas}
        exec(f"def suggest(trial, task):\n    return {number}\n", scope)
        made[number] = load_space(scope["suggest"]).sha256
    assert made[1] != made[2]


def test_certification_that_can_write_no_notes_says_so_and_ends_well(
    storage, monkeypatch, trained_here
):
    def fail(study):
        raise OSError("the disk is full")

    study = nas.search(**QUICK, storage=storage, callback=lambda event: None)
    monkeypatch.setattr(annotator, "annotate", fail)
    monkeypatch.setattr(Certification, "run_honest", lambda self: None)
    events = []
    assert nas.certify(study, top=1, seeds=1, callback=events.append).best is None
    assert events[-1] == Note("no new notes in study blocks-digits-2000: OSError: the disk is full")


@pytest.mark.parametrize("given", [{}, {"budget": None}])
def test_flash_limits_parameters_where_no_budget_is_given(given):
    config = searches._config(None, given | {"max_flash": 16_000})
    assert (config.budget, config.max_flash) == (16_000, 16_000)
    assert searches._config(None, given | {"max_flash": 2 * 10**9}).budget == 10**9


def test_results_say_what_they_are(storage, trained_here):
    study = nas.search(**QUICK, storage=storage, callback=lambda event: None)
    assert re.fullmatch(r"<StudyResult 'blocks-digits-2000': best \d\d?\.\d%>", repr(study))
    assert re.fullmatch(r"<TrialResult \d of 'blocks-digits-2000': .*%>", repr(study.best))


def test_check_says_what_fits_and_calls_back_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    found = nas.check(budget=3_000, dataset="digits", draws=20, trials=2, workers=1,
                      timeout="1m", callback=seen.append)  # fmt: skip
    assert seen[0].forecast is None
    assert seen[0].stats == found.stats
    assert found.stats.num_drawn == 20
    assert found.forecast.seconds_each > 0
    assert found.plan.seconds_left == 60
    assert not list(tmp_path.iterdir())


def test_ladder_searches_under_each_budget(storage, trained_here):
    options = {name: value for name, value in QUICK.items() if name != "budget"}
    found = nas.ladder([3_000, 1_000], callback=lambda event: None, storage=storage, **options)
    assert found.budgets == (1_000, 3_000)
    assert [study.name for study in found.studies] == ["blocks-digits-1000", "blocks-digits-3000"]
    assert len(found.points) >= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "budget or max_flash is required, such as budget=20_000"),
        ({"budget": None}, "budget or max_flash is required, such as budget=20_000"),
        ({"max_flash": "many"}, "max_flash 'many' is no whole number from 1 to "),
        ({"max_flash": 0}, "max_flash 0 is no whole number from 1 to "),
        ({"bugdet": 5}, "bugdet is no keyword of a search: did you mean budget?"),
        ({"budget": "many"}, "budget 'many' is no whole number from 1 to 1,000,000,000"),
        ({"budget": True}, "budget True is no whole number"),
        ({"budget": 9, "trials": 0}, "trials 0 is no whole number from 1 to 1,000,000"),
        ({"budget": 9, "pruner": "x"}, "pruner 'x' is unknown: there are squeezed, median, none"),
        ({"budget": 9, "timeout": "soon"}, "timeout 'soon' is no time"),
        ({"budget": 9, "timeout": -1}, "timeout -1 is no time"),
        ({"budget": 9, "dataset": "digits"}, "budget 9 is too small"),
        ({"budget": 9, "space": "nope"}, "space 'nope' is unknown"),
    ],
    ids=str,
)
def test_bad_keyword_is_told_in_one_line_and_nothing_is_written(options, message, storage):
    with pytest.raises(nas.NasError, match=re.escape(message)) as error:
        nas.search(**options)
    assert "\n" not in str(error.value)
    assert not list(Path().iterdir())


def test_study_that_is_not_there_is_refused(storage):
    with pytest.raises(nas.NasError, match="no studies in"):
        nas.load_study("mine", storage=storage)


def test_keywords_and_defaults_are_those_of_the_command_line():
    with COMMAND.commands["search"].make_context("search", ["--budget", "9"]) as context:
        given = context.params
    fields_ = {field.name: field.default for field in fields(SearchConfig)}
    assert fields_.pop("budget") is MISSING
    assert {name: given[name] for name in fields_} == fields_
    assert given.keys() - fields_.keys() == {"budget", "json", "quiet", "tensorboard"}


def test_no_text_for_readers_of_both_kinds_names_an_option_of_the_command_line():
    """`nas.errors.option` names it as it is given, in Python or in a shell."""
    of_shells = {"toolchain.py", "card.py", "html.py"}  # options of other programs
    found = [
        (path.name, node.value)
        for path in (ROOT / "nas").rglob("*.py")
        if path.parent.name != "cli" and path.name not in of_shells
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"(?<!`)--[a-z]", node.value)
        and "\n" not in node.value
    ]
    of_others = {"--shm-size", "optuna storage upgrade --storage"}
    assert [text for _, text in found if not any(o in text for o in of_others)] == []


def test_package_lists_the_api_each_with_a_docstring_that_shows_a_call():
    assert {*api.__all__, "SearchConfig", "NasError", "Conv"} < set(dir(nas))
    for name in set(api.__all__) - {"dashboard", "list_spaces", "list_studies"}:
        assert f"nas.{name}(" in inspect.getdoc(getattr(nas, name)), name


SCRIPT = """
import nas
study = nas.search(budget=2_000, dataset="digits", trials=2, epochs=1, workers=2,
                   storage="sqlite:///s.db", callback=lambda event: None)
print("main", __name__, study.best.num_params < 2_000)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script without a guard", "standard input"])
def test_workers_do_not_import_the_main_module(tmp_path, way):
    (tmp_path / "search.py").write_text(SCRIPT)
    is_script = way == "script without a guard"
    done = subprocess.run(
        [sys.executable, "search.py" if is_script else "-"], cwd=tmp_path, check=True,
        input=None if is_script else SCRIPT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout == "main __main__ True\n"  # once, not in each worker


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "examples" / "digits.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = json.dumps([cell.get("outputs") for cell in notebook.cells])
    assert "num_params" in shown
    assert (tmp_path / "digits-winner" / "network.py").is_file()
