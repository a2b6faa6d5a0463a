"""Texts for people: without passwords."""

from __future__ import annotations

import contextlib
import random
import re
import shlex

import pytest
from sqlalchemy import make_url

from nas.errors import (
    call_or_command,
    command,
    files_beside,
    hint,
    named_for_shell,
    one_line,
    option,
    redact,
    sanitize,
    substitute,
)


@pytest.mark.parametrize(
    "text",
    ["sqlite:///a.db", "postgresql://me@host/x", "at 12:30 me@host", "sqlite:///C:/x@y",
     "http://a:80/x", ""],
)  # fmt: skip
def test_masked_leaves_alone_what_has_no_password(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@host/x", "postgresql://me:***@host/x"),
        ("postgresql://:hunter2@host/x", "postgresql://:***@host/x"),
        ("mysql+pymysql://me:h@nt:er2@host/x", "mysql+pymysql://me:***@host/x"),
        ("pg://host/x?user=me&password=hunter2&a=b", "pg://host/x?user=me&password=***&a=b"),
        ("pg://host/x?sslpassword=a b", "pg://host/x?sslpassword=***"),
        ("http://a:80/x@y", "http://a:***@y"),  # as the library reads it
        ("a pg://u:one@h/x and pg://u:two@h/x too", "a pg://u:***@h/x too"),
        ("pg://u:***@h/x: no 'a'@'b'", "pg://u:***@h/x: no 'a'@'b'"),
        ("nas search --storage 'pg://u:one@h/x' --quiet",
         "nas search --storage 'pg://u:***@h/x' --quiet"),
    ],
)  # fmt: skip
def test_masked_hides_every_password(text, shown):
    assert redact(text) == shown


ODD = "/?#@:% &='\"\\[]{}*+;,~\t\n\0é😀\u202e"


def odd_passwords():
    """Many, each known again by a word at its beginning, in its middle and at its end."""
    rng = random.Random(0)
    for _ in range(3000):
        yield "Begin" + "Middle".join(
            "".join(rng.choices(ODD + "ab1", k=rng.randint(0, 6))) for _ in range(2)
        ) + "End"  # fmt: skip


def test_masked_hides_every_part_of_an_odd_password():
    for password in odd_passwords():
        url = f"postgresql://me:{password}@host:5432/x?sslmode=require"
        for text in (
            url,
            shlex.join(["nas", "search", "--storage", url, "--quiet"]),
            shlex.quote(redact(url)),
            f"--storage {url} cannot be opened: no route to host",
            f"could not parse {url!r}",
        ):
            shown = redact(text)
            assert not re.search("Begin|Middle|End", shown)
            assert "me:***@host:5432/x?sslmode=require" in shown
            assert redact(shown) == shown


def test_masked_hides_whatever_the_library_reads_as_a_password():
    rng, num = random.Random(1), 0
    for _ in range(20_000):
        url = "pg://" + "".join(rng.choices("ab:/@?#[]% =&", k=rng.randint(3, 20)))
        with contextlib.suppress(Exception):
            password = make_url(url).password
            if password:
                num += 1
                assert re.match(r"pg://[^:/]*:\*\*\*@[^@]*$", redact(url).partition("?")[0])
    assert num > 500


def test_error_is_described_on_one_line():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"


@pytest.mark.parametrize(
    "text", ["plain", "größe 日本 😀", "two\nlines\tand a tab", "[red]x[/red]", ""]
)
def test_printable_leaves_alone_what_is(text):
    assert sanitize(text) == text


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "\x07", "a\rb", "\u202egnp.exe", "\x9b1m", "\udcff"]
)
def test_printable_shows_what_a_terminal_would_obey(text):
    assert "\ufffd" in sanitize(text)
    assert all(c.isprintable() for c in sanitize(text))


def test_options_are_named_as_python_or_a_shell_takes_them():
    for _ in range(2):  # the second time after the block has ended
        assert (option("max_macs"), option("image_size", 32)) == ("max_macs", "image_size=32")
        assert option("dataset", "digits") == "dataset='digits'"
        assert command("search", budget=9) == "nas.search(budget=9)"
        with named_for_shell():
            assert (option("max_macs"), option("bits", 8)) == ("--max-macs", "--bits 8")
            assert option("force", True) == "--force"
            assert command("search", budget=9, quiet=True) == "nas search --budget 9 --quiet"


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "99 ± 1 ● 猫", "99 ± 1 ● 猫"),
        ("cp1252", "99 ± 1 ● 猫", "99 ± 1 o ?"),
        ("ascii", "99 ± 1 ● 猫 █░│└─", "99 +- 1 o ? #.|+-"),
        (None, "é", "?"),
        ("utf-8", "name-\udcff", "name-?"),
    ],
)
def test_what_an_encoding_lacks_has_a_substitute(encoding, text, shown):
    assert substitute(text, encoding) == shown


def test_hint_is_the_nearest_word_or_all_there_are():
    known = ["mnist", "digits"]
    assert hint("digts", iter(known)) == "did you mean digits?"
    assert hint("xyzzy", iter(known)) == "there are mnist, digits"


def test_files_that_a_command_takes_from_its_folder_are_named():
    line = "nas search --budget 3000 --dataset './my photos' --space ./own.py --study a-again"
    assert files_beside(line) == ["my photos", "own.py"]
    assert files_beside("nas search --budget 9 --dataset mnist") == []


def test_call_is_given_in_python_where_it_has_another_name():
    call = "nas.load_study('s').save_space()"
    with named_for_shell():
        assert call_or_command(call, "spaces", study="s") == "nas spaces --study s"
    assert call_or_command(call, "spaces", study="s") == call
