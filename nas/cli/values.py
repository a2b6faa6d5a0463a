"""What options take, as click's parameter types: numbers, times, shares, paths, trials.

Each says in one line what was given and what is allowed. This file loads neither torch nor Optuna.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import nas
from nas.errors import NasError, hint, redact

_MOST_SHOWN = 40  # characters of a value that a message repeats


class Value(click.ParamType[Any]):
    """What an option takes: `read` makes a value of a text.

    `read` raises ValueError with what is wrong, for a line that begins with the option and the
    text, or a NasError, whose text is the whole line.
    """

    name = "value"
    is_file = False

    def read(self, text: str) -> Any:
        raise NotImplementedError

    def suggestions(self) -> Iterable[str]:
        """What a shell may complete the text to."""
        return ()

    def is_likely_file(self, text: str) -> bool:
        """Whether a word that stands by itself is probably a file for this option."""
        return False

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):  # a default
            return value
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(f"{redact(value)[:_MOST_SHOWN]!r} {error}", param, ctx)
        except NasError as error:
            raise click.UsageError(str(error), ctx) from None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = [CompletionItem(s) for s in self.suggestions() if s.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type="file")] if self.is_file else [])


class Whole(Value):
    """A whole number of a range."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def read(self, text: str) -> int:
        is_whole = re.fullmatch(r"\d{1,12}", text, re.ASCII)
        if not is_whole or not self.low <= int(text) <= self.high:
            raise ValueError(f"is no whole number from {self.low:,} to {self.high:,}")
        return int(text)


class Count(Value):
    """A whole number as people write a large one: `20000`, `20_000`, `20k` or `2M`."""

    def __init__(self, what: str, largest: int) -> None:
        self.what, self.largest = what, largest

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        return f"such as {param.opts[-1]} 20000"

    def read(self, text: str) -> int:
        match = re.fullmatch(r"(\d{1,3}(?:_\d{3})+|\d+)([kM]?)", text, re.ASCII)
        digits = match[1].replace("_", "").lstrip("0") if match else ""
        scale = {"": 1, "k": 10**3, "M": 10**6}[match[2] if match else ""]
        value = int(digits) * scale if 0 < len(digits) <= 16 else 0
        if not 1 <= value <= self.largest:
            raise ValueError(
                f"is no number of {self.what}: give a whole number from 1 to {self.largest:,}, "
                "such as 20000, 20_000 or 20k"
            )
        return value


class Counts(Count):
    """Several counts with commas between them: without repeats, the smallest first."""

    def read(self, text: str) -> Any:
        return tuple(sorted({super(Counts, self).read(part) for part in text.split(",")}))


class Trial(Whole):
    """The number of a trial, or `best`."""

    def __init__(self) -> None:
        super().__init__(0, 10**9)

    def read(self, text: str) -> Any:
        try:
            return text if text == "best" else super().read(text)
        except ValueError as error:
            raise ValueError(f"is not best, and {error}; a study is named with --study") from None

    def suggestions(self) -> Iterable[str]:
        return ["best"]


class TrialNumber(Whole):
    """The number of a trial that is one of several."""

    def __init__(self) -> None:
        super().__init__(0, 10**9)

    def read(self, text: str) -> int:
        try:
            return super().read(text)
        except ValueError:
            raise ValueError(
                "is no number of a trial: without one, the best are taken; a study is named with "
                "--study"
            ) from None


class Network(Trial):
    """An exported folder, or a trial."""

    is_file = True

    def read(self, text: str) -> Any:
        is_number = re.fullmatch(r"\d{1,9}", text, re.ASCII)
        return int(text) if is_number else str(Folder().read(text))


class Checked(Value):
    """A text that one of the API's own parsers accepts."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.parse = parse

    def read(self, text: str) -> str:
        self.parse(text)
        return text


class Choice(click.Choice[Any]):
    """One of a few values."""

    def suggestions(self) -> Iterable[str]:
        return map(str, self.choices)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        choices = map(str, self.choices)
        return f"{str(value)[:_MOST_SHOWN]!r} is unknown: {hint(str(value), choices)}"


class Formats(Value):
    """Names of export formats with commas between them, which the exporters check."""

    NAMES = ("pytorch", "c", "onnx", "onnx-int8", "html", "all")

    def read(self, text: str) -> str:
        return text

    def suggestions(self) -> Iterable[str]:
        return self.NAMES


class Text(Value):
    """What may name a file, whether or not there is one."""

    def read(self, text: str) -> Any:
        try:
            os.lstat(text)
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
                what = "is too long, or holds a character that no file name has"
                raise ValueError(what) from None
        return text


class File(Text):
    """What may name a file or a folder, for a shell to complete."""

    is_file = True


class Folder(File):
    """A path: of a folder, or of a file to write."""

    def read(self, text: str) -> Path:
        return Path(super().read(text))


class DataSet(File):
    """The name of a data set, or the path of a folder or of an .npz."""

    NAMES = ("mnist", "fashion-mnist", "kmnist", "cifar10", "digits")

    def suggestions(self) -> Iterable[str]:
        return self.NAMES

    def is_likely_file(self, text: str) -> bool:
        # Unlike pathlib's, this takes every text, also one too long for a name.
        return os.path.isdir(os.path.expanduser(text)) or text.endswith(".npz")


class Space(File):
    """The name of a search space, or the path of its file."""

    def suggestions(self) -> Iterable[str]:
        return [entry.name for entry in nas.list_spaces()]

    def is_likely_file(self, text: str) -> bool:
        return text.endswith(".py")
