"""Numbers of activations for loops that are compiled for this machine's CPU when first used.

An array of activations holds float32, or bfloat16 as its bits (uint16): numpy and numba know no
bfloat16. Everything is computed in float32; `load` and `store` turn one into the other.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
CHUNK = 64  # rows summed in float32 before they go into a sum in float64
Values = NDArray[Any]  # float32, or uint16 that are the bits of bfloat16


SOURCE = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator: machine code, made at the first call with such types and kept on disk.

    It is made anew when the file of the function has changed, or this one.
    """
    options = {"error_model": "numpy", "nogil": True}
    function = _with_closure(function, SOURCE)
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep compiled code in: compile in each process
        return njit(**options)(function)


def _with_closure(function: Callable[..., Any], value: Any) -> FunctionType:
    """The function, with a value that it does not use in its closure.

    numba finds kept code by the text of the function's file and by the values of its closure: what
    the function calls in other files must be in one of them.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__.replace(co_freevars=(*function.__code__.co_freevars, "_kept_with"))
    cells = (*(function.__closure__ or ()), CellType(value))
    made = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, cells)
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    made.__doc__ = function.__doc__
    return made


@intrinsic  # type: ignore[untyped-decorator]
def bits(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def from_bits(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


def load(values: Values, i: int) -> Any:
    """values[i] as float32."""


def store(values: Values, i: int, value: Any) -> None:
    """values[i] = value, rounded to nearest, ties to even."""


@overload(load, inline="always")  # type: ignore[untyped-decorator]
def _compile_load(values: Any, i: Any) -> Any:
    def load(values: Any, i: Any) -> Any:
        return values[i]

    def load_bfloat16(values: Any, i: Any) -> Any:
        return from_bits(np.uint32(values[i]) << np.uint32(16))

    return load_bfloat16 if values.dtype is types.uint16 else load


@overload(store, inline="always")  # type: ignore[untyped-decorator]
def _compile_store(values: Any, i: Any, value: Any) -> Any:
    def store(values: Any, i: Any, value: Any) -> None:
        values[i] = value

    def store_bfloat16(values: Any, i: Any, value: Any) -> None:
        raw = bits(value)
        half = np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))
        values[i] = np.uint16((raw + half) >> np.uint32(16))

    return store_bfloat16 if values.dtype is types.uint16 else store


def dense(x: Tensor) -> Tensor:
    """`x` without gaps, channels last when it is images."""
    return x.contiguous(
        memory_format=torch.channels_last if x.dim() == 4 else torch.contiguous_format
    )


def flat(x: Tensor) -> Any:
    """The values of a dense tensor in the order of memory, sharing it; bfloat16 as uint16."""
    values = x.detach().as_strided((x.numel(),), (1,))
    return (values.view(torch.uint16) if x.dtype == torch.bfloat16 else values).numpy()


# Between channels and rows of several pixels


@compiled
def tiled(values: Floats, tile: int) -> Floats:
    """`values` (C,) repeated to (tile,)."""
    row = np.empty(tile, np.float32)
    for i in range(tile):
        row[i] = values[i % values.size]
    return row


@compiled
def add_tiled(values: Floats, totals: NDArray[np.float64]) -> None:
    """Add `values` (tile,) to the totals of their channels (C,)."""
    for i in range(values.size):
        totals[i % totals.size] += values[i]
