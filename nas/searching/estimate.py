"""Check: what a space holds under a budget, and how long a search in it will take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from nas.candidates.candidate import Candidate
from nas.data import Dataset
from nas.errors import SearchError, option
from nas.metrics import Speed, epoch_flops
from nas.searching.config import SearchConfig
from nas.searching.events import PlanMade
from nas.searching.planning import FORWARD_SHARE, TimePlan
from nas.searching.pruners import FINISHED, KEPT, LOWEST_KEPT, Pruner
from nas.spaces.draws import draw
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.training.device import EngineName
from nas.training.messages import EpochDone, Failed, Job, Restarted, Trained
from nas.training.pool import POLL_SECONDS, WorkerPool, train_all

PROBE_SECONDS = 1.0  # of each of two candidates
PROBE_BATCHES = 20  # in an epoch of a probe
SMALLEST_RATIO = 1.2  # of the two candidates' multiply-accumulates
GOING_ON = 2  # times the share that a rung keeps go on from it, as who comes late is often better


@dataclass(frozen=True)
class SpaceStats:
    """What random draws from a space came to."""

    num_drawn: int
    num_invalid: int  # cannot exist
    fitting: tuple[Candidate, ...]
    num_distinct: int  # networks among those that fit

    @property
    def num_over(self) -> int:
        return self.num_drawn - self.num_invalid - len(self.fitting)

    def most_trained(self, num_trials: int) -> int:
        """How many of so many candidates a search can train: none twice."""
        num_distinct = len({candidate.fingerprint for candidate in self.fitting})
        # When each was drawn ten times, hardly any was not.
        has_no_more = 10 * num_distinct <= len(self.fitting)
        return min(num_trials, num_distinct) if has_no_more else num_trials


def space_stats(space: SearchSpace, task: Task, num_draws: int, seed: int = 0) -> SpaceStats:
    """Draw at random, without training."""
    drawn = list(islice(draw(space, task, seed), num_draws))
    existing = [d for d in drawn if isinstance(d, Candidate)]
    fitting = [c for c in existing if task.budget.fits(c.architecture)]
    num_distinct = len({candidate.architecture.fingerprint for candidate in fitting})
    return SpaceStats(num_draws, num_draws - len(existing), tuple(fitting), num_distinct)


@dataclass(frozen=True)
class Forecast:
    """About how long trainings take here."""

    num_trials: int  # that are trained
    seconds_each: float  # one full training beside others, of the mean candidate
    seconds_most: float  # the search, if every candidate is trained fully
    seconds_likely: float  # the search; the most where its pruner stops trainings halfway
    speed: Speed | None = None  # of the trainings that were measured; None where a clock is coarse


def forecast(
    candidates: Sequence[Candidate],
    data: Dataset,
    precision: torch.dtype,
    num_trials: int,
    num_workers: int,
    pruner: Pruner,
    device: torch.device,
    engine: EngineName | None = None,
    on_notice: Callable[[str], None] = lambda text: None,
) -> Forecast:
    """Train two of the candidates for a second each, and reckon by multiply-accumulates.

    As in a search every worker trains at once: together each is slower than one alone.

    Args:
        candidates: drawn at random, of those that fit.
        data: the images of the search, on the CPU.
        engine: how steps reach the device, and `on_notice`: see `WorkerPool`.

    Raises:
        SearchError: a candidate could not be trained.
    """
    ordered = sorted(candidates, key=lambda c: c.architecture.num_macs)
    small, large = ordered[len(ordered) // 5], ordered[4 * len(ordered) // 5]
    num_probe = PROBE_BATCHES * max(small.recipe.batch_size, large.recipe.batch_size)
    index = data.train_index[:num_probe]
    few = replace(data, train_index=index, valid_index=data.valid_index[:2])
    with WorkerPool(few, device, precision, num_workers, engine, on_notice) as pool:
        times = [_seconds_an_epoch(candidate, pool) / len(index) for candidate in (small, large)]
        speed = _speed((small, large), sum(times) * len(index), few, pool.peak)
        # A GPU spends milliseconds on an epoch whatever its images, and more to get ready.
        fixed, ready = 0.0, 0.0
        if device.type == "cuda":
            fewer = len(index) // 4
            shorter = _seconds_an_epoch(small, pool, fewer)
            of_one = (times[0] * len(index) - shorter) / (len(index) - fewer)
            fixed = min(max(shorter - of_one * fewer, 0.0), shorter)
            times = [max(seconds - fixed / len(index), 0.0) for seconds in times]
            ready = _seconds_to_get_ready(small, pool)
    macs = [candidate.architecture.num_macs for candidate in (small, large)]
    # Two that cost nearly the same say nothing of what a multiply-accumulate costs.
    is_apart = macs[1] > SMALLEST_RATIO * macs[0]
    slope = max((times[1] - times[0]) / (macs[1] - macs[0]), 0.0) if is_apart else 0.0
    num_images = len(data.train_index) + FORWARD_SHARE * len(data.valid_index)

    def seconds(candidate: Candidate, epochs: float) -> float:
        an_image = times[0] + slope * (candidate.architecture.num_macs - macs[0])
        an_image = min(max(an_image, times[0] / 2), 10 * max(times))
        return epochs * (num_images * an_image + fixed)

    def climbs(candidate: Candidate) -> tuple[float, float]:
        """Epochs until all are trained in full, and until the search is likely to end."""
        each = pruner.rung_epochs(candidate.recipe.epochs)
        most = sum(each) * math.ceil(num_trials / num_workers)
        return most, min(epochs_left(each, num_trials, num_workers), most)

    each = statistics.mean(seconds(c, c.recipe.epochs) for c in candidates)
    most, likely = (statistics.mean(seconds(c, climbs(c)[i]) for c in candidates) for i in range(2))
    starts = ready * math.ceil(num_trials / num_workers)
    return Forecast(num_trials, each + ready, most + starts, likely + starts, speed)


def _speed(
    candidates: Sequence[Candidate], seconds: float, data: Dataset, peak: float | None
) -> Speed | None:
    """Of candidates that took so long for an epoch each."""
    if not peak or not seconds:
        return None
    images = len(data.train_index), len(data.valid_index)
    flops = sum(
        epoch_flops(c.architecture.num_macs, *images, c.recipe.batch_size) for c in candidates
    )
    return Speed(flops / seconds, peak)


def epochs_left(
    rung_epochs: Sequence[float],
    num_trials: int,
    num_workers: int,
    longest: Sequence[float] = (),
    in_work: float = 0.0,
) -> float:
    """Epochs, one after another, until a search is likely to end.

    Args:
        rung_epochs: of each training of a candidate, see `Pruner.rung_epochs`.
        num_trials: candidates that are to be trained in all.
        longest: epochs of the longest schedule that each has ended that was trained.
        in_work: epochs that the trainings in work have behind them.
    """
    work = 0.0
    for rung, epochs in enumerate(rung_epochs):
        kept = GOING_ON * num_trials / (LOWEST_KEPT * KEPT ** (rung - 1))
        wanted = min(max(kept, FINISHED) if rung else num_trials, num_trials)
        work += epochs * max(wanted - sum(done >= epochs for done in longest), 0)
    work = max(work - in_work, 0)
    # One worker trains the schedules of the last candidate while the others have nothing to do.
    return work / num_workers + (1 - 1 / num_workers) * min(sum(rung_epochs), work)


@dataclass(frozen=True)
class CheckResult:
    """What a space holds under a budget, and how long a search in it will take here."""

    config: SearchConfig
    space: str
    task: Task
    dataset: str
    num_train: int
    num_valid: int
    workers: int  # candidates trained at once
    device: str  # what trains, for example `cpu, eager engine, fp32`
    notes: tuple[str, ...]  # what was taken for what was not given
    stats: SpaceStats
    forecast: Forecast | None = None  # None where nothing fits, and before it is measured
    plan: PlanMade | None = None  # where there is a time limit


def foresee(
    expected: Forecast,
    data: Dataset,
    epochs: int,
    num_workers: int,
    pruner: Pruner,
    timeout_seconds: float,
    *,
    has_start: bool,
) -> PlanMade:
    """What a search with a time limit is likely to come to.

    Args:
        epochs: of the full schedule.
        has_start: the space says where to begin.
    """
    plan = TimePlan(
        timeout_seconds, len(data.train_index), len(data.valid_index), epochs,
        with_rungs=not pruner.reports_every_epoch,
    )  # fmt: skip
    image_seconds = expected.seconds_each / plan.seconds(epochs, 1)
    outlook = plan.outlook(image_seconds, num_workers, expected.num_trials, has_start=has_start)
    return PlanMade(
        timeout_seconds, outlook.num_candidates, outlook.epochs, epochs,
        plan.seconds(1, image_seconds), plan.least_seconds(image_seconds),
    )  # fmt: skip


def _seconds_to_get_ready(candidate: Candidate, pool: WorkerPool) -> float:
    """What a training takes beside its epochs, while all workers begin one."""
    recipe = replace(candidate.recipe, epochs=1, learning_rate=1e-4)
    batch = recipe.batch_size
    jobs = [Job(n, candidate.architecture, recipe, 0, batch) for n in range(pool.num_workers)]
    results = [message.result for message in train_all(pool, jobs) if isinstance(message, Trained)]
    beside = [result.train_seconds - sum(m.seconds for m in result.history) for result in results]
    return max(statistics.mean(beside), 0.0) if beside else 0.0


def _seconds_an_epoch(
    candidate: Candidate, pool: WorkerPool, num_images: int | None = None
) -> float:
    """Of one worker, while all of them train the candidate, on so many images or all.

    The first epochs, in which things are made ready, do not count.
    """
    # At a rate so low that nothing diverges, which costs the same.
    recipe = replace(candidate.recipe, epochs=1000, learning_rate=1e-4)
    for number in range(pool.num_workers):
        pool.start(Job(number, candidate.architecture, recipe, 0, num_images))
    num_done = [0] * pool.num_workers
    num_running = pool.num_workers
    seconds: list[float] = []
    while num_running:
        for message in pool.wait(POLL_SECONDS):
            match message:
                case EpochDone(number, metrics):
                    num_done[number] += 1
                    if min(num_done) > 2:
                        seconds.append(metrics.seconds)
                    pool.answer(number, stop=sum(seconds) > PROBE_SECONDS * pool.num_workers)
                case Trained():
                    num_running -= 1
                case Failed(_, detail):
                    raise SearchError(f"a candidate could not be trained: {detail}")
                case Restarted(_, detail):
                    raise SearchError(
                        f"{pool.num_workers} at a time do not go well here ({detail}): give fewer "
                        f"with {option('workers')}"
                    )
    return statistics.mean(seconds)
