"""Where the files of search spaces lie.

A space is found by name in `./search_spaces`, then among those that ship with the package, or given
as a path. Listing reads docstrings and runs nothing. Where none is named, it is the default that
ships with the package: a file in the current folder runs only when named.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.errors import SpaceError, hint, one_line, option

FOLDER = "search_spaces"
DEFAULT = "blocks"


@dataclass(frozen=True)
class SpaceEntry:
    """A search space file that was found but not run."""

    name: str
    summary: str  # first line of the docstring, or what is wrong with the file
    path: Path


def list_spaces() -> list[SpaceEntry]:
    """Every space that `--space NAME` finds, first come first served, without running any."""
    entries: dict[str, SpaceEntry] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                entries.setdefault(path.stem, SpaceEntry(path.stem, _summary(path), path))
    return sorted(entries.values(), key=lambda entry: entry.name)


def default_paths() -> list[Path]:
    """Where the default space may lie: in the current folder, then with the package."""
    return [folder / f"{DEFAULT}.py" for folder in _folders()]


def shipped_default() -> Path:
    """The default space that ships with the package."""
    return next(path for path in default_paths()[1:] if path.is_file())


def _folders() -> Iterator[Path]:
    yield Path(FOLDER)
    package = Path(__file__).parents[1]
    # Inside an installed package; beside the package in a source checkout.
    yield package / FOLDER
    yield package.parent / FOLDER


def find(name_or_path: str) -> Path:
    """The file of a space.

    Raises:
        SpaceError: there is none.
    """
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(".py"):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise SpaceError(f"{option('space')} {name_or_path}: no such file")
        return path
    spaces = {entry.name: entry.path for entry in list_spaces()}
    if name_or_path not in spaces:
        raise SpaceError(
            f"{option('space')} {name_or_path!r} is unknown (a file is given by its path, such as "
            f"my/space.py): {hint(name_or_path, spaces)}"
        )
    return spaces[name_or_path]


def _summary(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError) as error:
        return f"(broken: {one_line(error)})"
    return docstring.splitlines()[0] if docstring else "(no docstring)"
