"""Compare signals, pruners and samplers on recorded learning curves, without training anything.

    python benchmarks/replay.py [signals choice pruners shares samplers budgets] [--from 60]

Reads benchmarks/results/curves.jsonl.gz, which `curves.py` records: networks of `recorded_space.py`
under 20,000 parameters, trained on a third of MNIST. The truth about a candidate is its accuracy
after the full schedule on 30,000 images that nothing else used, averaged over its seeds.

signals: how well what is known early ranks candidates by the truth (Spearman's correlation).
choice: whether accuracy, loss or both, of one training, picks the best candidate.
pruners: what the truth of a search's winner is worth for the epochs that were trained, and by how
    much the default is ahead of others.
shares: the same for searches that draw no network below some share of the budget.
samplers: the same for proposals, on a model of the truth that is fitted to the record.
budgets: what a user holds after few epochs in all, by the plan of a search with a time limit and by
    others; here alone the first proposal of the space takes part.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence

from budgets import budgets
from curves import AVERAGED_AFTER, NUM_BEST, SQUEEZED, START, TASK, read
from policies import pruners, shares
from proposals import samplers
from record import ACCURACY, AVERAGED_ACCURACY, AVERAGED_LOSS, LOSS, Record
from scipy.stats import spearmanr

from nas.metrics import choice_order
from nas.searching.pruners import LOWEST_KEPT

NUM_VALID = 5_000


def signals(record: Record) -> None:
    numbers = record.with_rungs()
    rows: list[tuple[str, float, Callable[[int], float]]] = []
    for epoch in AVERAGED_AFTER:
        for name, column, sign in (
            ("accuracy", ACCURACY, 1), ("loss", LOSS, -1),
            ("averaged accuracy", AVERAGED_ACCURACY, 1), ("averaged loss", AVERAGED_LOSS, -1),
        ):  # fmt: skip

            def late(n: int, epoch: int = epoch, column: int = column, sign: int = sign) -> float:
                return sign * record.full(n)["history"][epoch - 1][column]

            rows.append((f"{name} after {epoch} of {TASK.epochs}", epoch, late))
    for epochs in SQUEEZED:
        for name, column, sign in (("accuracy", ACCURACY, 1), ("loss", LOSS, -1)):

            def squeezed(
                n: int, epochs: int = epochs, column: int = column, sign: int = sign
            ) -> float:
                return sign * record.by_key[n, epochs, 0]["history"][-1][column]

            rows.append((f"{name} of a schedule squeezed into {epochs}", epochs, squeezed))
    for epoch in (4, 9):
        rows.append(
            (
                f"loss extrapolated from {epoch} epochs",
                epoch,
                lambda n, epoch=epoch: -extrapolated(record.full(n)["history"][:epoch]),
            )
        )
    rows.append(("parameters", 0, lambda n: record.full(n)["num_params"]))
    rows.append(("multiply-accumulates", 0, lambda n: record.full(n)["num_macs"]))
    print(
        f"{len(numbers)} candidates; another seed's truth ranks them with {ceiling(record):.2f}\n"
    )
    print("| signal | epochs | rank correlation | among the better half | best tenth kept |")
    print("| --- | --- | --- | --- | --- |")
    truth = [record.truth[n] for n in numbers]
    better = [n for n in numbers if record.truth[n] >= statistics.median(truth)]
    for name, epochs, signal in rows:
        values = [signal(n) for n in numbers]
        among = spearmanr([signal(n) for n in better], [record.truth[n] for n in better]).statistic
        print(f"| {name} | {epochs:g} | {spearmanr(values, truth).statistic:.2f} | {among:.2f} | "
              f"{kept(values, truth):.0%} |")  # fmt: skip


def kept(values: Sequence[float], truth: Sequence[float]) -> float:
    """How many of the truly best tenth are in the eighth that the signal likes best."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    best = sorted(range(len(truth)), key=lambda i: -truth[i])[: max(len(truth) // 10, 1)]
    return len(set(best) & set(order[: len(order) // LOWEST_KEPT])) / len(best)


def extrapolated(history: Sequence[Sequence[float]]) -> float:
    """The validation loss at the last epoch, by a + b / epoch through the last two thirds."""
    points = [(1 / (i + 1), row[LOSS]) for i, row in enumerate(history)][len(history) // 3 :]
    mean_x, mean_y = (statistics.mean(p[axis] for p in points) for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return mean_y + slope * (1 / TASK.epochs - mean_x)


def ceiling(record: Record) -> float:
    """How well the truth of one seed ranks by that of another; not a number where all have one."""
    several = [n for n, count in record.seeds.items() if count >= 2]
    if not several:
        return math.nan
    pairs = [[record.full(n, seed)["truth"][1] for n in several] for seed in (0, 1)]
    return float(spearmanr(*pairs).statistic)


def choice(record: Record) -> None:
    """One seed's validation figures rank the candidates; the other seeds' truth judges.

    The best of the record were chosen by the figures of seed 0, so that seed does not rank them.
    """
    several = [n for n, count in record.seeds.items() if count >= 3]
    if not several:
        print("no candidate has three seeds")
        return
    best = sorted(several, key=lambda n: -record.full(n)["history"][-1][ACCURACY])[:NUM_BEST]
    rank_by(record, f"{len(several)} candidates, 3 seeds", several, (0, 1, 2))
    rank_by(record, f"the {len(best)} best of them by seed 0, 2 seeds", best, (1, 2))


def rank_by(record: Record, title: str, several: Sequence[int], seeds: Sequence[int]) -> None:
    correlations: dict[str, list[float]] = defaultdict(list)
    among: dict[str, list[float]] = defaultdict(list)
    losses: dict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        last = [record.full(n, seed)["history"][-1] for n in several]
        truth = [
            statistics.mean(record.full(n, s)["truth"][1] for s in range(3) if s != seed)
            for n in several
        ]
        better = [i for i, value in enumerate(truth) if value >= statistics.median(truth)]
        accuracies, valid_losses = [row[ACCURACY] for row in last], [row[LOSS] for row in last]
        orders = {
            "accuracy": sorted(range(len(several)), key=lambda i: -accuracies[i]),
            "loss": sorted(range(len(several)), key=lambda i: valid_losses[i]),
            "error times loss": choice_order(accuracies, valid_losses, NUM_VALID),
        }
        for name, order in orders.items():
            # Equal accuracies share a place: none of them was preferred.
            ranked = (
                accuracies if name == "accuracy" else [-order.index(i) for i in range(len(order))]
            )
            correlations[name].append(spearmanr(ranked, truth).statistic)
            among[name].append(
                spearmanr([ranked[i] for i in better], [truth[i] for i in better]).statistic
            )
            losses[name].append(100 * (max(truth) - truth[order[0]]))
    print(f"{title}\n")
    print("| ranked by | rank correlation with the truth, mean (each seed) "
          "| among the better half | lost by the choice |")  # fmt: skip
    print("| --- | --- | --- | --- |")
    for name, values in correlations.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        best = ", ".join(f"{value:.2f}" for value in among[name])
        print(f"| {name} | {statistics.mean(values):.3f} ({each}) | "
              f"{statistics.mean(among[name]):.3f} ({best}) | "
              f"{statistics.mean(losses[name]):.3f} points |")  # fmt: skip
    print()


def main() -> None:
    parts = {"signals": signals, "choice": choice, "pruners": pruners, "shares": shares,
             "samplers": samplers, "budgets": budgets}  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument(
        "--from",
        type=int,
        default=0,
        dest="first",
        metavar="NUMBER",
        help="leave out those before: 60 were there when the rungs were settled",
    )
    options = parser.parse_args()
    runs = read()
    drawn = Record([run for run in runs if run["candidate"] >= options.first])
    with_start = Record(
        [r for r in runs if r["candidate"] >= options.first or r["candidate"] == START]
    )
    warnings.simplefilter("ignore")
    for name in options.parts or parts:
        print(f"\n## {name}\n")
        parts[name](with_start if name == "budgets" else drawn)


if __name__ == "__main__":
    main()
