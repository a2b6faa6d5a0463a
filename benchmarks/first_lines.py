"""How long a person waits: seconds from Enter to the first line, and to the first score.

    python benchmarks/first_lines.py [--rounds 5]

Each command runs in a process of its own, on a pseudo-terminal of 80 columns, beside a database
with a search of one candidate on the digits; a round is one run of each command. Prints a row for
each: the medians over the rounds, and the longest wait for the first line. The first score is the
first accuracy that is printed, or the end where none is. The figures are kept in
benchmarks/results/first-lines.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pty
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "first-lines.json"
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|[\r\n\x08]")
SCORE = re.compile(rb"\d\d(\.\d+)? ?%")


ONCE = ["--budget", "5000", "--trials", "1", "--epochs", "1", "--dataset", "digits"]
COMMANDS = {
    "search --dataset digits": ["search", *ONCE, "--study", "new"],
    "search (MNIST)": ["search", "--budget", "20000"],
    "check (MNIST)": ["check", "--budget", "20000"],
    "certify (digits)": ["certify", "--top", "1", "--seeds", "1", "--study", "first"],
    "show": ["show", "--study", "first"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    waits: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        made.mkdir()
        wait_for(["search", *ONCE, "--study", "first"], made)
        for n, (name, arguments) in itertools.product(rounds, COMMANDS.items()):
            here = Path(folder) / f"{name}-{n}"
            shutil.copytree(made, here)
            waits[name].append(wait_for(arguments, here))
    rows = {}
    print("| command | first line, s (longest) | first score, s |")
    print("| --- | ---: | ---: |")
    for name, found in waits.items():
        first, score = (statistics.median(column) for column in zip(*found, strict=True))
        longest = max(wait for wait, _ in found)
        print(f"| `nas {name}` | {first:.2f} ({longest:.2f}) | {score:.2f} |")
        rows[name] = {"first line": first, "longest": longest, "first score": score}
    about = {"rounds": len(rounds), "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps({**about, "seconds": rows}, indent=2) + "\n")


def wait_for(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds to the first visible character, and to the first accuracy, or to the end where none
    is printed. A search is stopped at its first accuracy if it would be long."""
    master, slave = pty.openpty()
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        stdin=slave, stdout=slave, stderr=slave, cwd=folder, start_new_session=True,
        env=os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    first = score = None
    printed = b""
    while True:
        try:
            printed += os.read(master, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        now = time.perf_counter() - begun
        visible = ESCAPES.sub(b"", printed)
        first = first or (now if visible.strip() else None)
        score = score or (now if SCORE.search(visible) else None)
        if score and arguments[0] == "search" and "--trials" not in arguments:
            os.killpg(process.pid, signal.SIGKILL)
            break
    code = process.wait()
    end = time.perf_counter() - begun
    os.close(master)
    if first is None or code not in (0, -signal.SIGKILL):
        raise SystemExit(f"nas {' '.join(arguments)} ended with {code}:\n{printed.decode()}")
    return first, score or end


if __name__ == "__main__":
    main()
