"""Prove an export in a clean process, where `nas` cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from nas.errors import ExportError

TIMEOUT_SECONDS = 300

# Runs with nothing of ours but the exported folder and the sample. What it prints is the result.
_SCRIPT = """
import importlib.util, json, sys
from pathlib import Path
sys.path[:] = json.loads(sys.argv[1])
sys.modules["nas"] = None  # any import of it raises
import torch
sys.pycache_prefix = sys.argv[4]  # what an earlier file left in the folder is not read
folder, sample = Path(sys.argv[2]), Path(sys.argv[3])
spec = importlib.util.spec_from_file_location("network", folder / "network.py")
network = importlib.util.module_from_spec(spec)
spec.loader.exec_module(network)
model = network.load()
data = network.read_safetensors(sample)
with torch.inference_mode():
    scores = torch.cat([model(network.normalise(part)) for part in data["images"].split(500)])
num_params = sum(p.numel() for p in model.parameters())
print(json.dumps({
    "num_params": num_params,
    "states_num_params": num_params == network.NUM_PARAMS,
    "max_difference": (scores - data["scores"]).abs().max().item(),
    "num_other_labels": (scores.argmax(1) != data["scores"].argmax(1)).sum().item(),
}))
"""

# The same operations in the same order; another process may split sums over threads differently.
TOLERANCE = 1e-4


def check_export(folder: Path, images: Tensor, scores: Tensor, num_params: int) -> float:
    """Load the exported network by itself and compare it with ours.

    Args:
        folder: with network.py and weights.safetensors.
        images: uint8 (N, C, H, W) to classify.
        scores: float (N, classes) that our network gives them.
        num_params: its parameters.

    Returns:
        The largest difference between two scores.

    Raises:
        ExportError: it does not load, has another size, or scores the images differently.
    """
    with tempfile.TemporaryDirectory() as temporary:
        sample = Path(temporary) / "sample.safetensors"
        save_file({"images": images.contiguous(), "scores": scores.contiguous()}, sample)
        found = run_alone(_SCRIPT, str(folder.resolve()), str(sample), temporary)
    if found["num_params"] != num_params or not found["states_num_params"]:
        raise ExportError(
            f"the export has {found['num_params']:,} parameters instead of {num_params:,}"
        )
    difference = float(found["max_difference"])
    if not difference <= TOLERANCE or found["num_other_labels"]:
        raise ExportError(
            f"the export scores images differently, by up to {difference:g} "
            f"({found['num_other_labels']} other labels)"
        )
    return difference


def run_alone(script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints, in JSON on its last line, in a process of its own.

    Its first argument is the `sys.path` of this process, in JSON.

    Raises:
        ExportError: it fails, or does not end.
    """
    # The packages are those that this process finds, also through PYTHONPATH or in the user's own
    # site-packages.
    path = json.dumps([str(Path(entry).resolve()) for entry in sys.path if entry])
    # -I: no environment variables, no current folder.
    command = [sys.executable, "-I", "-c", script, path, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"the export did not load within {TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"the export does not run by itself: {last_line}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
