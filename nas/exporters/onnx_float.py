"""Format `onnx`: what torch's exporter makes of the network, its normalisation inside."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import ExportError, one_line
from nas.exporters import onnx_file
from nas.exporters.check import TOLERANCE
from nas.exporters.contract import Expected, Proof, Subject, Written

FOLDER = onnx_file.FOLDER
FILES = ("network.onnx",)
NUMBERS = "float32"
NEEDS_IMAGES = False
TAGS = ("onnx",)
USAGE = """\
`onnx/network.onnx` is for ONNX Runtime, and for what else reads ONNX. It takes a batch of any size;
its classes and where it came from stand in its metadata.

```python
import json
import onnxruntime

session = onnxruntime.InferenceSession("onnx/network.onnx")
(scores,) = session.run(["scores"], {"images": images})  # images: uint8 (N, C, H, W) of NumPy
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
```
"""

OPSET = 18


def missing() -> str | None:
    return onnx_file.missing("onnx", "onnxscript", "onnxruntime")


class _Normalised(nn.Module):
    """uint8 images (N, C, H, W) to scores."""

    mean: Tensor
    std: Tensor

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.model = subject.model
        self.register_buffer("mean", torch.tensor(subject.facts.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(subject.facts.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.model((images.float() / 255 - self.mean) / self.std)
        return scores


def write(subject: Subject, folder: Path) -> Written:
    """network.onnx.

    Raises:
        ExportError: torch's exporter cannot write the network.
    """
    two = torch.zeros(2, *subject.architecture.input_shape, dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Normalised(subject).eval(),
                (two,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["images"],
                output_names=["scores"],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # whatever in torch or onnxscript goes wrong
        raise ExportError(f"torch cannot write the network as ONNX: {one_line(error)}") from error
    assert program is not None
    size = onnx_file.save(program.model_proto, folder / FILES[0], subject, NUMBERS)
    rows = ((f"`{FOLDER}/{FILES[0]}`, {NUMBERS}", f"{size:,} bytes"),)
    return Written(subject.scores, rows, {"file_bytes": size})


def check(folder: Path, expected: Expected) -> Proof:
    """Run the file in ONNX Runtime, and compare its scores with those of PyTorch.

    Raises:
        ExportError: it does not run, or a score differs by more than 1e-4.
    """
    found = onnx_file.run(folder / FILES[0], expected.images, expected.num_params)
    scores = torch.from_numpy(found.scores)
    if scores.shape != expected.scores.shape:
        raise ExportError(f"{FILES[0]} gives scores of {tuple(scores.shape)}")
    difference = (scores - expected.scores).abs().max().item()
    num_other = int((scores.argmax(1) != expected.scores.argmax(1)).sum())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{FILES[0]} scores images differently, by up to {difference:g} ({num_other} other "
            "labels)"
        )
    line = (
        f"onnx: in onnxruntime {found.version}, without nas or torch, its scores of "
        f"{len(expected.images):,} images differ by at most {difference:.1g}"
    )
    figures = {"max_difference": difference, "onnxruntime": found.version}
    return Proof((line,), figures=figures)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter reports on its steps and warns of what is to come."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
