"""The device to train on, and the number format that is fast there."""

from __future__ import annotations

import torch

from nas.errors import NasError


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
        raise NasError(f"--device {wanted!r} is not here: choose auto or {', '.join(present)}")
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """For records: what it is, not only where, for example `cuda (NVIDIA H200)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def has_fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # On a CPU without the instructions bfloat16 is emulated, and slower than float32.
    # Not a public name, so it may not be there in another version of torch.
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(has_instructions())
