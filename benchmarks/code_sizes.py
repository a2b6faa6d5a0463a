"""How many bytes the C kernels are when compiled: the table that --max-flash and --max-ram use.

    python benchmarks/code_sizes.py [--count 60] [--seed 0] [--write]

Draws networks, writes the C of each with random weights, and compiles that by arm-none-eabi-gcc for
a Cortex-M0+. What is left of each object without its weights and tables is code. A kernel that is
called once is compiled into its place, and smaller; each call takes a few bytes. These sizes are
fitted to all objects by least squares; stacks are the largest that were seen. Prints them and how
far the objects are from what they say; `--write` puts them into nas/candidates/code_sizes.py.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas import (
    Architecture,
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Layer,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.candidates import code_sizes
from nas.candidates.device import data_bytes, names_bytes
from nas.candidates.operations import operations
from nas.errors import InvalidCandidateError
from nas.exporters.c_source import header, source
from nas.exporters.folding import graph_of
from nas.exporters.quantize import quantize
from nas.exporters.toolchain import SIZE_FLAGS, Sizes, sizes_on_cortex_m0

KERNELS = ("conv", "depthwise", "affine", "add", "relu", "max_pool", "avg_pool", "flatten")
TIMES = (1, 2, 8)
LIBRARY_STACK = 24  # of the compiler's multiplication and division


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows: list[list[int]] = []
    codes: list[int] = []
    frames: dict[str, int] = dict.fromkeys(KERNELS, 0)
    scores_stack = 0
    compiler = ""
    for architecture in networks(options.count, options.seed):
        found = compiled(architecture)
        if isinstance(found, str):
            sys.exit(found)
        compiler = found.compiler
        walk = operations(architecture.input_shape, architecture.layers)
        calls = Counter(op.kernel for op in walk.ops)
        row = [1, int(architecture.input_shape[0] > 1)]
        for kernel in KERNELS:
            row += [int(calls[kernel] > 0), int(calls[kernel] > 1), calls[kernel]]
        rows.append(row)
        names = names_bytes([str(label) for label in range(architecture.num_classes)])
        codes.append(found.flash_bytes - sum(data_bytes(walk, architecture.num_classes, names)))
        outer = found.stacks["nas_scores"] + found.stacks["nas_predict"]
        outer -= -(-architecture.num_classes // 8) * 8  # the scores themselves
        inner = found.stacks.get("to_byte", 0) + LIBRARY_STACK
        for kernel in calls:
            if kernel in found.stacks:
                frames[kernel] = max(frames[kernel], found.stacks[kernel] + inner)
                scores_stack = max(scores_stack, outer)
            else:  # compiled into nas_scores
                frames[kernel] = max(frames[kernel], LIBRARY_STACK)
    sizes = fitted(np.array(rows, float), np.array(codes, float))
    errors = np.array(rows) @ sizes - np.array(codes)
    table = {
        kernel: (*(int(v) for v in sizes[2 + 3 * n : 5 + 3 * n]), frames[kernel])
        for n, kernel in enumerate(KERNELS)
    }
    text = TEXT.format(
        compiler=compiler, flags=" ".join(SIZE_FLAGS), base=int(sizes[0]), colour=int(sizes[1]),
        rows="\n".join(f'    "{kernel}": {row},' for kernel, row in table.items()),
        stack=scores_stack,
    )  # fmt: skip
    print(text)
    print(
        f"# {len(codes)} networks, code of {min(codes):,} to {max(codes):,} bytes; the table is "
        f"off by {np.abs(errors).mean():.0f} bytes on average, {np.abs(errors).max():.0f} at most"
    )
    if options.write:
        Path(code_sizes.__file__).write_text(text, encoding="utf-8")


TEXT = '''"""Bytes of the compiled C kernels, as benchmarks/code_sizes.py found them."""

COMPILER = "{compiler}"
FLAGS = "{flags}"

BASE = {base}  # nas_scores and nas_predict without a layer
COLOUR = {colour}  # on top where a pixel has several channels
# Of each kernel: its code, what that grows by where it is called more than once, a call, its stack.
KERNELS = {{
{rows}
}}
SCORES_STACK = {stack}  # of nas_predict and nas_scores, which calls the kernels
'''


def fitted(rows: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whole bytes, none below 0, by least squares."""
    from scipy.optimize import nnls  # which scikit-learn brings along

    return np.rint(nnls(rows, codes)[0])


