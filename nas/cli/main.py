"""The command line: read the options, call one verb, turn errors into one line.

Neither this file nor those it imports load torch or Optuna; each verb does when it acts.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import click
from click.shell_completion import shell_complete

from nas import __version__
from nas.cli.certify import certify
from nas.cli.check import check
from nas.cli.command import Verbs, message_of, shown_alone
from nas.cli.dashboard import dashboard
from nas.cli.export import export
from nas.cli.ladder import ladder
from nas.cli.plot import plot
from nas.cli.predict import predict
from nas.cli.report import report
from nas.cli.search import search
from nas.cli.show import show
from nas.cli.spaces import spaces
from nas.cli.studies import studies
from nas.cli.verify import verify
from nas.errors import NasError, named_for_shell, redact, sanitize, substitute

VERBS = (
    search, check, ladder, spaces, show, studies, report, plot, export, verify, predict, certify,
    dashboard,
)  # fmt: skip
COMPLETION_VARIABLE = "_NAS_COMPLETE"


class _Output:
    """Standard output that knows why it cannot be written any more, and takes every character."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        with self._watch():
            return self.stream.write(substitute(text, self.stream.encoding))

    def flush(self) -> None:
        with self._watch():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            # Python would complain once more of what still waits to be written, at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 2 bad input, 130 interrupted, 1 else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # it was closed when Python began
        return _main(arguments)
    output = _Output(sys.stdout)
    with contextlib.redirect_stdout(output):
        try:
            try:
                code = _main(arguments)
            finally:  # not at Python's exit, which would complain in its own words
                output.flush()
        except OSError:
            if output.error is None:
                raise
    if output.error is None:
        return code
    if isinstance(output.error, BrokenPipeError):  # whoever read it has left
        return 1
    return _fail(f"nas: standard output cannot be written: {output.error.strerror}", 1)


def _main(arguments: list[str]) -> int:
    asked = os.environ.get(COMPLETION_VARIABLE)
    if asked:  # by a shell
        return shell_complete(COMMAND, {}, "nas", COMPLETION_VARIABLE, asked)
    # Read when torch is loaded: after this many turns its idle threads go to sleep. By default
    # they spin so long that two searches on two cores slow each other down a hundredfold.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        with named_for_shell(), COMMAND.make_context("nas", [*arguments], obj=arguments) as context:
            return COMMAND.invoke(context) or 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.UsageError as error:
        return _fail(message_of(error), error.exit_code)
    except NasError as error:
        return _fail(f"nas: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _fail("nas: interrupted", 130)


def _fail(line: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(sanitize(redact(" ".join(line.split()))), file=sys.stderr, flush=True)
    return code


def _begin(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


COMMAND = Verbs(
    "nas",
    commands={verb.name: verb for verb in VERBS},
    callback=click.pass_context(_begin),
    invoke_without_command=True,
    params=[
        shown_alone("--version", lambda _: f"nas {__version__}", "show the version and exit")
    ],
    subcommand_metavar="VERB [OPTIONS]",
    options_metavar="",
    begin={
        "nas search --budget 20k": "search; Ctrl-C ends it, and the same command goes on",
        "nas show best": "the best network so far, layer by layer",
        "nas export --out winner": "that network as PyTorch code with its weights",
    },
    environment={
        "NAS_STORAGE": "database with the studies, where no --storage is given",
        "NAS_DATA_DIR": "where data sets are kept, where no --data-dir is given",
        "NO_COLOR": "no colours, whatever its value",
    },
    epilog="`nas VERB --help` has the options of a verb. In bash, "
    '`eval "$(_NAS_COMPLETE=bash_source nas)"` completes verbs, options and their values; '
    "zsh_source and fish_source are there as well.",
    help="Find the most accurate small neural network under a hard parameter budget.",
)  # fmt: skip
