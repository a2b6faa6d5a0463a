"""What to train on, and how: decisions about devices that need none to be tested.

Which device, which number format, which engine, how many workers, and what an error of a device
means. What only a GPU can run stands in `cuda.py`.
"""

from __future__ import annotations

import os
import re
import warnings
from functools import cache
from typing import Literal

import torch

from nas.errors import NasError, option
from nas.training.engine import HAS_KERNELS

EngineName = Literal["graph", "eager"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
ENGINES = ("auto", "graph", "eager")
WORKERS_ON_CUDA = 4
EAGER_WORKERS_ON_CUDA = 2  # steps launched from Python wait for Python: more gain nothing
WORKER_BYTES = 1.5 * 2**30  # of GPU memory, for a worker: buffers, captured steps, libraries


def choose_device(wanted: str) -> torch.device:
    """The device of that name; `auto` is CUDA where it can be used, then Apple's MPS, then the CPU.

    Raises:
        NasError: no such device here, or this torch has no code for it.
    """
    faults = _cards()
    usable = [f"cuda:{index}" for index, fault in faults.items() if not fault]
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if faults.get(0) == "":
        usable.insert(0, "cuda")
    present = usable + present
    if wanted == "auto":
        return torch.device(present[0])
    if wanted not in present:
        is_cuda = re.fullmatch(r"cuda(:\d+)?", wanted)
        fault = faults.get(int(wanted[5:] or 0), "" if faults else _complaint()) if is_cuda else ""
        why = f"cannot be used: {fault}; choose" if fault else "is not here: choose"
        raise NasError(f"{option('device')} {wanted!r} {why} auto or {', '.join(present)}")
    return torch.device(wanted)


def device_notes(device_name: str, engine_name: str) -> list[str]:
    """What `auto` has passed over for the device and the engine, a line each with why."""
    device = choose_device(device_name)
    faults = [fault for fault in (_cards() or {0: _complaint()}).values() if fault]
    if device_name == "auto" and device.type != "cuda" and faults:
        return [f"training on the {device.type.upper()}: {faults[0]}"]
    if engine_name == "auto" and device.type == "cuda" and torch.version.hip is not None:
        return [f"steps are not captured as graphs: on ROCm {option('engine', 'graph')} is untried"]
    return []


def _cards() -> dict[int, str]:
    """The CUDA GPUs by index, each with why it cannot be used; empty where it can."""
    if not torch.cuda.is_available():
        return {}
    return {index: _fault(index) for index in range(torch.cuda.device_count())}


def _fault(index: int) -> str:
    """Why this torch cannot compute on a GPU that it lists; empty where it can."""
    if torch.version.hip is not None:  # its list has other names
        return ""
    capability, names = torch.cuda.get_device_capability(index), torch.cuda.get_arch_list()
    if not names or any(_runs_on(name, capability) for name in names):
        return ""
    return (
        f"{torch.cuda.get_device_name(index)} has compute capability {capability[0]}."
        f"{capability[1]}, and torch {torch.__version__} holds code for {', '.join(names)} alone "
        "(a torch built for an older CUDA may hold it)"
    )


def _runs_on(name: str, capability: tuple[int, int]) -> bool:
    """Whether a GPU runs code of a name such as sm_86, sm_90a or compute_120."""
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
    if match is None:
        return False
    kind, built, suffix = match[1], (int(match[2]), int(match[3])), match[4]
    if suffix == "a":  # for this one capability
        return capability == built
    if kind == "compute" and not suffix:  # compiled on the machine, for whatever came later
        return capability >= built
    return capability[0] == built[0] and capability[1] >= built[1]


@cache
def _complaint() -> str:
    """What torch has to say of a driver that it cannot work with; it says so once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.is_available()
    return next((" ".join(str(w.message).split()) for w in caught if "CUDA" in str(w.message)), "")


def choose_engine(wanted: str, device: torch.device) -> EngineName:
    """How steps reach the device; `auto` is `graph` on CUDA, else `eager`.

    Raises:
        NasError: no such engine, or no graphs on this device.
    """
    if wanted not in ENGINES:
        raise NasError(f"{option('engine')} {wanted!r} is unknown: choose {', '.join(ENGINES)}")
    if wanted == "graph" and device.type != "cuda":
        raise NasError(
            f"{option('engine', 'graph')} needs a CUDA GPU, and the device is {device.type}: "
            "choose auto or eager"
        )
    if wanted == "auto":
        return "graph" if device.type == "cuda" and torch.version.hip is None else "eager"
    return "graph" if wanted == "graph" else "eager"


def device_name(device: torch.device, precision: torch.dtype, engine: EngineName) -> str:
    """For records: what trains, not only where: `cuda (NVIDIA H200), graph engine, bf16`."""
    name = device.type
    if device.type == "cpu" and not HAS_KERNELS:
        name = "cpu (plain modules: numba is missing)"
    if device.type == "cuda":
        name = f"cuda ({torch.cuda.get_device_name(device)})"
    digits = next(n for n, dtype in PRECISIONS.items() if dtype == precision)
    return f"{name}, {engine} engine, {digits}"


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The number format of that name; `auto` is the fastest that trains as well.

    Raises:
        NasError: no such format, or the GPU would only emulate it.
    """
    if wanted == "auto":
        return fastest_precision(device)
    if wanted not in PRECISIONS:
        raise NasError(
            f"{option('precision')} {wanted!r} is unknown: choose auto, {', '.join(PRECISIONS)}"
        )
    if wanted == "bf16" and device.type == "cuda" and not has_fast_bf16(device):
        raise NasError(
            f"{option('precision', 'bf16')} needs a GPU of compute capability 8.0 or more, and "
            f"{torch.cuda.get_device_name(device)} has less: choose auto or fp32"
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


def default_workers(device: torch.device, engine: EngineName = "eager") -> int:
    """Trainings at once: one for each core of a CPU, on CUDA what fits into the free memory."""
    if device.type == "cuda":
        most = WORKERS_ON_CUDA if engine == "graph" else EAGER_WORKERS_ON_CUDA
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, min(most, int(free // WORKER_BYTES)))
    if device.type != "cpu":
        return 1
    can_tell = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
