"""The text of a space that a study keeps, whoever wrote it."""

from __future__ import annotations

import pytest

from nas.spaces.places import list_spaces
from nas.spaces.text import encoded, is_of_a_function


@pytest.mark.parametrize(
    "source",
    [
        "def suggest(trial, task):\n    return 1\n",
        "suggest = lambda trial, task: 1\n",
        "# suggest: its text is not at hand, its code has the hash 12\n",
    ],
)
def test_function_is_told_from_a_file(source):
    assert is_of_a_function(source)


def test_file_is_told_from_a_function():
    assert not any(is_of_a_function(entry.path.read_text()) for entry in list_spaces())


@pytest.mark.parametrize("source", ["def suggest(:", "from nas import *\nx = = 1\n", "\0"])
def test_text_that_this_python_cannot_read_counts_as_that_of_a_file(source):
    assert not is_of_a_function(source)


def test_text_is_written_in_the_coding_that_it_names():
    source = "# coding: latin-1\nx = 'ö'\n"
    assert encoded(source) == source.encode("latin-1")
    for text in ("x = 'ö'\n", "# coding: of-tomorrow\nx = 'ö'\n"):
        assert encoded(text) == text.encode()
