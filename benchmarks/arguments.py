"""Type thousands of random command lines, and see that each runs or is refused in one line.

    python benchmarks/arguments.py [--count 10000] [--seed 0]

The lines are made of the verbs and options there are, of values that are good, nearly good or
hostile, and of words that mean nothing. They run in a folder with a study of a real search. What
would train, serve or export is cut short once every check is passed. Refused means: exit code 2,
one line on standard error, nothing on standard output, no traceback, and no file made or changed,
but for the cache of decoded images.
Prints how many were accepted and refused; every other end is shown, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click

from nas.cli.main import COMMAND
from nas.cli.main import main as nas

ROOT = Path(__file__).parents[1]
GOOD: dict[str, list[str]] = {  # by option; what is not here takes its default or any word
    "--budget": ["20000", "20k", "1_000", "5k"],
    "--budgets": ["1k,3k", "20k", "5k,5k"],
    "--space": ["blocks", "tied", "residual", "separable", "references", "mine.py"],
    "--dataset": ["digits", "images"],
    "--data-dir": ["data", "."],
    "--image-size": ["8", "16"],
    "--fit": ["stretch", "crop", "pad"],
    "--valid-share": ["1/12", "0.2", "1/5"],
    "--storage": ["sqlite:///studies.db", "sqlite:///other.db"],
    "--study": ["mnist-20k-example", "new", "größe"],
    "--warm-start": ["mnist-20k", "mnist-20k-example"],
    "--timeout": ["90s", "2h", "600"],
    "--device": ["auto", "cpu"],
    "--out": ["out", "a/b"],
    "--max-flash": ["16k", "80000"],
    "--max-ram": ["16k", "60000"],
    "--max-macs": ["1000000", "5m"],
    "--max-weight-bytes": ["80000"],
    "--max-activation-bytes": ["60000"],
    "--bits": ["8", "32"],
    "--draws": ["10", "20"],
    "--workers": ["1", "2"],
}
NUMBERS = ["0", "1", "2", "3", "10", "19", "4294967295", "999999999"]
HOSTILE = [
    "", " ", "-", "--", "-1", "-0", "1.5", "1e9", "1e9999", "nan", "inf", "-inf", "0x10", "२०", "١",
    "NaN", "None", "true", "9" * 400, "a" * 5000, "../..", "/", "/dev/null", "/etc/passwd", ".",
    "..", "~", "$HOME", "%s%n", "{x}", "{0.__class__}", "a\0b", "a\nb", "\x1b[31m", "\u202e", "😀",
    "e\u0301", "\udcff", "';DROP TABLE studies;--", "<script>", "http://x", "sqlite://",
    "sqlite:///", "sqlite:///.", "sqlite:///no/such.db", "sqlite:///{x}.db", "sqlite:///empty.db",
    "sqlite:///text.db", "postgresql://u:hunter2@127.0.0.1:1/x", "postgresql://", "mysql://x",
    "redis://x", "grpc://x", "journal:///x", "cuda:9", "gpu", "1/0", "1/1", "0/1", "-1/3", "2/1",
    "mnist", "text.db", "empty", "broken.py", "odd.py", "k", "20K", "1k,,2k", ",", "5 parsecs",
]  # fmt: skip
SPACE = """def suggest(trial, task):
    from nas import Architecture, Candidate, Conv, Flatten, GlobalAvgPool, Linear, Recipe

    width = trial.suggest_int("width", 1, 30)
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))
"""


class Accepted(BaseException):
    """Every check is passed: what follows would take time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    os.environ.pop("NAS_DATA_DIR", None)
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), cut_short():
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        lines = [command_line(rng) for _ in range(options.count)]
        for number, line in enumerate(lines):
            if number % 200 == 0:
                furnish(Path(folder))
            end, detail = type_line(line, Path(folder))
            ends[end] += 1
            if end not in ("accepted", "refused"):
                shown = [word if len(word) < 100 else f"{word[:20]}..." for word in line]
                print(f"# {end}: {shown}\n{detail[:200]}...{detail[-1500:]}", file=sys.stderr)
    print(", ".join(f"{count:,} {end}" for end, count in ends.most_common()))
    sys.exit(0 if set(ends) <= {"accepted", "refused"} else 1)


