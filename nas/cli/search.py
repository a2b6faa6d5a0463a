"""The verb `search`."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nas
from nas.cli.command import Option, verb
from nas.cli.go_on import go_on
from nas.cli.options import OUTPUT, flag, search_options
from nas.cli.say import say, say_first
from nas.cli.values import Folder
from nas.errors import command, redact
from nas.searching.config import SearchConfig

if TYPE_CHECKING:
    from nas.searching.events import Event


@verb(
    "search for the best network under a budget",
    [
        *search_options(),
        flag("json", "print one JSON object for each event"),
        flag("quiet", "print the summary alone"),
        Option(
            "--tensorboard",
            type=Folder(),
            metavar="DIR",
            group=OUTPUT,
            help="write a TensorBoard run of each training into this folder",
        ),
    ],
    [
        "nas search --budget 20k --timeout 10m",
        "nas search --budget 5k --dataset photos/ --image-size 32 --space tied",
    ],
)
def search(json: bool, quiet: bool, tensorboard: Path | None, **fields: Any) -> int:
    if json and quiet:
        raise click.UsageError("--quiet is not allowed with --json", click.get_current_context())
    config = SearchConfig(**fields)
    if not (json or quiet):
        say_first("search", str(config.dataset or "MNIST"))
    from nas.reports.live import make_display
    from nas.searching.stop import StopRequest

    callbacks: list[Any] = [make_display(json, quiet)]
    if tensorboard is not None:
        callbacks.append(nas.TensorBoard(tensorboard))
    stop = StopRequest(config.timeout_seconds)
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            stack.enter_context(callback)

        def tell(event: Event) -> None:
            for callback in callbacks:
                callback(event)

        study = nas.search(config, callback=tell, stop=stop)
    ended = study.ended
    assert ended is not None
    is_plain = not (json or quiet)
    if stop.exit_code:
        # Not among JSON lines or a bare summary, but to be seen all the same.
        say(go_on(), is_error=not is_plain)
    elif is_plain and (ended.best_trial is None or ended.best_schedule):
        minutes = None if ended.seconds_needed is None else math.ceil(ended.seconds_needed / 60)
        say(go_on(minutes))
    if ended.best_trial is not None and is_plain:
        where = {"study": study.name}
        if config.storage is not None:
            where["storage"] = redact(config.storage)
        say(f"look at it: {command('show best', **where)}")
        is_for_device = config.max_flash is not None or config.max_ram is not None
        form = {"format": "pytorch,c"} if is_for_device else {}
        say(f"take it home: {command('export', **form, **where)}")
    if stop.exit_code:
        return stop.exit_code
    return 0 if ended.best_trial is not None else 1
