"""What a network takes as int8 C on a small device, in closed form, before it is trained.

Flash is what `arm-none-eabi-gcc -Os -mcpu=cortex-m0plus -mthumb` makes of the exported net.c:
weights, tables and class names exactly, the code of the kernels by their compiled sizes. RAM is the
buffer of all maps, exactly, and the stack of a call. What the compiler's own library adds, such as
a division, and what the program around it takes, is not in either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.candidates import code_sizes
from nas.candidates.architecture import Architecture
from nas.candidates.arena import plan
from nas.candidates.operations import Operation, Operations, operations

NAME_BYTES = 8
"""Of a class whose name is not known."""
_POINTER = 4
_PIXEL_TABLE = 256  # bytes for each channel of the image
_SCALING = 8  # a multiplier and an offset of 32 bits for each channel
_STRUCTS = {"conv": 52, "depthwise": 52, "affine": 20, "add": 16, "avg_pool": 32}


@dataclass(frozen=True)
class DeviceBytes:
    """What a network takes, in bytes."""

    weights: int
    tables: int  # scales, sizes of layers, pixels, class names
    code: int
    maps: int  # the one buffer of all maps
    stack: int  # of a call of nas_predict

    @property
    def flash(self) -> int:
        return self.weights + self.tables + self.code

    @property
    def ram(self) -> int:
        return self.maps + self.stack


def device_bytes(architecture: Architecture, names_bytes: int | None = None) -> DeviceBytes:
    """What the int8 C of a network takes.

        device_bytes(architecture, names_bytes(("cat", "dog"))).flash

    Args:
        names_bytes: of the texts of the class names, as `names_bytes` says.

    Raises:
        InvalidCandidateError: a layer has no integer form.
    """
    walk = operations(architecture.input_shape, architecture.layers)
    num_classes = architecture.num_classes
    if names_bytes is None:
        names_bytes = NAME_BYTES * num_classes
    weights, tables = data_bytes(walk, num_classes, names_bytes)
    stack = code_sizes.SCORES_STACK + -(-num_classes // 8) * 8
    stack += max((code_sizes.KERNELS[op.kernel][3] for op in walk.ops), default=0)
    return DeviceBytes(
        weights, tables, _code(walk.ops, architecture.input_shape[0]),
        plan(walk.ops, walk.sizes).size, stack,
    )  # fmt: skip


def least_flash() -> int:
    """What no network can do without: some code, and a table for its pixels."""
    return code_sizes.BASE + _PIXEL_TABLE


def data_bytes(walk: Operations, num_classes: int, names_bytes: int) -> tuple[int, int]:
    """Weights, and tables: scales, the sizes of layers, pixels, class names."""
    weights = sum(-(-op.num_weights // 4) * 4 for op in walk.ops)
    tables = _PIXEL_TABLE * walk.maps[0][0] + _POINTER * num_classes + names_bytes
    tables += sum(_STRUCTS.get(op.kernel, 0) + _SCALING * op.num_scaled for op in walk.ops)
    return weights, tables


def names_bytes(classes: Sequence[str]) -> int:
    """What the names take as texts of C: in UTF-8, each with an end."""
    return sum(len(name.encode("utf-8", "surrogatepass")) + 1 for name in classes)


def _code(ops: Sequence[Operation], num_channels: int) -> int:
    size = code_sizes.BASE + (code_sizes.COLOUR if num_channels > 1 else 0)
    for kernel, (once, several, call, _) in code_sizes.KERNELS.items():
        num_calls = sum(op.kernel == kernel for op in ops)
        size += call * num_calls
        size += once if num_calls else 0
        size += several if num_calls > 1 else 0  # it is no longer compiled into its place
    return size
