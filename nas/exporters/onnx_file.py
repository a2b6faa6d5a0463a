"""An ONNX file: with where it came from and nothing of this machine in it; run away from nas."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from nas.errors import ExportError
from nas.exporters.check import run_alone
from nas.exporters.contract import Subject
from nas.exporters.provenance import times, title

if TYPE_CHECKING:  # onnx is an extra
    from onnx import ModelProto

FOLDER = "onnx"

# Needs onnxruntime and numpy alone. The first image goes by itself: the batch may be of any size.
_SCRIPT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
sys.modules["nas"] = sys.modules["torch"] = None  # any import of them raises
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4  # errors are raised as well
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
images = np.load(sys.argv[3])
parts = [images[:1], *(images[i : i + 500] for i in range(1, len(images), 500))]
np.save(sys.argv[4], np.concatenate([session.run(["scores"], {"images": p})[0] for p in parts]))
about = session.get_modelmeta().custom_metadata_map
print(json.dumps({"version": onnxruntime.__version__, "about": about}))
"""


@dataclass(frozen=True)
class Found:
    """What ONNX Runtime makes of a file."""

    scores: np.ndarray  # float32 (N, classes)
    about: dict[str, str]  # the file's metadata_props
    version: str  # of onnxruntime


def missing(*packages: str) -> str | None:
    """How to install those of the packages that are not there; None: all of them are."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f"{', '.join(absent)} must be installed: python -m pip install {' '.join(absent)}"


def save(model: ModelProto, path: Path, subject: Subject, numbers: str) -> int:
    """Write the file, and say how many bytes it has.

    Args:
        model: a network of `images` and `scores`; what its nodes say of their making is deleted.
        path: of the file.
        subject: where the network came from.
        numbers: what it computes in.

    Raises:
        ExportError: it is no valid ONNX.
    """
    from onnx import checker, helper

    _strip(model)
    model.graph.ClearField("value_info")  # shapes that follow from those of the input
    model.graph.name = "network"
    helper.set_model_props(model, _about(subject, numbers))
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # its classes differ between versions
        raise ExportError(f"the network in ONNX is not valid: {_first_line(error)}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path.stat().st_size


def run(path: Path, images: Tensor, num_params: int) -> Found:
    """Scores of uint8 images (N, C, H, W), in a process that can import neither nas nor torch.

    Raises:
        ExportError: the file does not run, or says that it is another network.
    """
    with tempfile.TemporaryDirectory() as temporary:
        sample, scores = Path(temporary) / "images.npy", Path(temporary) / "scores.npy"
        np.save(sample, images.numpy())
        said = run_alone(_SCRIPT, str(path.resolve()), str(sample), str(scores))
        found = Found(np.load(scores), said["about"], said["version"])
    if found.about.get("parameters") != str(num_params):
        raise ExportError(
            f"{path.name} says that it has {found.about.get('parameters')} parameters instead of "
            f"{num_params}"
        )
    return found


def _about(subject: Subject, numbers: str) -> dict[str, str]:
    architecture, origin = subject.architecture, subject.provenance
    facts = {
        "description": title(architecture),
        "input": f"images: uint8 (batch, {', '.join(map(str, architecture.input_shape))}), pixels "
        "of 0 to 255, which are normalised inside",
        "output": "scores: a logit for each class, in the order of `classes`",
        "classes": json.dumps(list(subject.facts.classes)),
        "mean": json.dumps(list(subject.facts.mean)),
        "std": json.dumps(list(subject.facts.std)),
        "numbers": numbers,
        "parameters": str(architecture.num_params),
        "multiply_accumulates": str(architecture.num_macs),
        "study": origin.study,
        "trial": str(origin.trial),
        "dataset": f"{origin.dataset}, {times(architecture.input_shape)}",
        "schedule": origin.schedule,
        "seed": str(origin.seed),
        "made_with": ", ".join(f"{name} {value}" for name, value in origin.versions.items()),
    }
    if origin.certified is not None:  # the weights are not those whose validation accuracy is known
        facts["test_accuracy"] = origin.certified.text
    elif origin.valid_accuracy is not None:
        facts["validation_accuracy"] = f"{origin.valid_accuracy:.6f}, when it was trained"
    if origin.images is not None:
        facts["from_files"] = origin.images
    return facts


def _strip(message: Any) -> None:
    """Delete every remark: torch's exporter writes lines of source with their paths into them."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                _strip(inner)


def _first_line(error: BaseException) -> str:
    return " ".join((str(error).splitlines() or [type(error).__name__])[0].split())[:200]
