"""The verb `spaces`."""

from __future__ import annotations

import shutil
import sys
import textwrap

import nas
from nas.cli.command import verb
from nas.cli.say import say


@verb("list the search spaces", [], ["nas spaces", "nas search --budget 3k --space tied"])
def spaces() -> int:
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
