"""The verb `spaces`."""

from __future__ import annotations

import nas
from nas.cli.command import verb


@verb("list the search spaces", [], ["nas spaces", "nas search --budget 3k --space tied"])
def spaces() -> int:
    entries = nas.list_spaces()
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:{width}}  {entry.summary}  ({entry.path})")
    return 0