def command_line(rng: random.Random) -> list[str]:
    """One with no, one or several things wrong with it."""
    wrong = rng.choice([0.0, 0.05, 0.3])
    name = rng.choice(list(COMMAND.commands))
    params = [param for param in COMMAND.commands[name].params if param.name != "help"]
    chosen = rng.sample(params, rng.randint(0, min(5, len(params))))
    if name in ("search", "check") and rng.random() > wrong:
        chosen += [p for p in params if p.name in ("budget", "dataset") and p not in chosen]
    words = []
    for param in chosen:
        option = param.opts[-1] if isinstance(param, click.Option) else ""
        value = value_of(rng, param, option, wrong)
        if option and value is not None and rng.random() < 0.2:
            words.append(f"{option}={value}")
        else:
            words += [word for word in (option, value) if word]
    if rng.random() < wrong:
        words.insert(rng.randint(0, len(words)), rng.choice(HOSTILE))
    if rng.random() < wrong and words:
        words.pop(rng.randrange(len(words)))
    return [name if rng.random() > wrong / 3 else rng.choice(HOSTILE), *words]


def value_of(rng: random.Random, param: click.Parameter, option: str, wrong: float) -> str | None:
    if isinstance(param, click.Option) and param.is_flag:
        return None
    if rng.random() < wrong:
        return rng.choice(HOSTILE + NUMBERS)
    if isinstance(param.type, click.Choice):
        return str(rng.choice(list(param.type.choices)))
    return rng.choice(GOOD.get(option, NUMBERS))


def furnish(folder: Path) -> None:
    """What people may have lying about, and a study of a real search."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(ROOT / "studies.db", folder)
    (folder / "mine.py").write_text(SPACE)
    (folder / "broken.py").write_text("def suggest(trial, task:\n")
    (folder / "odd.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "text.db").write_text("no database\n")
    (folder / "empty.db").touch()
    (folder / "empty").mkdir()
    from PIL import Image

    for label in "ab":
        (folder / "images" / label).mkdir(parents=True)
        for n in range(12):
            Image.new("L", (8, 8), 20 * n).save(folder / "images" / label / f"{n}.png")


@contextlib.contextmanager
def cut_short() -> Iterator[None]:
    """End with `Accepted` where training, serving or exporting would begin."""
    import nas.api
    import nas.certification.certify
    import nas.searching.setup

    def accept(*args: Any, **kwargs: Any) -> None:
        raise Accepted

    with (
        mock.patch.object(nas.searching.setup.SearchSetup, "run", accept),
        mock.patch.object(nas.searching.setup.WorkerPool, "__enter__", lambda self: self),
        mock.patch.object(nas.certification.certify.Certification, "run_honest", accept),
        mock.patch.object(nas.certification.certify.Certification, "run_watched", accept),
        mock.patch("nas.api.searches.forecast", accept),
        mock.patch("nas.api.exports.export_trial", accept),
        mock.patch("nas.api.pages.serve", accept),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def type_line(line: list[str], folder: Path) -> tuple[str, str]:
    """What became of a command line, and what it said."""
    before = contents(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code, trace = call(lambda: nas(line))
    said = err.getvalue()
    detail = f"exit code {code}\n{out.getvalue()[-300:]}{said[-1000:]}{trace}"
    if trace:
        return "raised", detail
    if "hunter2" in said + out.getvalue():
        return "told a password", detail
    if code == 2:
        is_one_line = re.fullmatch(r"nas[ a-z]*: [^\n]+\n", said) and not out.getvalue()
        if not is_one_line:
            return "more than a line", detail
        after = contents(folder)
        if after != before:
            changed = [p for p in {**before, **after} if before.get(p, 0) != after.get(p, 0)]
            return "wrote something", f"{changed}\n{detail}"
        return "refused", ""
    found_none = code == 1 and line[0] == "check" and " draws 0 fit " in out.getvalue()
    return ("accepted", "") if code == 0 or found_none else (f"exit code {code}", detail)


def call(function: Callable[[], int]) -> tuple[Any, str]:
    try:
        return function(), ""
    except Accepted:
        return 0, ""
    except SystemExit as leaving:
        return leaving.code or 0, ""
    except BaseException:
        return None, traceback.format_exc()


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every file with what is in it, and every empty folder; decoded images do not count."""
    paths = [p for p in folder.rglob("*") if "folders" not in p.parts]
    return {
        p: p.read_bytes() if p.is_file() else None
        for p in paths
        if p.is_file() or not any(p.iterdir())
    }


if __name__ == "__main__":
    main()
