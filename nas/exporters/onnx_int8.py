"""Format `onnx-int8`: the integers of the C code as ONNX, static and with a scale a channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nas.errors import ExportError
from nas.exporters import onnx_file
from nas.exporters.contract import Expected, Proof, Subject, Written
from nas.exporters.qdq import STEP, qdq_model

FOLDER = onnx_file.FOLDER
FILES = ("network-int8.onnx",)
NUMBERS = "int8"
NEEDS_IMAGES = True
TAGS = ("onnx", "int8")
USAGE = """\
`onnx/network-int8.onnx` has 8 bits for every map and every weight (QDQ: QuantizeLinear and
DequantizeLinear), with a scale for each channel of the weights; uint8 images in, float scores out.
Its bytes are written as uint8: kernels of ONNX Runtime for x86 that add two products in 16 bits
would overflow with int8 weights.

```python
session = onnxruntime.InferenceSession("onnx/network-int8.onnx")
(scores,) = session.run(["scores"], {"images": images})  # images: uint8 (N, C, H, W) of NumPy
```
"""

# A value that lies between two bytes may be rounded either way, and what follows goes with it.
MOST_STEPS, MOST_MEAN_STEPS = 8, 0.5


def missing() -> str | None:
    return onnx_file.missing("onnx", "onnxruntime")


def write(subject: Subject, folder: Path) -> Written:
    """network-int8.onnx; its scores are those of ONNX Runtime, near those of the simulation.

    Raises:
        ExportError: a layer has no integer form, there are no images to calibrate on, or ONNX
            Runtime computes something else than the simulation.
    """
    network, bytes_of_scores = subject.integers
    facts, architecture = subject.facts, subject.architecture
    model = qdq_model(network, facts.mean, facts.std)
    path = folder / FILES[0]
    size = onnx_file.save(model, path, subject, NUMBERS)
    simulated = bytes_of_scores.astype(np.float32) - network.scores.zero
    simulated = simulated * np.float32(network.scores.scale)
    found = onnx_file.run(path, subject.images, architecture.num_params)
    num_different, most = _compare(path, found.scores, simulated)
    rows = (
        (f"`{FOLDER}/{FILES[0]}`, {NUMBERS}", f"{size:,} bytes"),
        (
            f"`{FOLDER}/{FILES[0]}` beside the integers of C",
            f"{num_different:,} of {found.scores.size:,} scores differ, by at most {most} of 255 "
            "steps",
        ),
    )
    figures = {
        "file_bytes": size,
        "calibration_images": subject.num_calibration,
        "num_unlike_simulation": num_different,
        "most_steps_from_simulation": most,
    }
    return Written(torch.from_numpy(found.scores), rows, figures)


def check(folder: Path, expected: Expected) -> Proof:
    """Run the file in ONNX Runtime, and compare its scores with those that were measured.

    Raises:
        ExportError: it does not run, or its scores differ by more than roundings do.
    """
    path = folder / FILES[0]
    found = onnx_file.run(path, expected.images, expected.num_params)
    num_different, most = _compare(path, found.scores, expected.scores.numpy())
    line = (
        f"onnx-int8: in onnxruntime {found.version}, without nas or torch, {num_different:,} of "
        f"{found.scores.size:,} scores of {len(expected.images):,} images differ, by at most "
        f"{most} of 255 steps"
    )
    figures = {"num_different": num_different, "onnxruntime": found.version}
    return Proof((line,), figures=figures)


def _compare(path: Path, found: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
    """How many scores differ, and by how many steps of a byte at most."""
    if found.shape != expected.shape:
        raise ExportError(f"{path.name} gives scores of {found.shape}")
    apart = np.abs(found - expected) / _step(path)
    if not (apart.max() < MOST_STEPS + 0.5 and apart.mean() <= MOST_MEAN_STEPS):
        raise ExportError(
            f"{path.name} does not compute what was measured: its scores differ by up to "
            f"{apart.max():.0f} of 255 steps, by {apart.mean():.2g} in the mean"
        )
    steps = np.round(apart).astype(int)
    return int(np.count_nonzero(steps)), int(steps.max())


def _step(path: Path) -> float:
    """What a step of a byte of the scores is: a file in which it was changed has other scores."""
    import onnx

    for tensor in onnx.load(path).graph.initializer:
        if tensor.name == STEP:
            return float(onnx.numpy_helper.to_array(tensor))
    raise ExportError(f"{path.name} holds no {STEP}")
