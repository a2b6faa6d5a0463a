"""What an error of a device means."""

from __future__ import annotations

import pytest
import torch

from nas.errors import CaptureFailedError
from nas.training.faults import (
    fault_text,
    is_capture_error,
    is_from_kernels,
    is_memory_error,
    loses_device,
)


def within(first, second):
    """The second error, raised while the first was on its way."""
    try:
        try:
            raise first
        except Exception:
            raise second  # noqa: B904
    except Exception as error:
        return error


OOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
MEMORY = {
    "torch": OOM,
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "driver": torch.AcceleratorError("CUDA error: out of memory"),
    "end of a capture": within(OOM, torch.AcceleratorError("CUDA error: invalidated capture")),
}
CAPTURE = {
    "named": CaptureFailedError("it cannot be captured"),
    "not permitted": torch.AcceleratorError(
        "CUDA error: operation not permitted when stream is capturing"
    ),
    "generator": RuntimeError("Offset increment outside graph capture encountered unexpectedly."),
    "number": torch.AcceleratorError("CUDA error: cudaErrorStreamCaptureInvalidated"),
}
OTHERS = {
    "kernel image": torch.AcceleratorError("CUDA error: no kernel image is available"),
    "address": torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    "of a layer": ValueError("nothing is out of memory here, it was captured during play"),
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_errors_of_every_library_are_memory_errors(name):
    assert is_memory_error(MEMORY[name])
    assert not is_capture_error(MEMORY[name])


@pytest.mark.parametrize("name", CAPTURE)
def test_disturbed_captures_are_capture_errors_after_which_a_process_is_lost(name):
    assert is_capture_error(CAPTURE[name])
    assert loses_device(CAPTURE[name])
    assert not is_memory_error(CAPTURE[name])


@pytest.mark.parametrize("name", OTHERS)
def test_other_errors_are_neither(name):
    assert not is_memory_error(OTHERS[name])
    assert not is_capture_error(OTHERS[name])


def test_only_what_cuda_itself_raised_loses_the_device():
    assert loses_device(OTHERS["address"])
    assert loses_device(MEMORY["driver"])
    assert not loses_device(MEMORY["torch"])
    assert not loses_device(OTHERS["of a layer"])
    assert is_from_kernels(OTHERS["kernel image"])
    assert not is_from_kernels(CAPTURE["not permitted"])


def test_text_of_a_device_error_is_its_first_line():
    error = torch.AcceleratorError("CUDA error: no kernel image\nCompile with TORCH_USE_CUDA_DSA")
    assert fault_text(error) == "AcceleratorError: CUDA error: no kernel image"
    assert fault_text(ValueError("a\nb")) == "ValueError: a"
    failed = CaptureFailedError("first")
    failed.__cause__ = RuntimeError("second")
    assert fault_text(failed) == "RuntimeError: second"
