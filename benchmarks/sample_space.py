"""Draw seeded candidates of a search space for three input sizes and build every one.

    python benchmarks/sample_space.py [--space blocks] [--draws 10000] [--budget 20000] [--seed 0]

Each draw must build, with the count that was stated for it, or be rejected by name before building.
Prints a table: how many were built, rejected, under budget, and how many networks are distinct.
"""

from __future__ import annotations

import argparse
from itertools import islice

from nas.budget import Budget
from nas.errors import InvalidCandidateError
from nas.search_space import load_space
from nas.survey import draw, smallest
from nas.task import Task

INPUT_SHAPES = ((1, 28, 28), (3, 32, 32), (1, 8, 8))
NUM_CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="blocks")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--budget", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    space, budget = load_space(options.space), Budget(options.budget)
    print("| input | drawn | built | rejected | under budget | distinct networks | smallest |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for shape in INPUT_SHAPES:
        task = Task(shape, NUM_CLASSES, options.budget)
        num_built = num_rejected = num_under = 0
        networks = set()
        for candidate in islice(draw(space, task, options.seed), options.draws):
            if isinstance(candidate, InvalidCandidateError):
                num_rejected += 1
                continue
            candidate.architecture.build()  # raises when the count is not that of the module
            num_built += 1
            num_under += budget.fits(candidate.architecture)
            networks.add(candidate.architecture.fingerprint)
        print(
            f"| {'x'.join(map(str, shape))} | {options.draws:,} | {num_built:,} | "
            f"{num_rejected:,} | {num_under / options.draws:.1%} | {len(networks):,} | "
            f"{smallest(space, task).architecture.num_params:,} |"
        )


if __name__ == "__main__":
    main()
