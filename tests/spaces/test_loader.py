"""Finding, listing and running search space files, and what is said of broken ones."""

from __future__ import annotations

import sys

import pytest

from nas.errors import InvalidCandidateError, SpaceError
from nas.spaces.loader import load_space, passed_over
from nas.spaces.places import list_spaces
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task

TASK = Task((1, 8, 8), num_classes=10, max_params=20_000, epochs=5)

GOOD = '''\
"""One small network."""

from nas import Architecture, Candidate, Conv, Flatten, GlobalAvgPool, Recipe


def suggest(trial, task):
    layers = [Conv(task.num_classes), GlobalAvgPool(), Flatten()]
    return Candidate(Architecture(task.input_shape, layers), Recipe())
'''
GOOD_SUGGEST_LINE = 6


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`search_spaces` in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    return tmp_path / "search_spaces"


@pytest.fixture
def write(tmp_path):
    """Writes a space file; its path."""

    def write_file(text):
        path = tmp_path / "mine.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def load_error(path):
    with pytest.raises(SpaceError) as error:
        load_space(str(path))
    return one_line(error)


def propose_error(path, task=TASK):
    space = load_space(str(path))
    with pytest.raises(SpaceError) as error:
        space.propose(RandomTrial(), task)
    return one_line(error)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Finding


def test_shipped_space_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = load_space("blocks")
    assert (space.name, space.path.name) == ("blocks", "blocks.py")
    assert space.propose(RandomTrial(), TASK).architecture.num_classes == 10


def test_space_of_the_current_folder_comes_before_a_shipped_one(folder):
    (folder / "blocks.py").write_text(GOOD)
    space = load_space("blocks")
    assert space.source == GOOD
    assert space.path.resolve() == folder / "blocks.py"


def test_default_is_the_shipped_space_whatever_the_current_folder_holds(folder):
    shipped = load_space()
    assert passed_over(shipped) is None
    (folder / "blocks.py").write_text("raise SystemError\n")
    assert load_space().path == shipped.path
    assert passed_over(shipped).resolve() == folder / "blocks.py"


def test_default_space_is_not_passed_over_for_itself(monkeypatch):
    monkeypatch.chdir(load_space().path.parents[1])
    assert passed_over(load_space()) is None


def test_space_is_found_by_path(write):
    path = write(GOOD)
    space = load_space(str(path))
    assert (space.name, space.path, space.source) == ("mine", path, GOOD)


