"""The device to train on, and the number format that is fast there."""

from __future__ import annotations

import torch

from nas.errors import NasError, option
from nas.training.engine import HAS_KERNELS

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose_device(wanted: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one, then Apple's MPS, then the CPU.

    Raises:
        NasError: no such device here.
    """
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *present]
    if wanted == "auto":
        return torch.device(present[0])
    if wanted not in present:
        raise NasError(
            f"{option('device')} {wanted!r} is not here: choose auto or {', '.join(present)}"
        )
    return torch.device(wanted)


def device_name(device: torch.device, precision: torch.dtype) -> str:
    """For records: what trains, not only where, for example `cuda (NVIDIA H200), bf16`."""
    name = device.type
    if device.type == "cpu" and not HAS_KERNELS:
        name = "cpu (plain modules: numba is missing)"
    if device.type == "cuda":
        name = f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{name}, {next(n for n, dtype in PRECISIONS.items() if dtype == precision)}"


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The number format of that name; `auto` is the fastest that trains as well.

    Raises:
        NasError: no such format.
    """
    if wanted == "auto":
        return fastest_precision(device)
    if wanted not in PRECISIONS:
        raise NasError(
            f"{option('precision')} {wanted!r} is unknown: choose auto, {', '.join(PRECISIONS)}"
        )
    return PRECISIONS[wanted]


def fastest_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes matrix products in it, else float32."""
    return torch.bfloat16 if has_fast_bf16(device) else torch.float32


def has_fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # On a CPU without the instructions bfloat16 is emulated, and slower than float32.
    # Not a public name, so it may not be there in another version of torch.
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(has_instructions())
