"""What a search is asked for: texts that are read, values that are refused."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nas.errors import NasError
from nas.searching.config import SearchConfig, parse_seconds, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("600", 600), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5h", 5400), ("0.5", 0.5)],
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "1 h", "h", "1H", "367d", "8785h", "１", "1.", ".5"])
def test_anything_else_is_no_time(text):
    with pytest.raises(NasError, match=r"90s, 15m, 2h"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("1/12", Fraction(1, 12)),
        ("2/24", Fraction(1, 12)),
        ("1/2", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        ("0.1", Fraction(1, 10)),
        (".1", Fraction(1, 10)),
        ("10%", Fraction(1, 10)),
        ("50%", Fraction(1, 2)),
        ("2.5%", Fraction(1, 40)),
        ("0.083333333", Fraction(83333333, 10**9)),
    ],
)
def test_share_is_read_exactly(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text",
    ["", "0", "1", "5", "-0.1", "+0.1", "0.0", "0%", "0/3", "1/0", "1/00", "2/3", "0.51", "51%",
     "100%", "1e-3", "nan", "inf", "x", "1/x", "1/2/3", "1//2", "1/-2", "10 %", " 0.1", "0.1\n",
     "0,1", "1_0%", "0x1", "१/१२", "1" * 400 + "/3"],
)  # fmt: skip
def test_anything_else_is_no_share(text):
    with pytest.raises(NasError, match=r"valid_share .* such as 1/12, 0\.1 or 10%"):
        parse_share(text)


def test_bad_share_or_time_is_refused_by_the_configuration():
    for options in ({"valid_share": "2/3"}, {"valid_share": 0.9}, {"timeout": "soon"}):
        (name,) = options
        with pytest.raises(NasError, match=f"^{name} "):
            SearchConfig(budget=9, **options)
