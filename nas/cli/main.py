"""The command line: read the options, call one verb, turn errors into one line.

This file loads neither torch nor Optuna; each verb does, in nas/cli/verbs.py, when it is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from nas.cli.options import make_parser
from nas.errors import NasError, redact, sanitize


class _Output:
    """Standard output that knows why it cannot be written any more."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        with self._watch():
            return self.stream.write(text)

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
        except (OSError, SystemExit):  # the latter of argparse, which passes errors over
            if output.error is None:
                raise
    if output.error is None:
        return code
    if isinstance(output.error, BrokenPipeError):  # whoever read it has left
        return 1
    return _fail(f"standard output cannot be written: {output.error.strerror}", 1)


def _main(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except NasError as error:
        return _fail(" ".join(str(error).split()), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _run(arguments: list[str]) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    # argparse would ask for --budget before it names a misspelt --bugdet.
    if options.verb in ("search", "check") and options.budget is None:
        parser.error(f"{options.verb}: --budget is required, such as --budget 20000")
    # Read when torch is loaded: after this many turns its idle threads go to sleep. By default
    # they spin so long that two searches on two cores slow each other down a hundredfold.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from nas.cli import verbs

    run = {
        "search": verbs.search,
        "check": verbs.check,
        "ladder": verbs.ladder,
        "spaces": verbs.spaces,
        "show": verbs.show,
        "studies": verbs.studies,
        "export": verbs.export,
        "certify": verbs.certify,
        "dashboard": verbs.dashboard,
    }[options.verb]
    return run(options, arguments)


def _fail(line: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"nas: {sanitize(redact(line))}", file=sys.stderr, flush=True)
    return code
