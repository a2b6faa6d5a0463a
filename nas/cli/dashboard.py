"""The verb `dashboard`."""

from __future__ import annotations

import nas
from nas.cli.command import verb
from nas.cli.options import STORAGE, flag, whole
from nas.cli.say import say


@verb(
    "browse the studies in a web browser",
    [
        STORAGE,
        whole("port", 0, 65535, 8080, "PORT", "port on this machine, 0 for any that is free"),
        flag(
            "expose",
            "let other machines in: there is no log-in, and whoever reaches it can delete studies",
        ),
    ],
    ["nas dashboard", "nas dashboard --storage sqlite:///other.db --port 0"],
)
def dashboard(storage: str | None, port: int, expose: bool) -> int:
    nas.dashboard(
        storage=storage, port=port, expose=expose,
        callback=lambda line: say(f"{line} (Ctrl-C ends)"),
    )  # fmt: skip
    return 0
