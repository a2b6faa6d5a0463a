"""What can go wrong, one class for each situation.

Everything a user can cause is a `NasError`: its text is one line that says what was given, what is
allowed and what to do. The command line prints that line and leaves with `exit_code`.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import shlex
from collections.abc import Iterable, Iterator

# Parameters of a URL that say a password, or where one is.
_SECRET = r"(?:\w*(?:password|passwd|pwd|secret|token)|passfile|odbc_connect)"


class NasError(Exception):
    """A fault that the user can mend; the message is one line."""

    exit_code = 2


class InvalidCandidateError(NasError):
    """An architecture or a recipe that cannot exist: shapes do not fit, a value is out of range."""


class OverBudgetError(NasError):
    """A network that does not fit a limit; carries what was counted, in the limit's unit."""

    def __init__(self, unit: str, cost: int, allowed: str, num_params: int) -> None:
        self.unit = unit
        self.cost = cost
        self.num_params = num_params
        super().__init__(f"{cost:,} {unit} do not fit: {allowed} are allowed")


class CountMismatchError(NasError):
    """The count a layer states differs from the module it builds: a bug in that layer."""

    exit_code = 1


class SpaceError(NasError):
    """A search space file that cannot be found, loaded or used."""


class DataError(NasError):
    """A data set that cannot be found, read or split."""


class StudyError(NasError):
    """A storage or a study that cannot be opened, or does not match this search."""


class StorageFailedError(NasError):
    """A database that worked and does not any more: locked for long, full, or gone."""

    exit_code = 3


class DivergedError(NasError):
    """Loss or weights became infinite or not a number while training."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(f"loss or weights not finite in epoch {epoch}")


class CaptureFailedError(NasError):
    """Steps of a network that a GPU could not record as a graph; the eager engine can run them."""

    exit_code = 1


class ExportError(NasError):
    """An export that cannot be written, or that failed its check in a clean process."""


class VerifyError(NasError):
    """An export that is not what was exported: a file, a count or a score differs."""

    exit_code = 1


class SearchError(NasError):
    """A search that cannot go on: one candidate after another failed."""

    exit_code = 1


_is_shell = False


@contextlib.contextmanager
def named_for_shell() -> Iterator[None]:
    """Texts made meanwhile name options as a shell takes them."""
    global _is_shell
    before, _is_shell = _is_shell, True
    try:
        yield
    finally:
        _is_shell = before


def option(name: str, value: object = None) -> str:
    """An option as its reader gives it: `image_size=32` in Python, else `--image-size 32`."""
    if not _is_shell:
        return name if value is None else f"{name}={value!r}"
    dashed = f"--{name.replace('_', '-')}"
    return dashed if value is None or value is True else f"{dashed} {shlex.quote(str(value))}"


def command(verb: str, **options: object) -> str:
    """A call as its reader makes it: `nas.search(budget=9)` in Python, else that of a shell."""
    given = [option(name, value) for name, value in options.items()]
    return f"nas {' '.join([verb, *given])}" if _is_shell else f"nas.{verb}({', '.join(given)})"


def call_or_command(call: str, verb: str, /, **options: object) -> str:
    """The same where Python has another call than a function of the verb's name."""
    return command(verb, **options) if _is_shell else call


def files_beside(line: str) -> list[str]:
    """What a command takes from the folder in which it is pasted.

    >>> files_beside("nas search --budget 3000 --dataset ./photos --space ./own.py")
    ['photos', 'own.py']
    """
    return [word.removeprefix("./") for word in shlex.split(line) if word.startswith("./")]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if one is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def hint(word: str, known: Iterable[str]) -> str:
    """What to give in place of an unknown word: the nearest, else one of those there are.

    >>> hint("digts", ["mnist", "digits"]), hint("x", ["mnist", "digits"])
    ('did you mean digits?', 'there are mnist, digits')
    """
    known = list(known)
    near = nearest(word, known)
    return f"there are {', '.join(known)}" if near is None else f"did you mean {near}?"


def count(number: int, noun: str) -> str:
    """A number of things, the noun in singular or plural.

    >>> count(1, "file"), count(2000, "file"), count(2, "study"), count(2, "class")
    ('1 file', '2,000 files', '2 studies', '2 classes')
    """
    plural = {"study": "studies", "class": "classes"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"


def one_line(error: BaseException) -> str:
    """An error's class and text on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def sanitize(text: str) -> str:
    """The text without what moves a terminal's cursor or turns its writing round.

    Names in a database may be a stranger's.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


_SUBSTITUTES = {
    "█": "#", "░": ".", "│": "|", "└": "+", "─": "-", "●": "o", "·": ".", "±": "+-", "×": "x",
    "…": "...", "–": "-", "—": "-", "’": "'", "“": '"', "”": '"', "→": "->",
}  # fmt: skip


def substitute(text: str, encoding: str | None) -> str:
    """The text with what an encoding lacks in other characters, at the worst a question mark.

    >>> substitute("99.3 ± 0.1 ●", "ascii"), substitute("Katze 猫", "cp1252")
    ('99.3 +- 0.1 o', 'Katze ?')
    """

    def shown(character: str) -> str:
        try:
            character.encode(encoding or "ascii")
        except UnicodeEncodeError:
            return _SUBSTITUTES.get(character, "?")
        return character

    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return "".join(map(shown, text))
    return text


def redact(text: str) -> str:
    """The text without the passwords of the URLs in it, for people to read.

    A password may hold any character, so what is hidden goes on to the last `@` there is: rather
    too much than the end of a password. What is masked stays as it is.
    """
    shown = re.sub(r"(://[^:/]*:)(?!\*\*\*@).*@", r"\1***@", text, flags=re.DOTALL)
    return re.sub(rf"([?&]{_SECRET}=)(?!\*\*\*)[^&]*", r"\1***", shown, flags=re.IGNORECASE)
