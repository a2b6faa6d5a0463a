"""A storage as a dashboard is to see it."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.storage.database import open_storage
from nas.storage.shown import MOST_LETTERS, ShownStorage, short


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        return optuna.storages.InMemoryStorage()
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


def test_bulky_attributes_are_not_shown_and_stay_in_the_database(storage):
    study = optuna.create_study(study_name="s", storage=storage)
    study.set_user_attr("budget", 5)
    study.set_user_attr("data", {"classes": ["a"]})
    study.set_user_attr("text", "x" * 300)
    trial = study.ask()
    trial.set_user_attr("num_params", 7)
    trial.set_user_attr("history", [[1, 2]])
    shown = ShownStorage(storage)
    cut = "x" * (MOST_LETTERS - 1) + "…"
    assert shown.get_study_user_attrs(study._study_id) == {"budget": 5, "text": cut}
    (frozen,) = shown.get_all_studies()
    assert frozen.user_attrs == {"budget": 5, "text": cut}
    for _ in range(2):
        (found,) = shown.get_all_trials(study._study_id, deepcopy=False)
        assert found.user_attrs == {"num_params": 7}
        assert shown.get_trial(found._trial_id).user_attrs == {"num_params": 7}
        assert found.state == TrialState.RUNNING
    assert study.user_attrs["data"] == {"classes": ["a"]}
    assert study.trials[0].user_attrs["history"] == [[1, 2]]


def test_what_is_empty_or_has_several_lines_is_left_out():
    assert short({"a": "one\ntwo", "b": None, "c": True, "d": 0.5}) == {"c": True, "d": 0.5}
