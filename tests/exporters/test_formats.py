"""Which formats are asked for."""

from __future__ import annotations

import pytest

from nas.errors import ExportError
from nas.exporters import c
from nas.exporters.formats import FORMATS, parse_formats


def test_formats_are_named_with_commas_or_one_by_one_and_each_counts_once():
    assert parse_formats("pytorch,c") == (("pytorch", "c"), ())
    assert parse_formats(["c", "c"]) == (("c",), ())


def test_all_is_what_can_be_written_here_and_says_what_it_leaves_out(monkeypatch):
    assert parse_formats("all") == (tuple(FORMATS), ())
    monkeypatch.setattr(c, "missing", lambda: "pip install x")
    assert parse_formats("all")[1] == ("c is left out: pip install x",)
    with pytest.raises(ExportError, match="format='c': pip install x"):
        parse_formats("c")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("pytroch", "did you mean pytorch"), ("", "there are pytorch, c"),
        ("c,", "there are pytorch, c"), ("all,c", "is none"), ([], "no format is given"),
    ],
)  # fmt: skip
def test_unknown_formats_are_refused(wanted, why):
    with pytest.raises(ExportError, match=why):
        parse_formats(wanted)
