"""The options of the command line, as a parser. It loads neither torch nor Optuna."""

from __future__ import annotations

import argparse
import difflib
import errno
import functools
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from nas import __version__
from nas.candidates.budget import parse_budget, parse_count
from nas.errors import NasError, redact

Value = TypeVar("Value")


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        match = re.match(r"unrecognized arguments: (-\S+)", message)
        if match:
            message += self._hint(match[1].partition("=")[0])
        self.exit(2, f"{self.prog}: {redact(' '.join(message.split()))}\n")

    def _hint(self, unknown: str) -> str:
        """What may have been meant with an option that the verb does not have."""
        verbs = {"": self, **self._verbs()}
        options = {verb: [o for a in p._actions for o in a.option_strings]
                   for verb, p in verbs.items()}  # fmt: skip
        having = [f"nas {verb}".strip() for verb, known in options.items() if unknown in known]
        if having:
            return f" (an option of {', '.join(having)})"
        every = list(itertools.chain(*options.values()))
        near = difflib.get_close_matches(unknown, every, n=1)
        return f" (did you mean {near[0]}?)" if near else ""

    def _verbs(self) -> dict[str, argparse.ArgumentParser]:
        found = [a for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        return dict(found[0].choices) if found else {}


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nas",
        description="Find the most accurate small neural network under a hard parameter budget.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nas {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    search = _verb(verbs, "search", "search for the best network under a budget")
    _add_budget(search)
    _add_task(search)
    _add_search(search)
    search.add_argument(
        "--study", metavar="NAME",
        help="name of the study, continued when it exists (default: SPACE-DATA-BUDGET)",
    )  # fmt: skip
    search.add_argument(
        "--warm-start", type=_text, metavar="STUDY",
        help="begin with the values of the ten best trials of another study of the same space",
    )  # fmt: skip
    how = search.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object for each event")
    how.add_argument("--quiet", action="store_true", help="print the summary alone")

    check = _verb(verbs, "check", "say what a search would find in a space, and how long it takes")
    _add_budget(check)
    _add_task(check)
    _add_trials(check)
    _add_timeout(check)
    _add_pruner(check)
    _add_device(check)
    check.add_argument(
        "--draws", type=_whole(10, 10**6), default=1000, metavar="N",
        help="candidates to draw at random (default: %(default)s)",
    )  # fmt: skip

    ladder = _verb(verbs, "ladder", "search under several budgets, and draw accuracy over size")
    ladder.add_argument(
        "--budgets", type=_checked(parse_budgets), default="1k,3k,5k,10k,20k", metavar="N,N,...",
        help="a study for each; every network counts for each budget it fits "
        "(default: %(default)s)",
    )  # fmt: skip
    _add_task(ladder)
    _add_search(ladder)
    ladder.add_argument("--quiet", action="store_true", help="print the summaries alone")

    _verb(verbs, "spaces", "list the search spaces")

    show = _verb(verbs, "show", "show the best trials of a study, or one trial")
    show.add_argument(
        "trial", nargs="?", type=_trial, metavar="TRIAL",
        help="number of a trial, or 'best'; without it the leaderboard is shown",
    )  # fmt: skip
    _add_study(show)
    _add_storage(show)
    show.add_argument(
        "--top", type=_whole(1, 10**6), default=10, metavar="N",
        help="rows of the leaderboard (default: %(default)s)",
    )  # fmt: skip

    studies = _verb(verbs, "studies", "list the studies in a storage")
    _add_storage(studies)

    export = _verb(verbs, "export", "write a trained network as PyTorch code with its weights")
    export.add_argument(
        "trial", nargs="?", type=_trial, metavar="TRIAL",
        help="number of a trial, or 'best' (default: best)",
    )  # fmt: skip
    export.add_argument(
        "--out", type=_path, metavar="DIR",
        help="folder to make (default: STUDY-trial-NUMBER here)",
    )  # fmt: skip
    export.add_argument("--force", action="store_true", help="replace an earlier export")
    _add_study(export)
    _add_storage(export)
    _add_data_dir(export)

    certify = _verb(verbs, "certify", "train the best again with fresh seeds, and test the winner")
    certify.add_argument(
        "trials", nargs="*", type=_whole(0, 10**9), metavar="TRIAL",
        help="numbers of trials (default: the --top best of the study)",
    )  # fmt: skip
    certify.add_argument(
        "--top", type=_whole(1, 100), default=3, metavar="K",
        help="how many of the best to compare when no trials are named (default: %(default)s)",
    )  # fmt: skip
    certify.add_argument(
        "--seeds", type=_whole(1, 1000), default=5, metavar="N",
        help="trainings of each, with fresh seeds (default: %(default)s)",
    )  # fmt: skip
    certify.add_argument(
        "--protocol", choices=("honest", "watched"), default="honest",
        help="honest: decide on validation images, then train the best on all training images and "
        "open the test images once; watched: test after every epoch, as many published figures "
        "do, which flatters (default: %(default)s)",
    )  # fmt: skip
    _add_study(certify)
    _add_storage(certify)
    _add_data_dir(certify)
    _add_device(certify)

    dashboard = _verb(verbs, "dashboard", "browse the studies in a web browser")
    _add_storage(dashboard)
    dashboard.add_argument(
        "--port", type=_whole(0, 65535), default=8080, metavar="PORT",
        help="port on this machine, 0 for any that is free (default: %(default)s)",
    )  # fmt: skip
    dashboard.add_argument(
        "--expose", action="store_true",
        help="let other machines in: there is no log-in, and whoever reaches it can delete studies",
    )  # fmt: skip
    return parser


def parse_seconds(text: str) -> float:
    """A time as people write it: `600`, `90s`, `15m`, `1.5h`.

    Raises:
        NasError: anything else, or a time that is not above 0 and at most a year.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smh]?)", text, re.ASCII)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0
    if not 0 < seconds <= 366 * 24 * 3600:
        raise NasError(
            f"--timeout {text!r} is no time: give seconds above 0, or a unit as in 90s, 15m, 2h"
        )
    return seconds


def parse_budgets(text: str) -> tuple[int, ...]:
    """Several budgets with commas between them, returned without repeats, the smallest first."""
    return tuple(sorted({parse_budget(part, "--budgets") for part in text.split(",")}))


def _verb(
    verbs: argparse._SubParsersAction[_Parser], name: str, summary: str
) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", allow_abbrev=False
    )


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage", type=_text, metavar="URL",
        help="database with the studies, any URL that Optuna takes "
        "(default: $NAS_STORAGE, else sqlite:///studies.db, a file in the current folder)",
    )  # fmt: skip


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--study", metavar="NAME", help="name of the study (default: the one last searched)"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE",
        help="auto, cpu, cuda, cuda:1, mps (default: %(default)s, the fastest there is)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("auto", "bf16", "fp32"), default="auto",
        help="number format of convolutions while training; auto is bf16 where the hardware has it "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_whole(1, 1024), metavar="N",
        help="candidates trained at once (default: one for each core on a CPU, 4 on a CUDA GPU)",
    )  # fmt: skip


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget", type=_checked(parse_budget), metavar="N",
        help="required: a network fits when it has fewer parameters than this; 20000, 20_000 or "
        "20k",
    )  # fmt: skip


def _add_task(parser: argparse.ArgumentParser) -> None:
    """What is searched: the space, the images, the limits beside the budget."""
    parser.add_argument(
        "--space", type=_text, metavar="SPACE",
        help="search space: a name that `nas spaces` lists, or a file such as my/space.py "
        "(default: the blocks that came with nas)",
    )  # fmt: skip
    parser.add_argument(
        "--dataset", type=_text, metavar="DATA",
        help="mnist, fashion-mnist, kmnist, cifar10, digits, or a folder of images with class "
        "folders in it (default: mnist where it is at hand or can be downloaded, else digits)",
    )  # fmt: skip
    _add_data_dir(parser)
    parser.add_argument(
        "--image-size", type=_whole(4, 1024), metavar="PIXELS",
        help="bring the images of a folder to this width and height",
    )  # fmt: skip
    parser.add_argument(
        "--valid-share", default="1/12", metavar="SHARE",
        help="share of the training images held out to validate on (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--split-seed", type=_whole(0, 2**32 - 1), default=0, metavar="SEED",
        help="seed of the choice of validation images (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=_whole(1, 10_000), default=19, metavar="N",
        help="the most epochs a candidate trains for (default: %(default)s)",
    )  # fmt: skip
    for option, what, text in (
        (
            "--max-macs",
            "multiply-accumulates",
            "the most multiply-accumulates to classify an image",
        ),
        ("--max-weight-bytes", "bytes", "the most bytes that all parameters may take"),
        ("--max-activation-bytes", "bytes", "the most bytes of values held at once for an image"),
    ):
        parse = functools.partial(parse_count, option=option, what=what)
        parser.add_argument(option, type=_checked(parse), metavar="N", help=text)
    parser.add_argument(
        "--bits", type=int, choices=(32, 16, 8, 4), default=32,
        help="bits of one value, for the two limits in bytes (default: %(default)s)",
    )  # fmt: skip


def _add_search(parser: argparse.ArgumentParser) -> None:
    """How it is searched, how long, and where that is kept."""
    _add_trials(parser)
    parser.add_argument(
        "--max-rejected", type=_whole(1, 10**6), default=500, metavar="N",
        help="end the search after this many proposals in a row that do not fit "
        "(default: %(default)s)",
    )  # fmt: skip
    _add_timeout(parser)
    _add_storage(parser)
    parser.add_argument(
        "--seed", type=_whole(0, 2**32 - 1), default=0, metavar="SEED",
        help="seed of proposals and trainings (default: %(default)s)",
    )  # fmt: skip
    _add_device(parser)
    parser.add_argument(
        "--sampler", choices=("auto", "tpe", "gp", "random"), default="auto",
        help="how candidates are proposed; auto is gp where every candidate has the same "
        "parameters, else tpe (default: %(default)s)",
    )  # fmt: skip
    _add_pruner(parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=_checked(parse_seconds), metavar="TIME",
        help="end the search after this time: seconds, or with a unit as in 90s, 15m, 2h; how many "
        "candidates are trained, and for how long, is planned so that the best one ends its "
        "schedule inside it; several budgets share it (default: none)",
    )  # fmt: skip


def _add_trials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trials", type=_whole(1, 10**6), default=50, metavar="N",
        help="trained candidates the study is to hold at the end; proposals over budget do not "
        "count (default: %(default)s)",
    )  # fmt: skip


def _add_pruner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pruner", choices=("squeezed", "median", "none"), default="squeezed",
        help="how weak candidates are stopped early; squeezed: each first has its whole schedule "
        "in 1 epoch, the best of these in 4, the best of those in all; median: within the long "
        "schedule (default: %(default)s)",
    )  # fmt: skip


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=_path, metavar="DIR",
        help="where data sets are kept and downloaded to (default: $NAS_DATA_DIR, else nas/ in "
        "the user's cache folder)",
    )  # fmt: skip


def _checked(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """A parser of ours as argparse wants it: its message is the whole line."""

    def convert(text: str) -> Value:
        try:
            return parse(text)
        except NasError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        is_whole = re.fullmatch(r"\d{1,12}", text, re.ASCII)
        if not is_whole or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {low:,} to {high:,}"
            )
        return int(text)

    return convert


def _text(text: str) -> str:
    """What may name a file, whether or not there is one."""
    try:
        os.lstat(text)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(
                f"{redact(text)[:40]!r} is too long, or holds a character that no file name has"
            ) from None
    return text


def _path(text: str) -> Path:
    return Path(_text(text))


def _trial(text: str) -> int | Literal["best"]:
    return "best" if text == "best" else _whole(0, 10**9)(text)
