"""Compare ways to search, at equal amounts of training.

    python benchmarks/search.py --data-dir DATA [--images 18333] [--trainings 12] [--repeats 5]

Each way may train as many epochs as so many full trainings of 19 epochs take, under a budget of
20,000 parameters:

plain:  the shapes of `blocks` with absolute widths; what is too large is pruned before training,
        the rest is trained fully; Optuna's TPE.
random: the same, drawn at random.
optuna: a plain Optuna script of the kind its examples show: the same shapes, TrialPruned when too
        large, default sampler, default median pruner that is told every epoch.
blind:  `nas search` without the proposal that `blocks` begins with: it is told nothing.
nas:    `nas search` as it is.

All train with the same engine on the same images. A way's answer at any time is its best trial on
the 5,000 validation images; that candidate is trained again with fresh seeds and measured on 30,000
training images that nothing else used. No test image is read. Searches and measurements are kept in
benchmarks/results/search.json when they end, and the script goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch
from ways import ARMS, PRECISION, TASK, End, Meter, search

from nas.candidates.candidate import Candidate
from nas.certification.statistics import mean_of
from nas.data import source_of, split
from nas.errors import DivergedError
from nas.searching.samplers import derive_seed
from nas.storage.counts import count_trials
from nas.training import train
from nas.training.engine import evaluate
from nas.training.step import MEMORY_FORMAT

RESULTS = Path(__file__).parent / "results" / "search.json"
NUM_TRUTH = 30_000  # images
CHECKPOINTS = (1 / 4, 1 / 2, 1)  # of the training, at which a way is asked for its answer

Errors = dict[int, list[float | None]]  # of each repeat, percent, at each checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--images", type=int, default=18_333, help="training images")
    parser.add_argument("--trainings", type=int, default=12, help="full trainings' worth of epochs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2, help="trainings that measure an answer")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="run these alone")
    parser.add_argument("--workers", type=int, default=2, help="searches at a time")
    parser.add_argument("--hours", type=float, default=24.0, help="begin nothing after these")
    options = parser.parse_args()
    wanted = [(arm, n) for n in range(options.repeats) for arm in options.arms]
    setting = [options.images, options.trainings]
    table(run_missing(run_arm, "arm", wanted, setting, RESULTS, options), options)


def run_missing(
    run_one: Callable[[str, int, float], dict[str, Any] | None],
    kind: str,
    wanted: Sequence[tuple[str, int]],
    setting: list[int],
    path: Path,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Run what a file does not hold yet; each run is kept there when it ends.

    Args:
        run_one: called with a name, a repeat, and the time after which it begins nothing.
        kind: what the name is of, in the file: arm or space.
        setting: runs of other settings stay in the file, and are not returned.
    """
    kept = json.loads(path.read_text()) if path.exists() else []
    mine = [run for run in kept if run["setting"] == setting]
    others = [run for run in kept if run["setting"] != setting]
    done = {(run[kind], run["repeat"]) for run in mine}
    todo = [run for run in wanted if run not in done]
    until = time.time() + 3600 * options.hours
    context = get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, prepare, (options,)) as pool:
        for ended in as_completed([pool.submit(run_one, *task, until) for task in todo]):
            if ended.exception():
                pool.shutdown(cancel_futures=True)
            run = ended.result()
            if run is None:
                continue
            mine.append(run | {"setting": setting})
            part = path.with_suffix(".part")
            part.write_text(json.dumps([*others, *mine], indent=1) + "\n")
            part.replace(path)
            print(f"# {run[kind]} {run['repeat']}: {[a['truth'] for a in run['answers']]}, "
                  f"{run['seconds']:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    return mine


STATE: dict[str, Any] = {}  # of each process: options and images


def prepare(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    images = source_of("mnist", data_dir=options.data_dir).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    used, rest = data.train_index[: options.images], data.train_index[options.images :]
    STATE["options"] = options
    STATE["data"] = replace(data, train_index=used)
    STATE["truth"] = replace(data, valid_index=rest[:NUM_TRUTH])


def run_arm(arm: str, repeat: int, until: float) -> dict[str, Any] | None:
    """One search, and what its answers are worth; None when it is too late to begin."""
    if time.time() > until:
        return None
    options = STATE["options"]
    started = time.perf_counter()
    meter = Meter(options.trainings * TASK.epochs)
    study = optuna.create_study(direction="maximize")
    ends = search(study, arm, repeat, meter, STATE["data"])
    searched = time.perf_counter() - started
    return {
        "arm": arm,
        "repeat": repeat,
        "answers": answers(ends, meter.most, repeat, options.seeds),
        "outcomes": dict(count_trials(study).counts) if arm != "optuna" else {},
        "num_proposals": len(study.trials),
        "seconds": round(searched, 1),
    }


def answers(ends: list[End], most: int, repeat: int, num_seeds: int) -> list[dict[str, Any]]:
    """What a way would have answered at each checkpoint, measured."""
    found = []
    measured: dict[str, list[float]] = {}
    for share in CHECKPOINTS:
        so_far = [end for end in ends if end[0] <= share * most]
        if not so_far:
            found.append({"share": share, "truth": None})
            continue
        _, score, candidate = max(so_far, key=lambda end: end[1])
        name = candidate.fingerprint
        if name not in measured:
            measured[name] = [truth(candidate, derive_seed(repeat, n, "answer"))
                              for n in range(num_seeds)]  # fmt: skip
        found.append(
            {
                "share": share,
                "truth": round(statistics.mean(measured[name]), 5),
                "score": score,
                "num_params": candidate.architecture.num_params,
                "architecture": candidate.architecture.to_json(),
                "recipe": candidate.recipe.to_json(),
            }
        )
    return found


def truth(candidate: Candidate, seed: int) -> float:
    """Accuracy on the further images after one more training."""
    few = replace(STATE["data"], valid_index=STATE["data"].valid_index[:100])  # nobody asks
    try:
        result = train(candidate.architecture, candidate.recipe, few, seed=seed,
                       precision=PRECISION)  # fmt: skip
    except DivergedError:
        return 0.1
    model = candidate.architecture.build()
    model.load_state_dict(result.state_dict)
    return evaluate(model.to(memory_format=MEMORY_FORMAT), STATE["truth"])[1]


def table(runs: list[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"error on 30,000 images, percent; {options.images:,} to train on; epochs of "
          f"{options.trainings} full trainings in all\n")  # fmt: skip
    heads = [f"after {share:.3g} of the epochs" for share in CHECKPOINTS]
    print(f"| way | {' | '.join(heads)} | seconds | repeats |")
    print("| --- |" + " --- |" * (len(heads) + 2))
    errors: dict[str, Errors] = {}
    for arm in ARMS:
        mine = {run["repeat"]: run for run in runs if run["arm"] == arm}
        errors[arm] = {
            n: [100 * (1 - a["truth"]) if a["truth"] else None for a in run["answers"]]
            for n, run in mine.items()
        }
        cells = []
        for i in range(len(CHECKPOINTS)):
            known = [row[i] for row in errors[arm].values() if row[i] is not None]
            summary = mean_of(known) if len(known) > 1 else None
            cells.append(f"{summary.mean:.3f} ({summary.low:.3f} to {summary.high:.3f})"
                         if summary else "-")  # fmt: skip
        seconds = [run["seconds"] for run in mine.values()]
        if mine:
            print(f"| {arm} | {' | '.join(cells)} | {statistics.mean(seconds):.0f} | {len(mine)} |")
    print()
    print("nas ahead of the others, points (95 % interval), pairs of repeats\n")
    print(f"| than | {' | '.join(f'nas {head}' for head in heads)} |")
    print("| --- |" + " --- |" * len(heads))
    for arm in ARMS[:-1]:
        if not errors[arm].keys() & errors["nas"].keys():
            continue
        for name, is_end in ((arm, False), (f"{arm} at its end", True)):
            cells = [lead(errors[arm], errors["nas"], -1 if is_end else i, i)
                     for i in range(len(CHECKPOINTS))]  # fmt: skip
            print(f"| {name} | {' | '.join(cells)} |")


def lead(theirs: Errors, ours: Errors, their_checkpoint: int, our_checkpoint: int) -> str:
    """By how much our errors are smaller, in pairs of one repeat."""
    pairs = [
        (theirs[n][their_checkpoint], ours[n][our_checkpoint])
        for n in sorted(theirs.keys() & ours.keys())
    ]
    leads = [their - our for their, our in pairs if their and our]
    if len(leads) < 2:
        return "-"
    found = mean_of(leads)
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


if __name__ == "__main__":
    main()
