"""What a user holds when the time is over: plans for a few epochs of training, on the record.

A total is in epochs of the record (18,333 images), of one worker, and every epoch costs the same;
so the plan keeps no margin. Candidates are those that a search in the space would draw, from 0.6 of
the budget on, in random order behind the space's first proposal, whose three seeds take turns.

What is held is the best by error times loss over all schedules that have ended, and its error that
on the 30,000 images. Of most short schedules that was not measured: there it is foretold from
validation accuracy and loss, by a regression on the trainings that have both (`foretell`).
Schedules of a length that was not recorded lie between those that were, on straight lines of
logarithms.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np
from curves import SEEDS, START, TASK
from policies import ORDERS_OF_HALF, Step, default_climb, never_stops
from record import ACCURACY, LOSS, Record
from recorded_space import LEAST_SHARE

from nas.metrics import choice_order
from nas.searching.planning import Known, TimePlan

TOTALS = (2, 5, 10, 20, 40, 80, 160)  # epochs
ORDERS = 200  # in which a search could have met the candidates
HALVES = 40  # random halves of the candidates
NUM_VALID = 5_000
NUM_TRAIN = 18_333

Ended = tuple[int, float]  # a candidate, and the epochs of a schedule that it has ended
Policy = Callable[[Sequence[int], int, float], list[Ended]]  # of an order, a seed, a total


class Schedules:
    """Figures of every candidate for a schedule of any length."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.regression = foretell(record)
        self.lengths = {
            key: sorted(e for n, e, s in record.by_key if (n, s) == key)
            for key in {(n, s) for n, _, s in record.by_key}
        }
        self.figures = cache(self._figures)

    def _figures(self, number: int, epochs: float, seed: int) -> tuple[float, float, float]:
        """Error and loss on the validation images, error on the 30,000 others."""
        lengths = self.lengths[number, seed]
        below = max(length for length in lengths if length <= epochs)
        if below == epochs or below == lengths[-1]:
            return self._recorded(number, below, seed)
        above = min(length for length in lengths if length > epochs)
        share = math.log(epochs / below) / math.log(above / below)
        ends = (self._recorded(number, length, seed) for length in (below, above))
        low, high = (np.log(np.maximum(figures, 1e-5)) for figures in ends)
        error, loss, truth = np.exp((1 - share) * low + share * high)
        return float(error), float(loss), float(truth)

    def _recorded(self, number: int, epochs: int, seed: int) -> tuple[float, float, float]:
        run = self.record.by_key[number, epochs, seed]
        error, loss = 1 - run["history"][-1][ACCURACY], run["history"][-1][LOSS]
        if epochs == TASK.epochs and number != START:
            return error, loss, 1 - self.record.truth[number]  # of all its seeds
        truth = 1 - run["truth"][1] if run["truth"] else math.nan
        if math.isnan(truth):
            truth = math.exp(float(self.regression @ signals(error, loss)))
        return error, loss, truth


def signals(error: float, loss: float) -> np.ndarray:
    return np.array([1.0, math.log(error + 1e-4), math.log(loss)])


def foretell(record: Record) -> np.ndarray:
    """The weights that foretell the logarithm of the truth best, by least squares."""
    rows, truths = [], []
    for run in record.by_key.values():
        if run["truth"]:
            last = run["history"][-1]
            rows.append(signals(1 - last[ACCURACY], last[LOSS]))
            truths.append(math.log(1 - run["truth"][1]))
    return np.linalg.lstsq(np.array(rows), np.array(truths), rcond=None)[0]


