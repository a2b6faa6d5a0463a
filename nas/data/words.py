"""Lists and folders in the sentences of this wing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.errors import option


def given(folder: Path) -> str:
    """A folder as its reader gave it: `--dataset pets`."""
    return f"{option('dataset')} {folder}"


def some(names: Sequence[str], most: int = 3) -> str:
    """
    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
