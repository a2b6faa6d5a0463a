"""What options take: numbers and lists of them as people write them."""

from __future__ import annotations

import click
import pytest

from nas.candidates.budget import LARGEST_BUDGET, LARGEST_LIMIT
from nas.cli.values import Count, Counts, DataSet, Formats, Trial, Whole
from nas.data import NAMES
from nas.exporters.formats import ALL, FORMATS


def read(kind, text):
    return kind.convert(text, None, None)


def refusal(kind, text):
    with pytest.raises(click.BadParameter) as error:
        read(kind, text)
    return error.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("20000", 20_000),
        ("20_000", 20_000),
        ("20k", 20_000),
        ("1_000_000", 1_000_000),
        ("1_000k", 1_000_000),
        ("999", 999),
        ("1000000000", LARGEST_BUDGET),
        ("1000000k", LARGEST_BUDGET),
        ("1_000_000_000", LARGEST_BUDGET),
        ("2M", 2_000_000),
        ("1_000M", LARGEST_BUDGET),
        ("0" * 30 + "7", 7),
    ],
)
def test_budget_is_read_as_people_write_it(text, value):
    assert read(Count("parameters", LARGEST_BUDGET), text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "k", "_", "0", "0k", "000", "-1", "+1", "1.5", "20.0k", "1e4", "1e9999"),
        *(
            "20K",
            "20kk",
            "20 k",
            "20m",
            "M",
            "20kM",
            "20MB",
            "20G",
            "20,000",
            "0x10",
            "NaN",
            "inf",
            "None",
            "२०",
            "٢٠k",
        ),
        *("2_0", "_20", "20_", "20__000", "20_00", "2000_000", "20_k"),
        *(" 20", "20 ", "20\n", "\n20", "20\n30"),
        *("1000000001", "1000001k", "1_000_000_001", "1001M", "99999999999999", "9" * 5000),
    ],
    ids=lambda text: repr(text)[:16],
)
def test_text_that_is_no_budget_is_an_error_of_one_line(text):
    line = refusal(Count("parameters", LARGEST_BUDGET), text)
    assert len(line.splitlines()) == 1
    assert "such as 20000, 20_000 or 20k" in line


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("20k", 20_000), ("1000000001", LARGEST_BUDGET + 1), ("1000000000M", LARGEST_LIMIT),
     ("1000000000000000", LARGEST_LIMIT)],
)  # fmt: skip
def test_limit_may_be_larger_than_any_budget(text, value):
    assert read(Count("multiply-accumulates", LARGEST_LIMIT), text) == value


@pytest.mark.parametrize("text", ["0", "", "1.5", "1000000000000001", "1000000001M", "9" * 20])
def test_text_that_is_no_limit_is_refused_with_its_unit(text):
    assert refusal(Count("multiply-accumulates", LARGEST_LIMIT), text) == (
        f"{text!r} is no number of multiply-accumulates: "
        "give a whole number from 1 to 1,000,000,000,000,000, such as 20000, 20_000 or 20k"
    )


def test_several_counts_are_sorted_and_each_is_taken_once():
    kind = Counts("parameters", LARGEST_BUDGET)
    assert read(kind, "20k,1000,5_000,1k") == (1000, 5000, 20_000)
    assert read(kind, "7") == (7,)


def test_trial_is_a_number_or_best():
    assert (read(Trial(), "best"), read(Trial(), "7")) == ("best", 7)
    assert "no whole number" in refusal(Trial(), "Best")


def test_name_of_a_study_in_the_place_of_a_trial_is_told_its_option():
    line = refusal(Trial(), "mnist-20k")
    assert "is not best, and is no whole number" in line
    assert "--study" in line


def test_message_repeats_no_more_than_the_beginning_of_a_value():
    line = refusal(Whole(1, 9), "9" * 5000)
    assert line == f"'{'9' * 40}' is no whole number from 1 to 9"


def test_message_repeats_no_password():
    assert "hunter2" not in refusal(Whole(1, 9), "postgresql://me:hunter2@host/x")


def test_formats_that_a_shell_completes_are_those_of_the_exporters():
    assert [*Formats().suggestions()] == [*FORMATS, ALL]


def test_data_sets_that_a_shell_completes_are_those_of_the_catalogue():
    assert sorted(DataSet().suggestions()) == sorted(NAMES)