def test_file_name_alone_is_a_path(write, tmp_path, monkeypatch):
    write(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_space("mine.py").name == "mine"


def test_hash_is_that_of_the_text(write):
    first = load_space(str(write(GOOD))).sha256
    assert load_space(str(write(GOOD))).sha256 == first
    assert load_space(str(write(GOOD + "# changed\n"))).sha256 != first


def test_space_may_define_dataclasses(write):
    path = write(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Block:\n    width: int = 3\n"
    )
    path.write_text(path.read_text() + GOOD.partition('"""\n')[2])
    assert load_space(str(path)).propose(RandomTrial(), TASK)


def test_unknown_name_is_refused_with_the_nearest_or_all_there_are(folder):
    (folder / "mine.py").write_text(GOOD)
    with pytest.raises(SpaceError, match=r"space 'block' is unknown .*: did you mean blocks\?$"):
        load_space("block")
    with pytest.raises(SpaceError, match=r"a file is given by its path.*: there are ") as error:
        load_space("xyzzy")
    listed = one_line(error).partition("there are ")[2].split(", ")
    assert {"blocks", "mine"} <= set(listed)


def test_missing_file_is_refused(tmp_path):
    path = tmp_path / "gone.py"
    assert load_error(path) == f"space {path}: no such file"


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    assert "no such file" in load_error(tmp_path)


def test_file_that_is_no_text_is_refused(write):
    path = write("")
    path.write_bytes(b"\xff\xfe\x00")
    assert f"space {path} cannot be read" in load_error(path)


# Listing


def entries():
    return {entry.name: entry for entry in list_spaces()}


def test_listing_shows_first_lines_of_docstrings_by_name(folder):
    (folder / "zebra.py").write_text(GOOD)
    (folder / "ape.py").write_text('"""An ape.\n\nMore of it.\n"""')
    names = [entry.name for entry in list_spaces()]
    assert names == sorted(names)
    assert {"ape", "blocks", "zebra"} <= set(names)
    assert entries()["zebra"].summary == "One small network."
    assert entries()["ape"].summary == "An ape."


def test_listing_runs_nothing(folder):
    (folder / "exit.py").write_text('"""Leaves."""\nraise SystemExit(3)\n')
    (folder / "touch.py").write_text('"""Writes."""\nopen("written", "w").close()\n')
    assert entries()["exit"].summary == "Leaves."
    assert entries()["touch"].summary == "Writes."
    assert not (folder.parent / "written").exists()


@pytest.mark.parametrize("text", ["def suggest(:\n", "\0"])
def test_broken_file_is_listed_as_broken(folder, text):
    (folder / "bad.py").write_text(text)
    assert entries()["bad"].summary.startswith("(broken: ")
    assert "\n" not in entries()["bad"].summary


@pytest.mark.parametrize("text", ["", '""" """', "x = 1"])
def test_file_without_docstring_is_listed_so(folder, text):
    (folder / "bare.py").write_text(text)
    assert entries()["bare"].summary == "(no docstring)"


def test_files_that_start_with_an_underscore_are_no_spaces(folder):
    (folder / "_helper.py").write_text(GOOD)
    assert "_helper" not in entries()


# Files that cannot be loaded


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('"""A."""\n\ndef suggest(:\n', 3, "invalid syntax"),
        ('"""A."""\nx = (1,\n', 2, "was never closed"),
        ('"""A."""\n\nimport no_such_module_of_ours\n', 3, "no_such_module_of_ours"),
        ("from nas import Architektur\n", 1, "Architektur"),
        ("\n\n\n1 / 0\n", 4, "ZeroDivisionError: division by zero"),
        ("import sys\n\nsys.exit(3)\n", 3, "SystemExit: 3"),
        ("from nas import Conv\n\nConv(0)\n", 3, "out_channels"),
        ("def check():\n    raise ValueError('two\\nlines')\n\ncheck()\n", 2, "two lines"),
        ("import json\n\n\njson.loads('{')\n", 4, "JSONDecodeError"),
        ("\n\neval('1 +')\n", 3, "invalid syntax"),
        ('"""A."""\n', 1, "no function suggest(trial, task)"),
        ("suggest = 3\n", 1, "no function suggest(trial, task)"),
    ],
    ids=["syntax", "unclosed", "module", "name", "raises", "exit", "invalid", "two lines",
         "library", "inner syntax", "no suggest", "no function"],
)  # fmt: skip
def test_file_that_cannot_be_loaded_is_one_line_with_its_line(write, text, line, words):
    path = write(text)
    message = load_error(path)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message


def test_null_bytes_are_one_line(write):
    path = write("x = 1\n\0\n")
    assert load_error(path).startswith(f"{path}:")


# Spaces that cannot be used

HEAD = "from nas import *\n\n\ndef suggest(trial, task):\n"  # `suggest` is in line 4


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("    x = 1\n    raise ValueError('no')\n", 6, "suggest raised ValueError: no"),
        ("    raise ValueError('two\\nlines')\n", 5, "ValueError: two lines"),
        ("    import json\n    json.loads('{')\n", 6, "suggest raised JSONDecodeError"),
        ("    import sys\n    sys.exit('bye')\n", 6, "suggest raised SystemExit: bye"),
        ("    return trial.suggest_int('x', 1)\n", 5, "suggest raised TypeError"),
        ("    return suggest(trial, task)\n", 5, "suggest raised RecursionError"),
        ("    pass\n", 4, "must return a nas.Candidate, returned NoneType"),
        ("    return 1, 2\n", 4, "must return a nas.Candidate, returned tuple"),
        ("    return Architecture(task.input_shape, [Flatten(), Linear(10)])\n", 4,
         "must return a nas.Candidate, returned Architecture"),
        ("    return Candidate\n", 4, "must return a nas.Candidate, returned type"),
    ],
    ids=["raises", "two lines", "library", "exit", "wrong call", "recursion", "None", "tuple",
         "architecture", "class"],
)  # fmt: skip
def test_suggest_that_fails_is_one_line_with_its_line(write, body, line, words):
    path = write(HEAD + body)
    message = propose_error(path)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message


def test_suggest_with_other_arguments_is_pointed_at(write):
    path = write("\n\ndef suggest(trial):\n    return None\n")
    assert propose_error(path).startswith(f"{path}:3: suggest raised TypeError")


def test_suggest_that_is_no_plain_function_is_called(write):
    path = write("class Suggest:\n    def __call__(self, trial, task): pass\n\nsuggest = Suggest()")
    assert "returned NoneType" in propose_error(path)


