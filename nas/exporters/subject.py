"""What is exported: a trial's network, and the images on which each format of it is compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nas.candidates.architecture import Architecture
from nas.data import Dataset, Preparation
from nas.exporters.contract import Subject
from nas.exporters.formats import FORMATS
from nas.exporters.provenance import Certified, Provenance
from nas.storage.artifacts import fill
from nas.storage.studies import DataFacts
from nas.storage.trials import TrialRecord

NUM_RANDOM_IMAGES = 256
MOST_VECTORS, LEAST_VECTORS, VECTOR_BYTES = 10, 2, 32_768
LEAST_COMPARED, MOST_MACS = 100, 2 * 10**11  # minutes of a simulation


def chosen_images(
    data: Dataset | None, architecture: Architecture, formats: Sequence[str]
) -> Tensor:
    """The validation images to compare, as positions, in an order that mixes the classes."""
    if data is None:
        return torch.empty(0, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.valid_index), generator=generator)
    if any(FORMATS[name].NEEDS_IMAGES for name in formats):  # those are simulated
        order = order[: max(LEAST_COMPARED, MOST_MACS // max(architecture.num_macs, 1))]
    return data.valid_index[order]


def subject_of(
    record: TrialRecord,
    state_dict: dict[str, Tensor],
    facts: DataFacts,
    study_name: str,
    data: Dataset | None,
    chosen: Tensor,
    calibration: int,
    certified: Certified | None,
) -> Subject:
    """The network of a trial with these weights, and the images on which it is compared.

    Args:
        chosen: positions of validation images, see `chosen_images`; without `data` they are random.
        calibration: how many training images set the ranges of integers, at most.
        certified: the training of a certificate that the weights are of.

    Raises:
        StudyError: the weights are not those of the trial's network.
    """
    candidate = record.candidate
    assert candidate is not None
    full = candidate.recipe.epochs
    provenance = Provenance(
        study=study_name,
        trial=record.number,
        dataset=Path(facts.source).name,
        valid_accuracy=record.valid_accuracy,
        num_valid=facts.num_valid,
        epochs=full if certified else record.result.epochs if record.result else record.epochs,
        full_epochs=full,
        seed=certified.seed if certified else record.seed,
        versions=certified.versions if certified else record.versions,
        certified=certified,
        images=Preparation.from_json(facts.preparation).text if facts.preparation else None,
    )
    model = candidate.architecture.build()
    fill(model, state_dict, f"the weights of trial {record.number}")
    model.eval()
    images = _random_images(facts) if data is None else data.images[chosen]
    num_vectors = VECTOR_BYTES // images[0].numel()
    return Subject(
        candidate.architecture, model, state_dict, provenance, facts, images,
        _scores(model, images, facts), min(max(num_vectors, LEAST_VECTORS), MOST_VECTORS),
        None if data is None else data.images[data.train_index[:calibration]],
    )  # fmt: skip


def _random_images(facts: DataFacts) -> Tensor:
    """uint8 (N, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_RANDOM_IMAGES, *facts.input_shape)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@torch.inference_mode()
def _scores(model: torch.nn.Module, images: Tensor, facts: DataFacts) -> Tensor:
    """float (N, classes) of uint8 (N, C, H, W), in the parts that the check uses."""
    mean = torch.tensor(facts.mean).view(1, -1, 1, 1)
    std = torch.tensor(facts.std).view(1, -1, 1, 1)
    parts = [model((part.float() / 255 - mean) / std) for part in images.split(500)]
    return torch.cat(parts)
