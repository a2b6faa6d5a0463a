"""A study as values for Python."""

from __future__ import annotations

import sys

import pytest

from nas.errors import NasError
from nas.reports.results import StudyResult
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
