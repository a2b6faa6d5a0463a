"""A study as values for Python."""

from __future__ import annotations

import sys

import optuna
import pytest
from sqlalchemy import Engine, event

from nas.errors import NasError
from nas.reports.figures import figures_of
from nas.reports.notes import study_note
from nas.reports.plots import curves_plot, frontier_plot, spending_plot
from nas.reports.results import StudyResult
from nas.reports.tables import leaderboard
from nas.storage.database import open_storage
from tests.reports.studies import make_study


def test_data_frame_has_a_row_for_each_trial_and_a_column_for_each_parameter():
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = StudyResult(make_study(6)).dataframe()
    assert list(frame["number"]) == list(range(6))
    assert {"outcome", "accuracy", "num_params", "epochs", "params_width"} <= set(frame.columns)
    assert frame["accuracy"].between(0, 1).all()


def test_data_frame_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NasError, match="python -m pip install pandas"):
        StudyResult(make_study(1)).dataframe()


def test_leaderboard_has_all_rows_where_no_number_is_given():
    study = StudyResult(make_study(15))
    assert len(study.leaderboard()) == 10
    assert len(study.leaderboard(None)) == 15


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory):
    """URLs of a database with few trials, and of one with many."""
    urls = []
    for num_trials in (8, 16):
        urls.append(f"sqlite:///{tmp_path_factory.mktemp('studies')}/{num_trials}.db")
        make_study(num_trials, storage=open_storage(urls[-1], create=True), stop=0.4)
    return urls


@pytest.mark.parametrize(
    "look",
    [
        lambda study: leaderboard(study, 10),
        lambda study: frontier_plot([study]),
        curves_plot,
        spending_plot,
        figures_of,
        study_note,
    ],
    ids=["leaderboard", "frontier", "curves", "spending", "figures", "note"],
)
def test_reports_ask_the_database_as_often_for_many_trials_as_for_few(look, few_and_many):
    numbers = []
    for url in few_and_many:
        study = optuna.load_study(study_name="s", storage=open_storage(url))
        queries = []
        hear = lambda *arguments, to=queries: to.append(arguments[2])  # noqa: E731
        event.listen(Engine, "before_cursor_execute", hear)
        look(study)
        event.remove(Engine, "before_cursor_execute", hear)
        numbers.append(len(queries))
    assert 0 < numbers[0] == numbers[1]
