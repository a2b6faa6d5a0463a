"""Draw seeded candidates of a search space for three input sizes and four budgets; build each.

    python benchmarks/sample_space.py [--space blocks] [--draws 2000] [--seed 0]

Each draw must build, with the count that was stated for it, or be rejected by name before building.
Prints a table: how many were built, rejected, over budget; how many networks are distinct; and the
parameters of the middle half, as a share of the budget.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import islice

from nas.errors import InvalidCandidateError
from nas.spaces.draws import draw
from nas.spaces.loader import load_space
from nas.spaces.task import Task

INPUT_SHAPES = ((1, 28, 28), (3, 32, 32), (1, 8, 8))
BUDGETS = (1_000, 5_000, 20_000, 100_000)
NUM_CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="blocks")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    space = load_space(options.space)
    print("| input | budget | built | rejected | over budget | distinct networks | middle half |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for shape in INPUT_SHAPES:
        for max_params in BUDGETS:
            task = Task(shape, NUM_CLASSES, max_params)
            num_rejected = num_over = 0
            networks, shares = set(), []
            for candidate in islice(draw(space, task, options.seed), options.draws):
                if isinstance(candidate, InvalidCandidateError):
                    num_rejected += 1
                    continue
                architecture = candidate.architecture
                architecture.build()  # raises when the count is not that of the module
                num_over += not task.budget.fits(architecture)
                networks.add(architecture.fingerprint)
                shares.append(architecture.num_params / max_params)
            low, _, high = statistics.quantiles(shares, n=4)
            print(
                f"| {'x'.join(map(str, shape))} | {max_params:,} | {len(shares):,} | "
                f"{num_rejected:,} | {num_over / options.draws:.2%} | {len(networks):,} | "
                f"{low:.0%} to {high:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