def budgets(record: Record) -> None:
    """What is held after each total, by each policy."""
    schedules = Schedules(record)
    numbers = [
        n for n in record.with_rungs()
        if n != START and record.full(n)["params"]["share"] >= LEAST_SHARE
    ]  # fmt: skip
    climb = default_climb(record)
    policies: dict[str, Policy] = {
        "the plan": partial(planned, schedules),
        "the first proposal alone": alone,
        "the default without a plan": partial(stepped, climb, with_start=True),
        "the same, full schedules alone count": partial(stepped, climb, with_start=True, full=True),
        "random draws in full": partial(stepped, never_stops, with_start=False),
    }
    print(f"{len(numbers)} candidates in {ORDERS} random orders; error of what is held, percent, "
          "after so many epochs in all\n")  # fmt: skip
    print(f"| |{''.join(f' {total} |' for total in TOTALS)}")
    print("| --- |" + " --- |" * len(TOTALS))
    rng = random.Random(0)
    orders = [rng.sample(numbers, len(numbers)) for _ in range(ORDERS)]
    for name, policy in policies.items():
        cells = (mean_held(schedules, policy, orders, total) for total in TOTALS)
        print(f"| {name} | {' | '.join('-' if c is None else f'{c:.3f}' for c in cells)} |")
    rivals = ["the first proposal alone", "the default without a plan"]
    print("\nthe plan is ahead by points, mean of random halves of the candidates, 95 % of them "
          "between\n")  # fmt: skip
    print(f"| beside |{''.join(f' {total} |' for total in TOTALS)}")
    print("| --- |" + " --- |" * len(TOTALS))
    halves = [rng.sample(numbers, len(numbers) // 2) for _ in range(HALVES)]
    for rival in rivals:
        cells = []
        for total in TOTALS:
            leads = []
            for half in halves:
                some = [rng.sample(half, len(half)) for _ in range(ORDERS_OF_HALF // 5)]
                mine = mean_held(schedules, policies["the plan"], some, total)
                theirs = mean_held(schedules, policies[rival], some, total)
                if mine is not None and theirs is not None:
                    leads.append(theirs - mine)
            cells.append(middle(leads) if len(leads) == len(halves) else "-")
        print(f"| {rival} | {' | '.join(cells)} |")


def middle(leads: Sequence[float]) -> str:
    cut = statistics.quantiles(leads, n=40)
    return f"{statistics.mean(leads):.3f} ({cut[0]:.3f} to {cut[-1]:.3f})"


def mean_held(
    schedules: Schedules, policy: Policy, orders: Sequence[Sequence[int]], total: float
) -> float | None:
    """Mean error in percent; None where in some order nothing is held."""
    errors = []
    for place, order in enumerate(orders):
        seed = (0, *SEEDS)[place % 3]
        found = held(schedules, policy(order, seed, total), seed)
        if found is None:
            return None
        errors.append(100 * found)
    return statistics.mean(errors)


def held(schedules: Schedules, ended: Sequence[Ended], seed: int) -> float | None:
    if not ended:
        return None
    return figures_of(schedules, ended[best_first(schedules, ended, seed)[0]], seed)[2]


def figures_of(schedules: Schedules, ended: Ended, seed: int) -> tuple[float, float, float]:
    number, epochs = ended
    return schedules.figures(number, epochs, seed if number == START else 0)


def best_first(schedules: Schedules, ended: Sequence[Ended], seed: int) -> list[int]:
    """Places, by what a search prefers."""
    figures = [figures_of(schedules, one, seed) for one in ended]
    accuracies, losses = [1 - f[0] for f in figures], [f[1] for f in figures]
    return choice_order(accuracies, losses, NUM_VALID)


def alone(order: Sequence[int], seed: int, total: float) -> list[Ended]:
    return [(START, min(int(total), TASK.epochs))]


def stepped(
    policy: Callable[[Sequence[int]], Iterator[Step]],
    order: Sequence[int],
    seed: int,
    total: float,
    with_start: bool,
    full: bool = False,
) -> list[Ended]:
    """What a policy that knows of no total has ended within it."""
    ended, spent = [], 0.0
    for number, epochs in policy([START, *order] if with_start else order):
        spent += epochs
        if spent > total:
            break
        if not full or epochs == TASK.epochs:
            ended.append((number, float(epochs)))
    return ended


def planned(schedules: Schedules, order: Sequence[int], seed: int, total: float) -> list[Ended]:
    """The product's own plan, with one worker."""
    plan = TimePlan(total, NUM_TRAIN, 0, TASK.epochs, margin=1.0)
    an_image = 1 / NUM_TRAIN
    coming = iter([START, *order])
    longest: dict[int, float] = {}
    ended: list[Ended] = []
    left = total
    while True:
        places = best_first(schedules, ended, seed) if ended else []
        in_order = list(dict.fromkeys(ended[place][0] for place in places))
        known = [Known(number, longest[number], an_image) for number in in_order]
        # A rounded sum must not cost an epoch.
        step = plan.next_step(
            left + 1e-9, an_image, known, len(order) + 1 - len(longest), has_start=True
        )
        if step is None:
            return ended
        plan.begun(step, left)
        number = next(coming) if step.number is None else step.number
        left -= plan.seconds(step.epochs, an_image)
        longest[number] = step.epochs
        if step.epochs >= 1:  # nothing shorter was recorded
            ended.append((number, step.epochs))
