"""What an error of a device means: whose fault it is, and whether the process can go on.

A CUDA error has a number from 900 to 909 where a capture was disturbed, and a text in any case.
torch raises it as `AcceleratorError`; cuBLAS and cuDNN raise plain `RuntimeError`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nas.errors import CaptureFailedError, one_line

MEMORY_TEXTS = ("out of memory", "ALLOC_FAILED")
CAPTURE_TEXTS = (
    "capturing", "during capture", "stream capture", "StreamCapture", "graph capture",
    "captures_underway", "capturable",
)  # fmt: skip
# Of the kernels themselves: a step outside a graph would meet them, too.
KERNEL_TEXTS = ("no kernel image", "illegal memory access", "device-side assert", "misaligned")


def is_memory_error(error: BaseException) -> bool:
    """Whether a device had too little memory, whatever library says so.

    The end of a capture that ran out of memory raises an error of its own, in place of the first.
    """
    return any(
        isinstance(one, torch.OutOfMemoryError)
        or (isinstance(one, RuntimeError) and any(text in str(one) for text in MEMORY_TEXTS))
        for one in _with_causes(error)
    )


def is_capture_error(error: BaseException) -> bool:
    """Whether a graph could not be captured, or a capture was disturbed."""
    if is_memory_error(error):
        return False
    return isinstance(error, CaptureFailedError) or any(
        isinstance(one, RuntimeError) and any(text in str(one) for text in CAPTURE_TEXTS)
        for one in _with_causes(error)
    )


def is_from_kernels(error: BaseException) -> bool:
    """Whether a kernel failed, which would fail without a capture as well."""
    return any(any(text in str(one) for text in KERNEL_TEXTS) for one in _with_causes(error))


def loses_device(error: BaseException) -> bool:
    """Whether this process can use the device no more: after such an error CUDA refuses all."""
    return is_capture_error(error) or any(
        isinstance(one, torch.AcceleratorError) for one in _with_causes(error)
    )


def fault_text(error: BaseException) -> str:
    """What happened, on one line, without torch's advice on how to look for it."""
    cause = error
    if isinstance(error, CaptureFailedError) and error.__cause__ is not None:
        cause = error.__cause__
    lines = str(cause).splitlines() or [""]
    return one_line(type(cause)(lines[0])) if len(lines) > 1 else one_line(cause)


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