def test_network_with_another_number_of_outputs_is_refused(write):
    path = write(GOOD.replace("task.num_classes", "7"))
    message = propose_error(path)
    assert message.startswith(f"{path}:{GOOD_SUGGEST_LINE}: ")
    assert "7 outputs, the task has 10 classes: use task.num_classes" in message


def test_network_for_another_image_is_refused(write):
    path = write(GOOD.replace("task.input_shape", "(3, 8, 8)"))
    message = propose_error(path)
    assert message.startswith(f"{path}:{GOOD_SUGGEST_LINE}: ")
    assert "(3, 8, 8) images, the task has (1, 8, 8): use task.input_shape" in message


@pytest.mark.parametrize(("proposed", "epochs"), [("19", 5), ("5", 5), ("2", 2)])
def test_epochs_are_cut_to_those_of_the_task(write, proposed, epochs):
    space = load_space(str(write(GOOD.replace("Recipe()", f"Recipe(epochs={proposed})"))))
    assert space.propose(RandomTrial(), TASK).recipe.epochs == epochs


@pytest.mark.parametrize("call", ["Recipe(learning_rate=-1)", "Architecture((1, 8, 8), [])"])
def test_candidate_that_cannot_exist_is_no_fault_of_the_file(write, call):
    space = load_space(str(write(HEAD + f"    return {call}\n")))
    with pytest.raises(InvalidCandidateError):
        space.propose(RandomTrial(), TASK)


def test_interrupt_passes_through(write):
    space = load_space(str(write(HEAD + "    raise KeyboardInterrupt\n")))
    with pytest.raises(KeyboardInterrupt):
        space.propose(RandomTrial(), TASK)


def test_loading_leaves_the_search_path_of_modules_alone(write):
    before = list(sys.path)
    load_space(str(write(GOOD)))
    assert sys.path == before


def test_layer_of_its_own_is_refused_by_name(write):
    text = GOOD.replace("import Architecture", "import Layer, Architecture").replace(
        "\n\ndef suggest", "\n\nclass Odd(Layer):\n    kind = 'odd'\n\n\ndef suggest"
    )
    error = propose_error(write(text.replace("[Conv(", "[Odd(), Conv(")))
    assert "a layer of its own, Odd" in error
    assert "conv" in error


# Where to begin


@pytest.mark.parametrize(
    ("given", "proposals"),
    [
        ("{'width': task.epochs}", [{"width": 5}]),
        ("[{'width': 2}, {'width': 1}]", [{"width": 2}, {"width": 1}]),
        ("{}", [{}]),
        ("[]", []),
    ],
)
def test_space_may_say_where_to_begin(write, given, proposals):
    space = load_space(str(write(GOOD + f"\n\ndef start(task):\n    return {given}\n")))
    assert space.first_proposals(TASK) == proposals


@pytest.mark.parametrize("more", ["", "\n\nstart = {'width': 2}\n"])
def test_space_need_not_say_where_to_begin(write, more):
    assert load_space(str(write(GOOD + more))).first_proposals(TASK) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('x')", "start raised KeyError"),
        ("return [1]", "start must return a dict"),
        ("return [{'width': 1}, None]", "start must return a dict"),
        ("return ({'width': 1},)", "start must return a dict"),
        ("return {1: 2}", "start must return a dict"),
        ("return None", "start must return a dict"),
    ],
)
def test_broken_start_is_one_line_with_its_place(write, body, words):
    path = write(GOOD + f"\n\ndef start(task):\n    {body}\n")
    space = load_space(str(path))
    with pytest.raises(SpaceError, match=words) as error:
        space.first_proposals(TASK)
    line = GOOD.count("\n") + (4 if "raise" in body else 3)
    assert f"{path}:{line}:" in one_line(error)


def test_what_a_space_prints_does_not_go_among_the_output(tmp_path, capsys):
    path = tmp_path / "chatty.py"
    path.write_text(
        "from nas import Architecture, Candidate, Flatten, Linear, Recipe\n"
        "print('loaded')\n"
        "def start(task):\n"
        "    print('started')\n"
        "    return {}\n"
        "def suggest(trial, task):\n"
        "    print('asked')\n"
        "    layers = [Flatten(), Linear(task.num_classes)]\n"
        "    return Candidate(Architecture(task.input_shape, layers), Recipe())\n"
    )
    space, task = load_space(str(path)), Task((1, 8, 8), 10, 5000)
    space.first_proposals(task)
    space.propose(RandomTrial(), task)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["loaded", "started", "asked"]
