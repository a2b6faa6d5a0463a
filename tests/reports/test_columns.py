"""A table that shows what there is room for."""

from __future__ import annotations

import io

from rich.console import Console

from nas.reports.columns import Columns


def table():
    columns = Columns(("study", ">best", "recipe", ">MACs"), ("MACs", "(best)", "recipe", "best"))
    columns.add_row("a-name-that-is-long", "98.60% (1 of 19 epochs)", "sgd 0.1", "1,000,000")
    columns.add_row("b", "99.00%", "adamw 0.01", "9")
    return columns


def test_columns_fall_away_in_the_order_that_was_said_and_then_no_more():
    heads = {width: table().lines(width)[0].split() for width in (80, 60, 50, 30, 10)}
    assert heads == {
        80: ["study", "best", "recipe", "MACs"],
        60: ["study", "best", "recipe"],
        50: ["study", "best", "recipe"],
        30: ["study", "best"],
        10: ["study"],
    }
    assert "(1 of 19 epochs)" in table().lines(60)[1]
    assert table().lines(50)[1].split() == ["a-name-that-is-long", "98.60%", "sgd", "0.1"]


def test_numbers_end_below_each_other_and_no_line_is_wider_than_allowed():
    lines = table().lines(80)
    assert lines[1].endswith("1,000,000")
    assert len(lines[2]) == len(lines[1])
    for width in (80, 60, 50, 30, 19):
        assert max(map(len, table().lines(width))) <= width


def test_name_is_never_folded_or_cut():
    console = Console(file=io.StringIO(), width=8)
    console.print(table(), crop=False)
    left_out = "(no room\nfor \nbest, \nrecipe, \nMACs)\n"
    assert console.file.getvalue() == f"study\na-name-that-is-long\nb\n{left_out}"


def test_columns_without_room_are_named_below():
    shown = {}
    for width in (80, 60, 30):
        console = Console(file=io.StringIO(), width=width)
        console.print(table())
        shown[width] = console.file.getvalue().splitlines()[3:]
    assert shown == {
        80: [], 60: ["(no room for MACs)"], 30: ["(no room for recipe, MACs)"],
    }  # fmt: skip


def test_wide_characters_and_those_of_a_stranger_keep_the_columns():
    columns = Columns(("a", ">b"))
    columns.add_row("猫猫", "1")
    columns.add_row("\x1b[31mx", "2")
    assert columns.lines(80) == ["a       b", "猫猫    1", "\N{REPLACEMENT CHARACTER}[31mx  2"]


def test_characters_that_an_encoding_lacks_are_replaced_before_they_are_counted():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    columns = Columns(("score", "b"))
    columns.add_row("99 ± 1", "x")
    Console(file=file, width=40).print(columns)
    file.flush()
    assert file.buffer.getvalue().decode().splitlines()[1] == "99 +- 1  x"
