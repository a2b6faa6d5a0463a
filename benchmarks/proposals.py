"""Samplers on a model of the truth that is fitted to the record."""

from __future__ import annotations

import math
import statistics

import optuna
from curves import TASK
from record import Record, Run
from recorded_space import suggest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.recipe import Recipe
from nas.certification.statistics import mean_of
from nas.searching.samplers import derive_seed, make_sampler


def samplers(record: Record) -> None:
    """Ask each sampler for candidates that a model of the truth scores."""
    from sklearn.ensemble import ExtraTreesRegressor

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
    for name in ("random", "tpe", "gp"):
        curves = []
        for seed in range(10):
            study = optuna.create_study(direction="maximize")
            best, curve = math.inf, []
            for number in range(max(checkpoints)):
                study.sampler = make_sampler(name, derive_seed(seed, number, "sampler"))
                trial = study.ask()
                proposed = suggest(trial, TASK)
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
