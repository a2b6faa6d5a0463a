"""Compare search spaces under a budget, at equal amounts of training.

    python benchmarks/spaces.py --data-dir DATA --budget 5000 [--repeats 2] [--trainings 4]

Each space is searched by `nas search` as it is, for as many epochs as so many full trainings of 19
epochs take, by the rules of `search.py`: 15,000 training images; the answer at any time is the best
trial on 5,000 validation images, trained again with fresh seeds and measured on 30,000 training
images that nothing else used. No test image is read. Each search is kept in
benchmarks/results/spaces.json when it ends, and the script goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import optuna
import torch
from search import CHECKPOINTS, STATE, Errors, answers, lead, run_missing
from ways import PRECISION, Meter, search

from nas.certification.statistics import mean_of
from nas.spaces.task import Task
from nas.training.device import device_name

RESULTS = Path(__file__).parent / "results" / "spaces.json"
SPACES = ("blocks", "residual", "separable", "tied")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--spaces", nargs="+", default=SPACES, help="names or paths")
    parser.add_argument("--images", type=int, default=15_000, help="training images")
    parser.add_argument("--trainings", type=int, default=4, help="full trainings' worth of epochs")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1, help="trainings that measure an answer")
    parser.add_argument("--workers", type=int, default=2, help="searches at a time")
    parser.add_argument("--hours", type=float, default=24.0, help="begin nothing after these")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file with what was measured")
    options = parser.parse_args()
    wanted = [(space, n) for n in range(options.repeats) for space in options.spaces]
    setting = [options.budget, options.images, options.trainings]
    runs = run_missing(run_space, "space", wanted, setting, options.out, options)
    print("\n".join(table(runs, options)))


def run_space(space: str, repeat: int, until: float) -> dict[str, Any] | None:
    """One search, and what its answers are worth; None when it is too late to begin."""
    if time.time() > until:
        return None
    options, data = STATE["options"], STATE["data"]
    started = time.perf_counter()
    task = Task(data.input_shape, len(data.classes), options.budget)
    meter = Meter(options.trainings * task.epochs)
    study = optuna.create_study(direction="maximize")
    ends = search(study, "nas", repeat, meter, data, task, space)
    searched = time.perf_counter() - started
    return {
        "space": space,
        "repeat": repeat,
        "answers": answers(ends, meter.most, repeat, options.seeds),
        "num_proposals": len(study.trials),
        "seconds": round(searched, 1),
        "device": device_name(torch.device("cpu"), PRECISION, "eager"),
    }


def table(runs: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    """The errors of each space, then by how much the best one is ahead in pairs of repeats."""
    errors: dict[str, Errors] = {}
    for run in sorted(runs, key=lambda run: (run["space"], run["repeat"])):
        row = [100 * (1 - a["truth"]) if a["truth"] else None for a in run["answers"]]
        errors.setdefault(run["space"], {})[run["repeat"]] = row
    heads = [f"after {share:.3g} of the epochs" for share in CHECKPOINTS]
    lines = [
        f"budget {options.budget:,}; error on 30,000 images, percent; {options.images:,} to train "
        f"on; epochs of {options.trainings} full trainings in all",
        "",
        f"| space | {' | '.join(heads)} | parameters | seconds | repeats |",
        "| --- |" + " --- |" * (len(heads) + 3),
    ]
    means = {}
    for space, rows in errors.items():
        last = [row[-1] for row in rows.values() if row[-1] is not None]
        means[space] = statistics.mean(last) if last else float("inf")
        cells = []
        for i in range(len(CHECKPOINTS)):
            known = [row[i] for row in rows.values() if row[i] is not None]
            summary = mean_of(known) if known else None
            cell = "-" if summary is None else f"{summary.mean:.3f}"
            if summary is not None and summary.num_seeds > 1:
                cell += f" ({summary.low:.3f} to {summary.high:.3f})"
            cells.append(cell)
        mine = [run for run in runs if run["space"] == space]
        sizes = [run["answers"][-1].get("num_params", 0) for run in mine]
        seconds = statistics.mean(run["seconds"] for run in mine)
        lines.append(
            f"| {space} | {' | '.join(cells)} | {', '.join(f'{size:,}' for size in sizes)} "
            f"| {seconds:,.0f} | {len(mine)} |"
        )
    if len(errors) > 1:
        best = min(means, key=lambda space: means[space])
        lines += ["", f"`{best}` ahead at the end, points (95 % interval), pairs of repeats", ""]
        lines += [f"- of {space}: {lead(errors[space], errors[best], -1, -1)}"
                  for space in errors if space != best]  # fmt: skip
    return lines


if __name__ == "__main__":
    main()
