"""The text of a space, as a study keeps it."""

from __future__ import annotations

import ast
import contextlib
import io
import tokenize


def is_of_a_function(source: str) -> bool:
    """Whether a function in Python was the space: a file has imports beside its function.

    >>> is_of_a_function("def suggest(trial, task): ...")
    True
    """
    with contextlib.suppress(SyntaxError, ValueError):  # of another Python
        body = ast.parse(source).body
        return len(body) < 2 and not any(isinstance(part, ast.Expr) for part in body)
    return False


def encoded(source: str) -> bytes:
    """The bytes of a file that Python reads as this text, in the coding that it names."""
    encoding = "utf-8"
    with contextlib.suppress(SyntaxError):  # a coding that this Python does not know
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source.encode()).readline)
    return source.encode(encoding)
