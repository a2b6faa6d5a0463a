"""Texts for people: without passwords."""

from __future__ import annotations

import pytest

from nas.errors import describe, masked, printable


@pytest.mark.parametrize(
    "text", ["sqlite:///a.db", "postgresql://me@host/x", "at 12:30 me@host", "http://a:80/x@y", ""]
)
def test_masked_leaves_alone_what_has_no_password(text):
    assert masked(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@host/x", "postgresql://me:***@host/x"),
        ("postgresql://:hunter2@host/x", "postgresql://:***@host/x"),
        ("mysql+pymysql://me:h@nt:er2@host/x", "mysql+pymysql://me:***@host/x"),
        ("pg://host/x?user=me&password=hunter2&a=b", "pg://host/x?user=me&password=***&a=b"),
        ("a pg://u:one@h/x and pg://u:two@h/x too", "a pg://u:***@h/x and pg://u:***@h/x too"),
        ("nas search --storage 'pg://u:one@h/x' --quiet",
         "nas search --storage 'pg://u:***@h/x' --quiet"),
    ],
)  # fmt: skip
def test_masked_hides_every_password(text, shown):
    assert masked(text) == shown


def test_error_is_described_on_one_line():
    assert describe(ValueError("a\n  b")) == "ValueError: a b"


@pytest.mark.parametrize(
    "text", ["plain", "größe 日本 😀", "two\nlines\tand a tab", "[red]x[/red]", ""]
)
def test_printable_leaves_alone_what_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "\x07", "a\rb", "\u202egnp.exe", "\x9b1m", "\udcff"]
)
def test_printable_shows_what_a_terminal_would_obey(text):
    assert "\ufffd" in printable(text)
    assert all(c.isprintable() for c in printable(text))
