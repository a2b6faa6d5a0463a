"""Does a CPU compute networks faster whose widths are multiples of 8, at equal work?

    python benchmarks/widths.py --data-dir DATA [--networks 8] [--rounds 8]

Each network of `engine.py` is trained beside the same layers with every width rounded to a multiple
of 8, in turn, in one process of one thread, a few steps at a time. Told is the median over the
rounds of how many times faster the rounded one computes a multiply-accumulate, by the seconds of
the processor, which other work on the machine disturbs less than a clock. Parameters and accuracy
are not kept equal: the figure is of the processor alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

STEPS = 4  # of each network in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    import torch
    from arms import load, networks

    from nas.candidates.architecture import Architecture
    from nas.candidates.layers import Conv
    from nas.candidates.recipe import Recipe
    from nas.training.engine import Engine

    torch.set_num_threads(1)
    recipe = Recipe(epochs=1000, batch_size=128, augmentation=1.0)
    data = load(options.data_dir, STEPS * recipe.batch_size)

    def trainer(architecture: Architecture) -> Callable[[], float]:
        engine = Engine(architecture, recipe, data, 0, torch.float32)

        def seconds() -> float:
            started = time.thread_time()
            engine.train_epoch(lambda: False)
            return time.thread_time() - started

        seconds()  # makes things ready
        return seconds

    print("| parameters | MACs | rounded: parameters | MACs | a MAC is faster by |")
    print("| --- | --- | --- | --- | --- |")
    for given in networks(options.networks):
        layers = [
            replace(layer, out_channels=max(8, 8 * round(layer.out_channels / 8)))
            if isinstance(layer, Conv)
            else layer
            for layer in given.layers
        ]
        rounded = Architecture(given.input_shape, layers)
        first, second = trainer(given), trainer(rounded)
        faster = []
        for number in range(options.rounds):
            if number % 2:
                a, b = first(), second()
            else:
                b, a = second(), first()
            faster.append((a / given.num_macs) / (b / rounded.num_macs))
        print(
            f"| {given.num_params:,} | {given.num_macs:,} | {rounded.num_params:,} | "
            f"{rounded.num_macs:,} | {statistics.median(faster):.2f}x |",
            flush=True,
        )


if __name__ == "__main__":
    main()
