"""`gpu.py search`: whole searches on a card, from the command line.

check: `nas check --budget 20000`: what is forecast.
digits: `nas search --dataset digits --budget 3000 --trials 40`.
eager: the same for ten candidates with `--engine eager`.
interrupt: a search is sent Ctrl-C after 20 s: how long until it has ended.
whole: `nas search --budget 20000 --trials 50` on MNIST where it is at hand, else on the digits,
    for four minutes at most.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpu_parts import Figures, card

ROOT = Path(__file__).parents[1]
DIGITS = ("--dataset", "digits", "--budget", "3000")


def run_nas(
    device: str, *arguments: str, limit: float, interrupt_after: float | None = None
) -> Figures:
    """A command of nas in a folder of its own: its end, its seconds, and what it said."""
    command = [sys.executable, "-m", "nas", *arguments, "--device", device]
    with tempfile.TemporaryDirectory() as folder:
        where = os.environ | {"PYTHONPATH": str(ROOT)}
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=where, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        figures: Figures = {}
        try:
            output, _ = process.communicate(timeout=interrupt_after or limit)
        except subprocess.TimeoutExpired:
            asked = time.perf_counter()
            process.send_signal(signal.SIGINT)
            try:
                output, _ = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
            figures["seconds from Ctrl-C to the end"] = time.perf_counter() - asked
        lines = output.splitlines()
        # After a Ctrl-C that was meant, 128 + its number.
        expected = 130 if interrupt_after else 0
        is_good = process.returncode == expected
        return figures | {
            "command": " ".join(command[2:]), "seconds": time.perf_counter() - started,
            "exit code": process.returncode, "first lines": lines[:6], "last lines": lines[-8:],
            "failed": [] if is_good else [lines[-1] if lines else "nothing said"],
        }  # fmt: skip


def search_of(
    *arguments: str, limit: float, interrupt_after: float | None = None
) -> Callable[[str], Figures]:
    def search(device: str) -> Figures:
        return run_nas(device, *arguments, limit=limit, interrupt_after=interrupt_after)

    return search


SEARCHES: dict[str, Callable[[str], Figures]] = {
    "card": card,
    "check": search_of("check", "--budget", "20000", limit=60),
    "digits": search_of("search", *DIGITS, "--trials", "40", limit=60),
    "eager": search_of("search", *DIGITS, "--trials", "10", "--engine", "eager", limit=30),
    "interrupt": search_of("search", *DIGITS, "--trials", "5000", limit=60, interrupt_after=20),
    "whole": search_of(
        "search", "--budget", "20000", "--trials", "50", "--timeout", "240s", limit=270
    ),
}
