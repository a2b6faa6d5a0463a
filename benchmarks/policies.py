"""Pruners on the record: who would have been trained for how long, and what came of it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import partial

from curves import TASK
from record import ACCURACY, Record

from nas.searching.pruners import FIRST, KEPT, LOWEST_KEPT

ORDERS = 2_000  # random orders in which a search could have met the candidates
HALVES = 100  # random halves of the candidates
ORDERS_OF_HALF = 50
BUDGETS = (2, 3, 4, 5, 6, 8, 12)  # full trainings' worth of epochs

Step = tuple[int, int]  # a candidate, and for how many epochs it is trained
Policy = Callable[[Sequence[int]], Iterator[Step]]  # of an order in which candidates come


def pruners(record: Record) -> None:
    """Meet the candidates in random order; what is the winner worth after so many epochs?"""
    numbers = record.with_rungs()
    median = partial(median_stops, record)
    policies: dict[str, Policy] = {"none": never_stops, "median within the schedule": median}
    names = {(LOWEST_KEPT, KEPT, FIRST): ", as it is by default"}
    for rungs in ((1,), (2,), (4,), (1, 2), (1, 4), (1, 2, 4)):
        for kept in ((4, 4, 1), (6, 4, 2), (8, 4, 1), (8, 4, 2), (10, 4, 2)):
            if rungs == (1, 4) or kept in names:
                lowest, above, first = kept
                name = f"squeezed into {', '.join(map(str, rungs))}; one in {lowest}, then {above}"
                name += f", {first} at once{names.get(kept, '')}"
                policies[name] = partial(climb, record, rungs=rungs, kept=kept)
    lost = partial(climb, record, rungs=(1, 4), kept=(4, 4, 1), again=False)
    policies["squeezed into 1, 4; one in 4, who is stopped is lost"] = lost
    print_head("pruner", numbers)
    for name, policy in policies.items():
        print_row(record, name, numbers, policy)
    ten = default_climb(record, lowest=10)
    beside = {"none": never_stops, "median": median, "one in 10": ten}
    print_leads(record, numbers, "the default", default_climb(record), beside)


def shares(record: Record) -> None:
    """The same for searches that draw no share of the budget below so much."""
    numbers = record.with_rungs()
    default = default_climb(record)
    beside: dict[str, Policy] = {}
    print_head("least share of the budget", numbers)
    for least in (0.3, 0.45, 0.6, 0.75):
        drawn = {n for n in numbers if record.full(n)["params"]["share"] >= least}
        name = f"{least}, {len(drawn)} candidates"
        print_row(record, f"{name}, trained in full", numbers, only(drawn, never_stops))
        beside[f"{least}"] = only(drawn, default)
        print_row(record, f"{name}, as by default", numbers, beside[f"{least}"])
    print_leads(record, numbers, "0.6", beside.pop("0.6"), beside)


def default_climb(record: Record, lowest: int = LOWEST_KEPT) -> Policy:
    return partial(climb, record, rungs=(1, 4), kept=(lowest, KEPT, FIRST))


def only(drawn: Set[int], policy: Policy) -> Policy:
    """The policy in a space that draws no other candidates."""
    return lambda order: policy([n for n in order if n in drawn])


def print_head(title: str, numbers: Sequence[int]) -> None:
    print(f"{len(numbers)} candidates in {ORDERS:,} random orders; error of the winner on the "
          f"30,000 images, percent, after as many epochs as so many full trainings\n")  # fmt: skip
    print(f"| {title} |{''.join(f' {b} |' for b in BUDGETS)} epochs a candidate |")
    print("| --- |" + " --- |" * (len(BUDGETS) + 1))


def print_row(record: Record, name: str, numbers: Sequence[int], policy: Policy) -> None:
    """What a policy's winner is worth after each of the budgets."""
    rng = random.Random(0)
    orders = (rng.sample(numbers, len(numbers)) for _ in range(ORDERS))
    found = [winners(record, policy(order)) for order in orders]
    means = mean_truths(truths for truths, _ in found)
    cells = ["-" if mean is None else f"{100 * (1 - mean):.3f}" for mean in means]
    cost = statistics.mean(cost for _, cost in found)
    print(f"| {name} | {' | '.join(cells)} | {cost:.1f} |")


