"""Try and measure the engine for CUDA on a real card.

    python benchmarks/gpu.py checks [--only eager equal] [--out gpu-checks.json]
    python benchmarks/gpu.py speed  [--only naive strong] [--out gpu-speed.json]
    python benchmarks/gpu.py search [--only digits] [--out gpu-search.json]

`checks` and `speed` need torch and numpy alone; `search` needs what nas needs. Images are random,
or the digits that come with scikit-learn. Each part is saved when it ends, with its seconds or with
its whole traceback, and the next one runs all the same, in a process of its own: after some errors
CUDA refuses everything. Each command takes less than eight minutes: what has not begun by then is
left out, and says so. What the parts are says the head of `gpu_checks.py`, `gpu_speed.py` and
`gpu_search.py`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]

COMMANDS = {
    "checks": ("gpu_checks", "CHECKS", 90),
    "speed": ("gpu_speed", "CASES", 90),
    "search": ("gpu_search", "SEARCHES", 310),
}  # its module, what that has, and the seconds that a part may take
MOST_SECONDS = 460


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("--only", nargs="*", metavar="PART", help="default: all")
    parser.add_argument("--device", default="cuda", help="cpu tries the script itself")
    parser.add_argument("--out", type=Path, help="default: gpu-WHAT.json")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = parts_of(options.what)
    if unknown := set(options.only or ()) - set(parts):
        parser.error(f"no part {', '.join(unknown)}: choose {', '.join(parts)}")
    if options.here:  # one part, in this process
        print(json.dumps(parts[options.only[0]](options.device)))
        return 0
    out = options.out or Path(f"gpu-{options.what}.json")
    results: Figures = {}
    started = time.perf_counter()
    for name in options.only or parts:
        left = MOST_SECONDS - (time.perf_counter() - started)
        results[name] = run(options.what, name, options.device, left)
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        is_good = not faults(results[name])
        print(f"{'ok  ' if is_good else 'FAIL'} {name}, {results[name]['seconds']} s", flush=True)
        if not is_good:
            print(faults(results[name]), flush=True)
    return int(any(faults(result) for result in results.values()))


def parts_of(what: str) -> dict[str, Callable[[str], Figures]]:
    module, name, _ = COMMANDS[what]
    parts: dict[str, Callable[[str], Figures]] = getattr(importlib.import_module(module), name)
    return parts


def faults(result: Figures) -> Any:
    return result.get("error") or result.get("failed")


def run(what: str, name: str, device: str, left: float) -> Figures:
    """A part in a process of its own: its figures, or its last words."""
    limit = min(COMMANDS[what][2], left)
    if limit < 5:
        return {"error": f"left out: {MOST_SECONDS} s are over", "seconds": 0}
    command = [sys.executable, __file__, what, "--here", "--only", name, "--device", device]
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit:.0f} s", "seconds": round(limit, 1)}
    seconds = round(time.perf_counter() - started, 1)
    if done.returncode:
        return {"error": done.stderr[-6000:], "seconds": seconds}
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
