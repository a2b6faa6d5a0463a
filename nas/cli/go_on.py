"""The line that says how to go on with a search that has ended early."""

from __future__ import annotations

import shlex

import click

from nas.errors import redact


def go_on(minutes: int | None = None) -> str:
    """The command line that is running, with another time limit if one is given."""
    arguments: list[str] = click.get_current_context().obj
    if minutes is not None:
        arguments = [*_without_timeout(arguments), "--timeout", f"{minutes}m"]
    return f"go on with: nas {shlex.join(redact(word) for word in arguments)}"


def _without_timeout(arguments: list[str]) -> list[str]:
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--timeout":
            next(words, None)
        elif not word.startswith("--timeout="):
            kept.append(word)
    return kept