def print_leads(
    record: Record, numbers: Sequence[int], title: str, policy: Policy, others: dict[str, Policy]
) -> None:
    """By how much the policy's winner is ahead of others'.

    The interval is for the choice of candidates that were recorded: what is found on random halves
    of them scatters about what is found on all as that does about the truth.
    """
    rng = random.Random(0)
    leads: dict[str, list[list[float]]] = {name: [[] for _ in BUDGETS] for name in others}
    for _ in range(HALVES):
        half = rng.sample(numbers, len(numbers) // 2)
        orders = [rng.sample(half, len(half)) for _ in range(ORDERS_OF_HALF)]
        mine, *theirs = (
            mean_truths(winners(record, one(order))[0] for order in orders)
            for one in (policy, *others.values())
        )
        for columns, means in zip(leads.values(), theirs, strict=True):
            for column, truth, other in zip(columns, mine, means, strict=True):
                if truth is not None and other is not None:
                    column.append(100 * (truth - other))
    print(f"\n{title} is ahead by points, mean of {HALVES} random halves of the candidates, "
          "95 % of them between\n")  # fmt: skip
    print(f"| beside |{''.join(f' {b} |' for b in BUDGETS)}")
    print("| --- |" + " --- |" * len(BUDGETS))
    for name, columns in leads.items():
        print(f"| {name} | {' | '.join(map(middle, columns))} |")


def mean_truths(found: Iterable[Sequence[float | None]]) -> list[float | None]:
    """The truth of the winners after each budget; None where in some order there was none yet."""
    means: list[float | None] = []
    for truths in zip(*found, strict=True):
        ended = [truth for truth in truths if truth is not None]
        means.append(statistics.mean(ended) if len(ended) == len(truths) else None)
    return means


def middle(leads: Sequence[float]) -> str:
    """Their mean, and what 95 % of them are between; `-` where some half has none."""
    if len(leads) < HALVES:
        return "-"
    cut = statistics.quantiles(leads, n=40)
    return f"{statistics.mean(leads):.3f} ({cut[0]:.3f} to {cut[-1]:.3f})"


def winners(record: Record, steps: Iterator[Step]) -> tuple[list[float | None], float]:
    """The truth of the best fully trained candidate, chosen on validation images.

    Returns:
        it after each of the budgets, None before there is one; and the epochs spent on a candidate
        until the last of them.
    """
    truths: list[float | None] = []
    spent, best, truth = 0, -1.0, None
    met = set()
    for number, epochs in steps:
        while len(truths) < len(BUDGETS) and spent + epochs > BUDGETS[len(truths)] * TASK.epochs:
            truths.append(truth)
        if len(truths) == len(BUDGETS):
            break
        spent += epochs
        met.add(number)
        if epochs == TASK.epochs:
            score = record.full(number)["history"][-1][ACCURACY]
            if score > best:
                best, truth = score, record.truth[number]
    truths += [truth] * (len(BUDGETS) - len(truths))
    return truths, spent / len(met)


def never_stops(order: Sequence[int]) -> Iterator[Step]:
    return ((number, TASK.epochs) for number in order)


def climb(
    record: Record,
    order: Sequence[int],
    rungs: Sequence[int],
    kept: tuple[int, int, int],
    again: bool = True,
) -> Iterator[Step]:
    """Each candidate's trainings, as `nas.searching.pruners` lets it climb.

    Args:
        kept: of so many on the lowest rung one goes on, of so many above, and so many at once.
        again: take up stopped ones again, as `SqueezedPruner` does.
    """
    levels = (*rungs, TASK.epochs)
    reached: list[dict[int, float]] = [{} for _ in rungs]
    has_gone_on: list[set[int]] = [set() for _ in rungs]
    lowest, above, first_ones = kept

    def best(rung: int) -> list[int]:
        num_there = len(reached[rung])
        if not again:
            most = max(num_there // above, 1)
        elif rung == 0:
            most = num_there // lowest
            most = most if most >= first_ones else 0
        else:
            most = max(num_there // above, 1) if rung > 1 or num_there >= first_ones else 0
        return sorted(reached[rung], key=lambda n: -reached[rung][n])[:most]

    def train(number: int, first: int) -> Iterator[Step]:
        for rung, epochs in enumerate(levels[first:], first):
            yield number, epochs
            if epochs == TASK.epochs:
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
        yield from train(number, 0)
        while again and (found := next_up()):
            stopped, rung = found
            has_gone_on[rung].add(stopped)
            yield from train(stopped, rung + 1)


def median_stops(record: Record, order: Sequence[int]) -> Iterator[Step]:
    """Optuna's median pruner after the first third, as `--pruner median` sets it."""
    first = TASK.epochs // 3 + 1
    done: list[list[float]] = []
    for number in order:
        scores = [row[ACCURACY] for row in record.full(number)["history"]]
        stop = TASK.epochs
        if len(done) >= 5:
            for epoch in range(first + 1, TASK.epochs + 1):
                if max(scores[:epoch]) < statistics.median(other[epoch - 1] for other in done):
                    stop = epoch
                    break
        yield number, stop
        if stop == TASK.epochs:
            done.append(scores)
