"""Where the time of a training goes on a CPU: the engine's own epoch under torch's profiler.

    python benchmarks/step_profile.py --data-dir DATA [--networks 8] [--steps 60] [--precision fp32]

One thread, as a worker has; networks, batch size and augmentation are those of `engine.py`. The
validation is that of one epoch, scaled to the steps that were taken: an epoch of 55,000 images has
5,000 to validate on. Printed are shares of the time inside operators, for each network and their
mean.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

KINDS = {
    "convolution_backward": "convolution, backward",
    "mkldnn_convolution": "convolution, forward",
    "convolution": "convolution, forward",
    "_StageFunctionBackward": "norm, ReLU, dropout, backward",
    "_StageFunction": "norm, ReLU, dropout, forward",
    "_MaxPoolFunctionBackward": "max pooling",
    "_MaxPoolFunction": "max pooling",
    "_fused_sgd_": "optimiser",
}
SCOPES = ("augmentation", "validation")
OTHERS = "all else"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60, help="of each network")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    import torch
    from arms import load, networks

    torch.set_num_threads(1)
    data = load(options.data_dir, options.steps * options.batch_size)
    columns = []
    for architecture in networks(options.networks):
        seconds = profile(architecture, data, options.batch_size, options.precision)
        columns.append({kind: s / seconds.total() for kind, s in seconds.items()})
    kinds = sorted({kind for column in columns for kind in column} - {OTHERS})
    means = {kind: sum(c.get(kind, 0) for c in columns) / len(columns) for kind in (*kinds, OTHERS)}
    kinds.sort(key=lambda kind: -means[kind])
    print(f"| {options.precision}, % of the time | mean | " + " | ".join(
        f"{a.num_macs / 1e6:.1f} M" for a in networks(options.networks)) + " |")  # fmt: skip
    print("| --- |" + " --- |" * (1 + len(columns)))
    for kind in (*kinds, OTHERS):
        cells = [means[kind], *(column.get(kind, 0) for column in columns)]
        print(f"| {kind} | " + " | ".join(f"{100 * cell:.1f}" for cell in cells) + " |")


def profile(architecture: Any, data: Any, batch_size: int, precision: str) -> Counter[str]:
    """Seconds of one epoch by what they were spent on."""
    from torch.profiler import ProfilerActivity, record_function
    from torch.profiler import profile as profiler

    from nas.candidates.recipe import Recipe
    from nas.training import device, step
    from nas.training.engine import Engine

    recipe = Recipe(epochs=1000, batch_size=batch_size, augmentation=1.0)
    engine = Engine(architecture, recipe, data, 0, device.PRECISIONS[precision])
    augment = step.augment

    def augment_in_scope(*arguments: Any) -> Any:
        with record_function("augmentation"):
            return augment(*arguments)

    engine.train_epoch(lambda: False)  # makes things ready
    step.augment = augment_in_scope
    try:
        with profiler(activities=[ProfilerActivity.CPU]) as run:
            engine.train_epoch(lambda: False)
            with record_function("validation"):
                engine.evaluate()
    finally:
        step.augment = augment
    seconds: Counter[str] = Counter()
    for event in run.events():
        seconds[_kind(event)] += event.self_cpu_time_total
    return seconds


def _kind(event: Any) -> str:
    """What an operator belongs to: the scope around it, or by its name."""
    above = event
    while above is not None:
        if above.name in SCOPES:
            return str(above.name)
        above = above.cpu_parent
    return KINDS.get(event.name.removeprefix("aten::"), OTHERS)


if __name__ == "__main__":
    main()
