"""The command line: read the options, call one verb, turn errors into one line.

This file loads neither torch nor Optuna; each verb does, in nas/verbs.py, when it is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from nas.errors import NasError, masked, printable
from nas.options import make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 2 bad input, 130 interrupted, 1 else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = make_parser()
        options = parser.parse_args(arguments)
        # argparse would ask for --budget before it names a misspelt --bugdet.
        if options.verb in ("search", "check") and options.budget is None:
            parser.error(f"{options.verb}: --budget is required, such as --budget 20000")
        # Read when torch is loaded: after this many turns its idle threads go to sleep. By default
        # they spin so long that two searches on two cores slow each other down a hundredfold.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
        from nas import verbs

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
    except NasError as error:
        return _fail(" ".join(str(error).split()), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read our output has left. Python would complain once more when it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(line: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"nas: {printable(masked(line))}", file=sys.stderr, flush=True)
    return code
