"""Compare signals, pruners and samplers on recorded learning curves, without training anything.

    python benchmarks/replay.py [signals] [choice] [pruners] [samplers]

Reads benchmarks/results/curves.jsonl.gz, which `curves.py` records: networks of `blocks` under
20,000 parameters, trained on a third of MNIST. The truth about a candidate is its accuracy after
the full schedule on 30,000 images that nothing else used, averaged over its seeds.

signals: how well what is known early ranks candidates by the truth (Spearman's correlation).
choice: whether accuracy, loss or both, of one training, picks the best candidate.
pruners: what the truth of a search's winner is worth for the epochs that were trained.
samplers: the same for proposals, on a model of the truth that is fitted to the record.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optuna
from curves import AVERAGED_AFTER, NUM_BEST, SQUEEZED, TASK, read
from scipy.stats import spearmanr

from nas.candidate import Candidate, Recipe
from nas.certainty import choice_order, mean_of
from nas.rungs import KEPT
from nas.samplers import derive_seed, make_sampler
from nas.search_space import load_space

NUM_VALID = 5_000
ORDERS = 2_000  # random orders in which a search could have met the candidates
Run = dict[str, Any]


class Record:
    """The trainings by candidate, epochs and seed; those that diverged left out."""

    def __init__(self, runs: Sequence[Run]) -> None:
        ended = [r for r in runs if len(r["history"]) == r["epochs"]]
        self.by_key = {(r["candidate"], r["epochs"], r["seed"]): r for r in ended}
        truths: dict[int, list[float]] = defaultdict(list)
        for (number, epochs, _), run in sorted(self.by_key.items()):
            if epochs == TASK.epochs:
                truths[number].append(run["truth"][1])
        self.truth = {number: statistics.mean(values) for number, values in truths.items()}
        self.seeds = {number: len(values) for number, values in truths.items()}

    def full(self, number: int, seed: int = 0) -> Run:
        return self.by_key[number, TASK.epochs, seed]

    def with_rungs(self) -> list[int]:
        """Candidates with every squeezed schedule."""
        wanted = (*SQUEEZED, TASK.epochs)
        return [n for n in self.truth if all((n, epochs, 0) in self.by_key for epochs in wanted)]


# A row of a history: training loss; validation loss and accuracy; often these of the average too.
LOSS, ACCURACY, AVERAGED_LOSS, AVERAGED_ACCURACY = 1, 2, 3, 4


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
    print("| signal | epochs | rank correlation | among the better half | best quarter kept |")
    print("| --- | --- | --- | --- | --- |")
    truth = [record.truth[n] for n in numbers]
    better = [n for n in numbers if record.truth[n] >= statistics.median(truth)]
    for name, epochs, signal in rows:
        values = [signal(n) for n in numbers]
        among = spearmanr([signal(n) for n in better], [record.truth[n] for n in better]).statistic
        print(f"| {name} | {epochs:g} | {spearmanr(values, truth).statistic:.2f} | {among:.2f} | "
              f"{kept(values, truth):.0%} |")  # fmt: skip


def kept(values: Sequence[float], truth: Sequence[float]) -> float:
    """How many of the truly best tenth are in the quarter that the signal likes best."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    best = sorted(range(len(truth)), key=lambda i: -truth[i])[: max(len(truth) // 10, 1)]
    return len(set(best) & set(order[: len(order) // KEPT])) / len(best)


def extrapolated(history: Sequence[Sequence[float]]) -> float:
    """The validation loss at the last epoch, by a + b / epoch through the last two thirds."""
    points = [(1 / (i + 1), row[LOSS]) for i, row in enumerate(history)][len(history) // 3 :]
    mean_x, mean_y = (statistics.mean(p[axis] for p in points) for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return mean_y + slope * (1 / TASK.epochs - mean_x)


def ceiling(record: Record) -> float:
    """How well the truth of one seed ranks by that of another."""
    several = [n for n, count in record.seeds.items() if count >= 2]
    pairs = [[record.full(n, seed)["truth"][1] for n in several] for seed in (0, 1)]
    return float(spearmanr(*pairs).statistic)


def choice(record: Record) -> None:
    """One seed's validation figures rank the candidates; the other seeds' truth judges.

    The best of the record were chosen by the figures of seed 0, so that seed does not rank them.
    """
    several = [n for n, count in record.seeds.items() if count >= 3]
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


def pruners(record: Record) -> None:
    """Meet the candidates in random order; what is the winner worth after so many epochs?"""
    numbers = record.with_rungs()
    policies: dict[str, Callable[[Sequence[int]], list[tuple[float, int | None]]]] = {
        "none": lambda order: [(TASK.epochs, n) for n in order],
        "median within the schedule": lambda order: median_stops(record, order),
    }
    for rungs in ((1,), (2,), (4,), (1, 4), (1, 2, 4)):
        for kept in (3, 4, 6) if rungs == (1, 4) else (KEPT,):
            for again in (False, True):
                name = f"squeezed into {', '.join(map(str, rungs))}, one in {kept} goes on"
                name += ", stopped ones taken up again" if again else ""
                policies[name] = partial(climb, record, rungs=rungs, kept=kept, again=again)
    budgets = [b * TASK.epochs for b in (2, 3, 4, 6, 8, 12)]
    print(f"{len(numbers)} candidates in {ORDERS:,} random orders; error of the winner on the "
          f"30,000 images, percent, after as many epochs as so many full trainings\n")  # fmt: skip
    print(f"| pruner |{''.join(f' {b // TASK.epochs} |' for b in budgets)} epochs a candidate |")
    print("| --- |" + " --- |" * (len(budgets) + 1))
    for name, policy in policies.items():
        errors: dict[int, list[float]] = defaultdict(list)
        costs = []
        rng = random.Random(0)
        for _ in range(ORDERS):
            order = rng.sample(numbers, len(numbers))
            steps = policy(order)
            costs.append(sum(cost for cost, _ in steps) / len(order))
            for budget in budgets:
                errors[budget].append(100 * (1 - winner(record, steps, budget)))
        cells = [f"{statistics.mean(errors[b]):.3f}" for b in budgets]
        print(f"| {name} | {' | '.join(cells)} | {statistics.mean(costs):.1f} |")


def winner(record: Record, steps: Sequence[tuple[float, int | None]], budget: float) -> float:
    """The truth of the best fully trained candidate, chosen on validation images."""
    spent, best, truth = 0.0, -1.0, min(record.truth.values())
    for cost, number in steps:
        spent += cost
        if spent > budget:
            break
        if number is not None:
            score = record.full(number)["history"][-1][ACCURACY]
            if score > best:
                best, truth = score, record.truth[number]
    return truth


def climb(
    record: Record, order: Sequence[int], rungs: Sequence[int], kept: int, again: bool
) -> list[tuple[float, int | None]]:
    """Each candidate's trainings, as `nas.rungs` lets it climb.

    Args:
        again: take up stopped ones again, as `SqueezedPruner` does; `RungPruner` does not.
    """
    levels = (*rungs, TASK.epochs)
    reached: list[dict[int, float]] = [{} for _ in rungs]
    has_gone_on: list[set[int]] = [set() for _ in rungs]
    steps: list[tuple[float, int | None]] = []

    def best(rung: int) -> list[int]:
        most = len(reached[rung]) // kept
        if not again or (rung > 0 and len(reached[rung]) == 1):
            most = max(most, 1)
        return sorted(reached[rung], key=lambda n: -reached[rung][n])[:most]

    def train(number: int, first: int) -> None:
        for rung, epochs in enumerate(levels[first:], first):
            is_full = epochs == TASK.epochs
            steps.append((epochs, number if is_full else None))
            if is_full:
                return
            score = record.by_key[number, epochs, 0]["history"][-1][ACCURACY]
            reached[rung][number] = score
            if number not in best(rung):
                return
            has_gone_on[rung].add(number)

    def next_up() -> tuple[int, int] | None:
        for rung in reversed(range(len(rungs))):
            for number in best(rung):
                if number not in has_gone_on[rung]:
                    return number, rung
        return None

    for number in order:
        train(number, 0)
        while again and (found := next_up()):
            stopped, rung = found
            has_gone_on[rung].add(stopped)
            train(stopped, rung + 1)
    return steps


def median_stops(record: Record, order: Sequence[int]) -> list[tuple[float, int | None]]:
    """Optuna's median pruner after the first third, as `--pruner median` sets it."""
    first, done = TASK.epochs // 3 + 1, []
    steps: list[tuple[float, int | None]] = []
    for number in order:
        scores = [row[ACCURACY] for row in record.full(number)["history"]]
        stop = TASK.epochs
        if len(done) >= 5:
            for epoch in range(first + 1, TASK.epochs + 1):
                if max(scores[:epoch]) < statistics.median(other[epoch - 1] for other in done):
                    stop = epoch
                    break
        steps.append((stop, number if stop == TASK.epochs else None))
        if stop == TASK.epochs:
            done.append(scores)
    return steps


def samplers(record: Record) -> None:
    """Ask each sampler for candidates that a model of the truth scores."""
    from sklearn.ensemble import ExtraTreesRegressor

    space = load_space("blocks")
    numbers = list(record.truth)
    made = [candidate_of(record.full(n)) for n in numbers]
    inputs = [features(c) for c in made]
    outputs = [math.log(1 - record.truth[n]) for n in numbers]
    model = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0, bootstrap=True,
                                oob_score=True).fit(inputs, outputs)  # fmt: skip
    print(f"model of {len(numbers)} candidates, out-of-bag R2 {model.oob_score_:.2f}; error of the "
          "best of so many proposals, percent, mean of 10 seeds (95 % interval)\n")  # fmt: skip
    checkpoints = (10, 25, 50, 100)
    print(f"| sampler |{''.join(f' {n} |' for n in checkpoints)}")
    print("| --- |" + " --- |" * len(checkpoints))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("random", "tpe", "gp", "cmaes", "nsga2"):
        curves = []
        for seed in range(10):
            study = optuna.create_study(direction="maximize")
            best, curve = math.inf, []
            for number in range(max(checkpoints)):
                study.sampler = make_sampler(name, derive_seed(seed, number, "sampler"))
                trial = study.ask()
                proposed = space.propose(trial, TASK)
                trial.set_constraint("num_params", -1.0)
                (error,) = model.predict([features(proposed)])
                study.tell(trial, -error)
                best = min(best, 100 * math.exp(error))
                curve.append(best)
            curves.append(curve)
        cells = []
        for count in checkpoints:
            summary = mean_of([curve[count - 1] for curve in curves])
            cells.append(f"{summary.mean:.3f} ({summary.low:.3f} to {summary.high:.3f})")
        print(f"| {name} | {' | '.join(cells)} |")


def candidate_of(run: Run) -> Candidate:
    from nas.architecture import Architecture

    return Candidate(Architecture.from_json(run["architecture"]), Recipe.from_json(run["recipe"]))


def features(candidate: Candidate) -> list[float]:
    """What the model of the truth sees of a candidate, in its network rather than its name."""
    architecture, recipe = candidate.architecture, candidate.recipe
    convs = [row for row in architecture.rows if row.layer.kind == "conv"]
    sizes = [row.out_shape[1] for row in convs]
    channels = [row.out_shape[0] for row in convs]
    drops = [row.layer.to_json()["p"] for row in architecture.rows if row.layer.kind == "dropout"]
    return [
        math.log(architecture.num_params),
        math.log(architecture.num_macs),
        len(convs),
        sizes[-1],
        statistics.mean(sizes),
        min(channels),
        channels[0],
        channels[-1],
        statistics.mean(channels),
        sum(row.layer.kind == "max-pool" for row in architecture.rows),
        architecture.rows[-2].out_shape[0],
        statistics.mean(row.layer.to_json()["kernel_size"] for row in convs),
        sum(row.layer.to_json()["padding"] == "valid" for row in convs),
        convs[-1].receptive_field,
        drops[0] if drops else 0.0,
        recipe.optimizer == "sgd",
        math.log(recipe.learning_rate),
        recipe.schedule == "one-cycle",
        recipe.batch_size,
        recipe.augmentation,
    ]


def main() -> None:
    parts = {"signals": signals, "choice": choice, "pruners": pruners, "samplers": samplers}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    options = parser.parse_args()
    record = Record(read())
    warnings.simplefilter("ignore")
    for name in options.parts or parts:
        print(f"\n## {name}\n")
        parts[name](record)


if __name__ == "__main__":
    main()
