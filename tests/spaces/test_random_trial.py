"""The trial without a study refuses and accepts what Optuna's does."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Dropout, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.errors import SpaceError
from nas.spaces.draws import check_start, smallest
from nas.spaces.loader import SearchSpace, load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task

TASK_PATH = Path("made.py")
TASK = Task((1, 8, 8), num_classes=10, max_params=3_000, epochs=1)
SPACE = '''"""One convolution."""
import numpy as np
import nas

def suggest(trial, task):
    width, rate = 4, 0.05
    {line}
    layers = [nas.Conv(width, 3), nas.ReLU(), nas.GlobalAvgPool(), nas.Flatten(),
              nas.Linear(task.num_classes)]
    recipe = nas.Recipe(learning_rate=rate, batch_size=64, epochs=task.epochs)
    return nas.Candidate(nas.Architecture(task.input_shape, layers), recipe)
'''


@pytest.fixture
def study():
    return optuna.create_study()


def make(tmp_path, line, name="made.py"):
    path = tmp_path / name
    path.write_text(SPACE.format(line=line))
    return load_space(str(path))


def said_of(space, trial):
    try:
        return space.propose(trial, TASK).architecture.num_params > 0
    except SpaceError as error:
        return str(error)


CALLS = {
    "log from zero": 'rate = trial.suggest_float("rate", 0.0, 0.1, log=True)',
    "low over high": 'width = trial.suggest_int("width", 8, 4)',
    "low over high, floats": 'rate = trial.suggest_float("rate", 0.2, 0.1)',
    "no choices": 'width = trial.suggest_categorical("width", [])',
    "log with step": 'width = trial.suggest_int("width", 1, 8, step=2, log=True)',
    "log with step, floats": 'rate = trial.suggest_float("rate", 0.01, 1, step=0.1, log=True)',
    "step of zero": 'width = trial.suggest_int("width", 1, 8, step=0)',
    "a word for a number": 'width = trial.suggest_int("width", "a", 8)',
    "another kind for a name": (
        'trial.suggest_float("width", 1, 4); width = trial.suggest_int("width", 1, 4)'
    ),
    "old name": 'rate = trial.suggest_loguniform("rate", 0.01, 0.1)',
    "oldest name": 'rate = trial.suggest_uniform("rate", 0.01, 0.1)',
    "old name with steps": 'rate = trial.suggest_discrete_uniform("rate", 0.01, 0.1, 0.01)',
    "attributes": "width = 4 + len(trial.user_attrs) + 0 * trial.number",
    "reports": "trial.report(0.5, 1); width = 4 + trial.should_prune()",
    "what was asked": 'trial.suggest_int("width", 4, 4); width = trial.params["width"]',
    "distributions": 'trial.suggest_int("width", 4, 8); width = trial.distributions["width"].low',
    "constraint": 'trial.set_constraint("size", -1.0)',
    "NumPy's whole number": "width = np.int64(4)",
    "NumPy's floats": "rate = np.float32(0.05)",
    "NumPy's bounds": 'width = trial.suggest_int("width", np.int64(2), np.int64(8))',
    "one value twice": 'width = trial.suggest_int("w", 4, 8); trial.suggest_int("w", 4, 8)',
}


@pytest.mark.parametrize("name", CALLS)
def test_stand_in_says_what_optuna_says(tmp_path, study, name):
    space = make(tmp_path, CALLS[name])
    expected = said_of(space, study.ask())
    given = said_of(space, RandomTrial(random.Random(0)))
    lowest = said_of(space, RandomTrial())
    if "kind" in name:  # the stand-in has the reason for it as well
        assert "asked for twice" in given
        assert "different distribution kind" in expected
    else:
        assert given == lowest == expected


def test_stand_in_has_whatever_optunas_trial_has(study):
    trial = RandomTrial()
    names = [name for name in dir(study.ask()) if not name.startswith("_")]
    private = {"storage", "study", "study_id", "system_attrs", "relative_search_space"}
    assert [name for name in names if not hasattr(trial, name) and name not in private] == []


def test_name_that_is_asked_for_twice_with_other_ranges_is_refused_beforehand(tmp_path):
    line = 'width = trial.suggest_int("w", 1, 4); trial.suggest_int("w", 5, 8)'
    with pytest.raises(SpaceError, match=r"made.py:7: .*'w' is asked for twice in one trial"):
        smallest(make(tmp_path, line), TASK)


def test_choices_that_differ_between_trials_are_refused_beforehand(tmp_path):
    line = """a = trial.suggest_int("a", 1, 4)
    width = trial.suggest_categorical("w", list(range(1, a + 1)))"""
    with pytest.raises(SpaceError, match=r"made.py:8: .*'w': CategoricalDistribution does not"):
        smallest(make(tmp_path, line), TASK)


def test_ranges_that_differ_between_trials_are_fine(tmp_path):
    line = """a = trial.suggest_int("a", 1, 4)
    width = trial.suggest_int("w", a, 8)"""
    assert smallest(make(tmp_path, line), TASK).architecture.num_params == 29


def test_numbers_of_numpy_become_pythons():
    layers = [Conv(np.int64(4), np.int32(3), bias=np.True_), Dropout(np.float32(0.5)),
              GlobalAvgPool(), Flatten(), Linear(np.uint8(10))]  # fmt: skip
    shape = tuple(np.array([1, 8, 8]))
    recipe = Recipe(learning_rate=np.float64(0.5), batch_size=np.int64(64), epochs=np.int16(2),
                    milestones=(np.int64(1),), flip=np.False_)  # fmt: skip
    given = Candidate(Architecture(shape, layers), recipe)
    layers = [Conv(4, 3, bias=True), Dropout(0.5), GlobalAvgPool(), Flatten(), Linear(10)]
    plain = Recipe(learning_rate=0.5, batch_size=64, epochs=2, milestones=(1,))
    assert given.fingerprint == Candidate(Architecture((1, 8, 8), layers), plain).fingerprint
    assert "np." not in repr(given)


def test_start_may_give_numbers_of_numpy(tmp_path):
    text = SPACE.format(line='width = trial.suggest_int("w", 1, 8)')
    (tmp_path / "made.py").write_text(text + "\ndef start(task):\n    return {'w': np.int64(2)}\n")
    space = load_space(str(tmp_path / "made.py"))
    check_start(space, TASK)
    assert space.first_proposals(TASK) == [{"w": 2}]


def test_each_warning_of_a_space_is_said_once(tmp_path, capsys):
    space = make(tmp_path, 'rate = trial.suggest_float("rate", 0.01, 0.1, step=0.02)')
    smallest(space, TASK)
    space.propose(RandomTrial(), TASK)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'made.py'}: UserWarning: The distribution is specified by")


def test_warnings_of_others_stay_as_they_are(tmp_path):
    space = make(tmp_path, "pass")
    space.propose(RandomTrial(), TASK)
    with pytest.warns(UserWarning, match="of another"):
        warnings.warn("of another", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("start", "encoding"),
    [("\N{BYTE ORDER MARK}", "utf-8"), ("# -*- coding: latin-1 -*-\n", "latin-1")],
)
def test_file_is_read_as_python_reads_source(tmp_path, start, encoding):
    text = start + '"""Größe."""\n' + SPACE.format(line='assert len("ö") == 1')
    (tmp_path / "made.py").write_bytes(text.encode(encoding))
    space = load_space(str(tmp_path / "made.py"))
    assert "Größe" in space.source
    assert space.propose(RandomTrial(), TASK)


def test_file_of_an_unknown_encoding_is_refused_in_one_line(tmp_path):
    (tmp_path / "made.py").write_text("# -*- coding: klingon -*-\n")
    with pytest.raises(SpaceError, match=r"made.py cannot be read: SyntaxError: .*klingon"):
        load_space(str(tmp_path / "made.py"))


def test_space_of_a_function_is_looked_at_alike():
    def suggest(trial, task):
        trial.suggest_int("width", 8, 4)

    with pytest.raises(SpaceError, match="`low <= high` must hold"):
        smallest(SearchSpace("made", TASK_PATH, "", suggest), TASK)
