"""The verb `spaces`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import click

import nas
from nas.cli.command import Option, verb
from nas.cli.options import OUTPUT, STORAGE, STUDIES, flag
from nas.cli.say import say
from nas.cli.values import Folder
from nas.errors import option


@verb(
    "list the search spaces, or write one as it was searched",
    [
        Option(
            "--study", group=STUDIES, metavar="NAME",
            help="write the space file of that study, which may have changed since, to go on with "
            "the study or to repeat it",
        ),
        STORAGE,
        Option(
            "--out", type=Folder(), metavar="FILE", group=OUTPUT,
            help="file to write, which ends in .py (default: SPACE.py here)",
        ),
        flag("force", "replace a file of that name"),
    ],
    ["nas spaces", "nas spaces --study mnist-5k --out before.py"],
)  # fmt: skip
def spaces(study: str | None, storage: str | None, out: Path | None, force: bool) -> int:
    if study is not None:
        path = nas.load_study(study, storage=storage).save_space(out, force=force)
        where = path if path.is_absolute() else f"./{path.as_posix()}"
        say(f"wrote {path}; {option('space', str(where))} takes that")
        return 0
    for name, value in (("storage", storage), ("out", out), ("force", force or None)):
        if value is not None:
            text = f"--{name} is for the space of one study: give --study NAME as well"
            raise click.UsageError(text, click.get_current_context())
    entries = nas.list_spaces()
    width = max((len(entry.name) for entry in entries), default=0)
    columns = shutil.get_terminal_size().columns
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    for entry in entries:
        if is_terminal:  # those that came with nas need no path there
            where = f"  ({entry.path})" if not entry.path.is_absolute() else ""
            say(_entry_text(f"{entry.name:{width}}  ", entry.summary + where, columns))
        else:
            say(f"{entry.name:{width}}  {entry.summary}  ({entry.path})")
    return 0


def _entry_text(name: str, text: str, columns: int) -> str:
    """The text beside the name, in as many lines as it takes; beneath it where that is narrow."""
    indent = " " * (len(name) if columns >= len(name) + 40 else 2)
    lines = textwrap.wrap(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
    if len(indent) == len(name):
        return "\n".join([name + lines[0][len(name) :], *lines[1:]]) if lines else name
    return "\n".join([name.rstrip(), *lines])
