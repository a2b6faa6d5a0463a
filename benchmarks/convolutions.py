"""Would a CPU compute single convolutions faster in another layout than the engine's?

    python benchmarks/convolutions.py [--rounds 7]

Beside channels last, as the engine has them: channels first; channels last with zeros up to a
multiple of 8 channels on both sides; and for first convolutions one matrix product of all windows
(im2col). One thread, 128 images, float32; the ways in turn in one process, forward and both ways
back. Told are GFLOP/s of the fastest round, by the seconds of the processor and without the work on
zeros, and the median over the rounds of how many times faster a way is than channels last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

IMAGES = 128
# In, out, side, kernel, padding: the larger convolutions of the networks of `engine.py`.
INNER = (
    (12, 11, 24, 5, 0), (11, 8, 28, 5, 2), (8, 11, 28, 5, 2), (12, 21, 12, 5, 2),
    (21, 14, 12, 5, 2), (31, 17, 26, 3, 0), (17, 34, 24, 3, 1), (20, 47, 26, 3, 1),
    (47, 12, 26, 3, 1), (26, 10, 14, 5, 0), (3, 26, 28, 3, 1),
)  # fmt: skip
FIRST = (
    (1, 14, 28, 5, 0), (1, 12, 28, 5, 0), (1, 8, 28, 3, 0), (1, 11, 28, 5, 2), (1, 31, 28, 3, 0),
    (1, 20, 28, 3, 0),
)  # fmt: skip
Ways = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    last, first = torch.channels_last, torch.contiguous_format
    for shape in INNER:
        padded = (_up(shape[0]), _up(shape[1]), *shape[2:])
        layouts = {"channels last": onednn(*shape, last), "channels first": onednn(*shape, first),
                   "padded": onednn(*padded, last)}  # fmt: skip
        for what in ("forward", "to inputs", "to weights"):
            tell(shape, what, {name: ways[what] for name, ways in layouts.items()}, rounds)
    for shape in FIRST:
        ways = onednn(*shape, last)

        def both(ways: Ways = ways) -> None:
            ways["forward"]()
            ways["to weights"]()

        tell(
            shape, "forward, to weights", {"channels last": both, "im2col": im2col(*shape)}, rounds
        )


def onednn(
    num_in: int, num_out: int, side: int, kernel: int, padding: int, layout: torch.memory_format
) -> Ways:
    """A convolution and its two ways back."""
    x = torch.randn(IMAGES, num_in, side, side).contiguous(memory_format=layout)
    weight = torch.randn(num_out, num_in, kernel, kernel).contiguous(memory_format=layout)
    grad = torch.randn_like(F.conv2d(x, weight, padding=padding))

    def back(to_inputs: bool) -> Callable[[], object]:
        return lambda: torch.ops.aten.convolution_backward(
            grad, x, weight, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], 1,
            [to_inputs, not to_inputs, False],
        )  # fmt: skip

    forward = lambda: F.conv2d(x, weight, padding=padding)  # noqa: E731
    return {"forward": forward, "to inputs": back(True), "to weights": back(False)}


def im2col(num_in: int, num_out: int, side: int, kernel: int, padding: int) -> Callable[[], object]:
    """The same of one input channel as two matrix products, of values in the same order."""
    x, weight = torch.randn(IMAGES, side, side), torch.randn(num_out, kernel**2)
    grad = torch.randn(IMAGES * (side + 2 * padding - kernel + 1) ** 2, num_out)

    def both() -> None:
        framed = F.pad(x, (padding,) * 4) if padding else x
        windows = framed.unfold(1, kernel, 1).unfold(2, kernel, 1).reshape(-1, kernel**2)
        windows @ weight.t()
        grad.t() @ windows

    return both


def tell(
    shape: tuple[int, ...], what: str, ways: Mapping[str, Callable[[], object]], rounds: int
) -> None:
    num_in, num_out, side, kernel, padding = shape
    flops = 2.0 * IMAGES * num_in * num_out * (kernel * (side + 2 * padding - kernel + 1)) ** 2
    flops *= what.count(",") + 1
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            started = time.thread_time()
            ways[name]()
            if number >= 0:  # in the one before, libraries make things ready
                seconds[name].append(time.thread_time() - started)
    base = seconds["channels last"]
    cells = [
        f"{name} {flops / min(mine) / 1e9:.1f} GFLOP/s "
        f"({statistics.median(b / m for b, m in zip(base, mine, strict=True)):.2f}x)"
        for name, mine in seconds.items()
    ]
    print(f"{num_in} to {num_out}, {side}x{side}, {kernel}x{kernel}, padding {padding}, {what}: ",
          "; ".join(cells), sep="", flush=True)  # fmt: skip


def _up(channels: int) -> int:
    return -(-channels // 8) * 8


if __name__ == "__main__":
    main()
