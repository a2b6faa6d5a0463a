"""The exported folder: network.py, weights.safetensors, spec.json, and the check of all three."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nas.data import Dataset
from nas.errors import ExportError, option
from nas.exporters.check import check_export
from nas.exporters.provenance import Provenance
from nas.exporters.pytorch import network_source
from nas.storage.artifacts import fill
from nas.storage.studies import DataFacts
from nas.storage.trials import TrialRecord

NUM_RANDOM_IMAGES = 256

_FILES = {"network.py", "weights.safetensors", "spec.json", "__pycache__"}


@dataclass(frozen=True)
class Exported:
    """An export that passed its check."""

    folder: Path
    num_params: int
    num_checked: int  # images that were classified by both networks
    is_real: bool  # whether those were validation images of the study
    max_difference: float  # between two scores
    accuracy: float | None  # 0..1, of those images, when they are real


def export_trial(
    record: TrialRecord,
    state_dict: dict[str, Tensor],
    facts: DataFacts,
    study_name: str,
    data: Dataset | None,
    out: Path,
    *,
    force: bool = False,
) -> Exported:
    """Write a trial's network to a new folder, checked in a clean process before it appears there.

    Args:
        record: a trial that was trained.
        state_dict: its weights.
        facts: the images it was trained on.
        study_name: for the file's docstring.
        data: those images, on the CPU; without them random ones are compared.
        out: the folder to make.
        force: replace what an earlier export left there.

    Raises:
        ExportError: the folder is there already or cannot be written, or the check failed.
        StudyError: the weights are not those of the trial's network.
    """
    candidate = record.candidate
    if candidate is None:
        raise ExportError(
            f"trial {record.number} was never trained ({record.outcome}): nothing to export"
        )
    if out.exists() and not force:
        raise ExportError(
            f"{option('out')} {out} exists: name another folder, or replace it with "
            f"{option('force', True)}"
        )
    if out.exists() and not (out.is_dir() and {p.name for p in out.iterdir()} <= _FILES):
        raise ExportError(
            f"{option('out')} {out} holds more than an export, so {option('force', True)} does not "
            "replace it"
        )
    architecture = candidate.architecture
    provenance = Provenance(
        study=study_name,
        trial=record.number,
        dataset=Path(facts.source).name,
        valid_accuracy=record.valid_accuracy,
        num_valid=facts.num_valid,
        epochs=record.result.epochs if record.result else record.epochs,
        full_epochs=candidate.recipe.epochs,
        seed=record.seed,
        versions=record.versions,
    )
    images = _images(data, facts)
    model = architecture.build()
    fill(model, state_dict, f"the weights of trial {record.number}")
    scores = _scores(model, images, facts)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Made and checked under another name: a folder called `out` is always whole.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as temporary:
            folder = Path(temporary) / "export"
            folder.mkdir()
            source = network_source(architecture, provenance, facts.classes, facts.mean, facts.std)
            (folder / "network.py").write_text(source, encoding="utf-8")
            save_file(state_dict, folder / "weights.safetensors")
            spec = {
                "architecture": architecture.to_json(),
                "recipe": candidate.recipe.to_json(),
                "fingerprint": candidate.fingerprint,
                "num_params": architecture.num_params,
                "num_macs": architecture.num_macs,
                "classes": facts.classes,
                "mean": facts.mean,
                "std": facts.std,
                "from": asdict(provenance),
            }
            (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
            difference = check_export(folder, images, scores, architecture.num_params)
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)
            if out.exists():
                os.replace(out, Path(temporary) / "before")
            os.replace(folder, out)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{option('out')} {out} cannot be written: {error}") from error
    accuracy = None
    if data is not None:
        accuracy = (scores.argmax(1) == data.labels[data.valid_index]).double().mean().item()
    return Exported(
        out, architecture.num_params, len(images), data is not None, difference, accuracy
    )


def _images(data: Dataset | None, facts: DataFacts) -> Tensor:
    """uint8 (N, C, H, W): the validation images, or random ones."""
    if data is not None:
        return data.images[data.valid_index]
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_RANDOM_IMAGES, *facts.input_shape)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@torch.inference_mode()
def _scores(model: torch.nn.Module, images: Tensor, facts: DataFacts) -> Tensor:
    """float (N, classes) of uint8 (N, C, H, W), in the parts that the check uses."""
    mean = torch.tensor(facts.mean).view(1, -1, 1, 1)
    std = torch.tensor(facts.std).view(1, -1, 1, 1)
    model.eval()
    parts = [model((part.float() / 255 - mean) / std) for part in images.split(500)]
    return torch.cat(parts)