def compiled(architecture: Architecture, seed: int = 0) -> Sizes | str:
    """What the compiler makes of a network with random weights."""
    torch.manual_seed(seed)
    model = architecture.build().eval()
    channels = architecture.input_shape[0]
    images = torch.randint(0, 256, (2, *architecture.input_shape), dtype=torch.uint8)
    network = quantize(graph_of(architecture, model), images, (0.4,) * channels, (0.3,) * channels)
    names = [str(label) for label in range(architecture.num_classes)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "net.c").write_text(source(network, architecture, "", [], names))
        (folder / "net.h").write_text(header(network, architecture, ""))
        return sizes_on_cortex_m0(folder)


def networks(count: int, seed: int) -> Iterator[Architecture]:
    """Each kind of layer by itself, one to eight times over; then random chains of all kinds."""
    alone: list[list[Layer]] = [
        [Conv(4)], [DepthwiseConv()], [BatchNorm(), ReLU()], [Residual([ReLU()])],
        [Residual([BatchNorm()])], [Tied(1, 1)],
    ]  # fmt: skip
    for shape, times in ((shape, times) for shape in [(1, 32, 32), (3, 32, 32)] for times in TIMES):
        for layers in alone:
            yield Architecture(shape, [*layers * times, Flatten()])
        for pool in (MaxPool, AvgPool):
            yield Architecture(shape, [*[pool(2)] * min(times, 4), Flatten()])
    rng = random.Random(seed)
    for _ in range(count):
        size = rng.choice([8, 16, 28, 32, 48])
        shape = (rng.choice([1, 1, 3]), size, size)
        channels = rng.randint(2, 24)
        layers: list[Layer] = [Conv(channels, rng.choice([3, 5]), stride=rng.choice([1, 2]))]
        layers += rng.choice([[], [BatchNorm(), ReLU()], [ReLU(), BatchNorm()], [BatchNorm()]])
        for _ in range(rng.randint(0, 5)):
            part = rng.choice(["conv", "residual", "separable", "tied", "pool", "relu", "plain"])
            if part == "conv":
                channels = rng.randint(2, 24)
                layers += [Conv(channels, rng.choice([1, 3])), BatchNorm(), ReLU()]
            elif part == "residual":
                layers += [Residual([Conv(channels), BatchNorm(), ReLU(), Conv(channels)]), ReLU()]
            elif part == "separable":
                inner = [DepthwiseConv(rng.choice([3, 5])), BatchNorm(), Conv(channels, 1)]
                layers += [Residual(inner)] if rng.random() < 0.7 else inner
            elif part == "tied":
                layers += [Tied(rng.randint(1, 4))]
            elif part == "pool" and size >= 16:
                size //= 2
                layers += [rng.choice([MaxPool, MaxPool, AvgPool])(2)]
            elif part == "relu":
                layers += [Residual([ReLU(), Conv(channels, 1)])]
            elif part == "plain":
                layers += [ReLU(), BatchNorm()]
        layers += rng.choice([[GlobalAvgPool()], [LearnedPool()], [MaxPool(2)], [AvgPool(3)]])
        layers += [Flatten()] if rng.random() < 0.1 else [Flatten(), Linear(10)]
        try:
            yield Architecture(shape, layers)
        except InvalidCandidateError:
            continue  # pooled away


if __name__ == "__main__":
    main()
