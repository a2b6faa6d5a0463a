"""The command that repeats a search, in words that may leave this machine."""

from __future__ import annotations

import contextlib
from pathlib import PurePath

import optuna

from nas.candidates.budget import Limits
from nas.data import NAMES, is_in_memory
from nas.errors import SpaceError, command, named_for_shell
from nas.searching.config import SearchConfig
from nas.spaces.loader import proposes_as
from nas.spaces.places import list_spaces
from nas.spaces.text import is_of_a_function
from nas.storage.counts import count_trained, count_trials
from nas.storage.studies import DataFacts, StudyFacts, space_source, study_data, study_facts
from nas.storage.trials import stored


def repetition(study: optuna.Study) -> str | None:
    """`nas search` with what repeats the search of a study beside its data and its space.

    Files are named without the folders above them, and the storage not at all: these may say whose
    machine this is, and hold passwords.

        repetition(nas.load_study("mnist-20k").optuna_study)

    Returns:
        The line for a shell; None where images or space were given in Python, which alone has them.

    Raises:
        StudyError: another program made the study.
    """
    data, facts = study_data(study), study_facts(study)
    assert facts is not None  # or study_data had refused
    if is_in_memory(data.source) or is_of_a_function(space_source(study) or ""):
        return None
    options: dict[str, object] = {} if facts.limits.is_flash_alone else {"budget": facts.budget}
    options["dataset"] = _portable(data.source)
    # The default, too: it may be another where the line is pasted.
    options["space"] = facts.space if _is_at_hand(facts, data) else f"./{facts.space}.py"
    has_test = data.test_source is not None and not is_in_memory(data.test_source)
    for name, value, default in (
        ("test", _portable(data.test_source or "") if has_test else None, None),
        ("max_macs", facts.max_macs, None),
        ("max_weight_bytes", facts.max_weight_bytes, None),
        ("max_activation_bytes", facts.max_activation_bytes, None),
        ("max_flash", facts.max_flash, None),
        ("max_ram", facts.max_ram, None),
        ("bits", facts.bits, Limits.bits),
        ("epochs", facts.epochs, SearchConfig.epochs),
        ("sampler", _asked(study, "sampler"), SearchConfig.sampler),
        ("pruner", _asked(study, "pruner"), SearchConfig.pruner),
        ("seed", facts.seed, SearchConfig.seed),
        ("image_size", data.image_size, None),
        ("fit", data.fit, None),
        ("valid_share", data.valid_share, str(SearchConfig.valid_share)),
        ("split_seed", data.split_seed, SearchConfig.split_seed),
    ):
        if value not in (None, default):
            options[name] = value
    options["trials"] = max(count_trained(count_trials(study).counts), 1)
    options["study"] = f"{study.study_name}-again"
    with named_for_shell():
        return command("search", **options)


def _is_at_hand(facts: StudyFacts, data: DataFacts) -> bool:
    """Whether the name of the space finds it as it was searched: with `nas` it may have changed."""
    path = next((entry.path for entry in list_spaces() if entry.name == facts.space), None)
    with contextlib.suppress(SpaceError):
        return path is not None and proposes_as(path, facts.space_sha256, data.input_shape)
    return False


def _portable(source: str) -> str:
    """What names a data set in the folder that holds it."""
    return source if source in NAMES else f"./{PurePath(source.replace(chr(92), '/')).name}"


def _asked(study: optuna.Study, field: str) -> str | None:
    """What the newest trained trial was asked for with; None in studies that do not say."""
    trials = reversed(study.get_trials(deepcopy=False))
    return next((value for trial in trials if (value := stored(trial, field))), None)
