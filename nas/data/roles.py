"""Roles: what the name of a folder says its pictures are for."""

from __future__ import annotations

import re
from typing import Literal

from nas.data.tree import composed

Role = Literal["train", "valid", "test"]
_ROLES: dict[str, Role] = {
    "train": "train", "training": "train", "val": "valid", "valid": "valid",
    "validation": "valid", "test": "test", "testing": "test",
}  # fmt: skip
_ROLE = "|".join(sorted(_ROLES, key=len, reverse=True))
# Words beside a role that say nothing else: `test_images`, `training_set`, `valset`, `test1`.
_FILLERS = r"sets?|data|dataset|images?|imgs?|pictures?|pics?|photos?|split|folder|\d+"


def role_of(name: str) -> tuple[Role, str] | None:
    """What a folder of this name may be, and the rest of its name; None for any other name.

    >>> role_of("Training_Set"), role_of("seg_test"), role_of("trains")
    (('train', ''), ('test', 'seg'), None)
    """
    words = [w for w in re.split(r"[\W_]+", composed(name).casefold()) if w]
    words = [word for w in words for word in re.sub(r"(?<=\D)(\d+)$", r" \1", w).split()]
    for i, word in enumerate(words):
        match = re.fullmatch(rf"({_ROLE})({_FILLERS})?", word)
        if match:
            rest = [w for w in words[:i] + words[i + 1 :] if not re.fullmatch(_FILLERS, w)]
            return _ROLES[match[1]], " ".join(rest)
    return None
