"""The command that repeats a search, in words that may leave this machine."""

from __future__ import annotations

from pathlib import Path

import optuna

from nas.data import NAMES, is_in_memory
from nas.errors import command, named_for_shell
from nas.storage.counts import count_trials
from nas.storage.studies import study_data, study_facts
from nas.storage.trials import stored

_NPZ = ".npz"


def repetition(study: optuna.Study, trial: int) -> str | None:
    """`nas search` with what is needed to repeat the search that found a trial, beside its data.

    Data is named without the folders above it, and the storage not at all: their names may say
    whose machine this is, and hold passwords.

        repetition(study.optuna_study, study.best.number)

    Returns:
        The line for a shell; None where the images were given in Python, which alone has them.

    Raises:
        StudyError: another program made the study.
    """
    data, facts = study_data(study), study_facts(study)
    assert facts is not None  # or study_data had refused
    if is_in_memory(data.source):
        return None
    found = study.get_trials(deepcopy=False)[trial]
    in_bytes = (facts.max_weight_bytes, facts.max_activation_bytes)
    options = {
        "space": Path(facts.space).name,
        "budget": facts.budget,
        "max_flash": facts.max_flash,
        "max_ram": facts.max_ram,
        "max_macs": facts.max_macs,
        "max_weight_bytes": facts.max_weight_bytes,
        "max_activation_bytes": facts.max_activation_bytes,
        "bits": None if in_bytes == (None, None) else facts.bits,
        "dataset": _portable(data.source),
        "test": None if data.test_source is None else _portable(data.test_source),
        "image_size": data.image_size,
        "fit": data.fit,
        "valid_share": data.valid_share,
        "split_seed": data.split_seed,
        "trials": len(count_trials(study).trained) or None,
        "epochs": facts.epochs,
        "sampler": stored(found, "sampler"),  # older studies do not say
        "pruner": stored(found, "pruner"),
        "seed": facts.seed,
        "study": study.study_name,
    }
    with named_for_shell():
        return command("search", **{name: v for name, v in options.items() if v is not None})


def _portable(source: str) -> str | None:
    """A data set as an option takes it beside its folder; None where Python gave the images."""
    if is_in_memory(source):
        return None
    if source in NAMES:
        return source
    name = Path(source).name
    return name if name.lower().endswith(_NPZ) else f"{name}/"
