"""What a verb prints itself: lines without what a stranger's name could do to a terminal."""

from __future__ import annotations

import sys

from nas.errors import redact, sanitize


def say(text: str, *, is_error: bool = False) -> None:
    """A line, shown at once."""
    print(sanitize(text), file=sys.stderr if is_error else sys.stdout, flush=True)


def say_first(verb: str, what: str) -> None:
    """On a terminal, what is being loaded: torch and the images take seconds."""
    if sys.stdout is not None and sys.stdout.isatty():
        say(f"nas {verb}: loading {redact(what)} ...")
