"""Labels of any integers or strings as classes 0 to C-1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.errors import DataError

_NUM_NAMED = 8  # classes in a line


def as_labels(values: Any, what: str) -> NDArray[Any]:
    """Labels (N,) as int64 or strings.

        as_labels(["cat", "dog"], "dataset")

    Args:
        values: integers or strings: a list, array or tensor of shape (N,) or (N, 1).
        what: says in errors whose labels they are.

    Raises:
        DataError: another shape or type.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        if values.dtype == torch.bfloat16:
            values = values.float()
    is_mixed = isinstance(values, list | tuple) and any(isinstance(v, str) for v in values)
    try:  # numpy would make strings of numbers among strings
        labels = np.array(values, dtype=object) if is_mixed else np.asarray(values)
    except ValueError:  # lists of several lengths
        raise DataError(f"{what}: labels are no array: give one label an image") from None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        hint = ", such as labels.argmax(1)" if labels.ndim == 2 else ""
        raise DataError(f"{what}: labels have shape {labels.shape}: give one label an image{hint}")
    return _plain(labels, what)


def _plain(labels: NDArray[Any], what: str) -> NDArray[Any]:
    """int64 or str of labels of any type."""
    kind = labels.dtype.kind
    if kind == "O":
        if all(isinstance(label, str) for label in labels):
            kind = "U"
        elif all(isinstance(x, int | np.integer) and abs(int(x)) < 2**63 for x in labels):
            kind = "i"
    if kind == "S":
        labels, kind = np.char.decode(labels, "utf-8", "replace"), "U"
    if kind in "UT":
        return labels.astype(np.str_)
    if kind in "bi" or (kind == "u" and (not len(labels) or labels.max() < 2**63)):
        return labels.astype(np.int64)
    raise DataError(
        f"{what}: labels are of type {labels.dtype}: give whole numbers or strings, such as "
        "labels.astype(int)"
    )


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, and which label stands for each."""

    names: tuple[str, ...]
    values: NDArray[Any]  # the label of each class, ascending

    @classmethod
    def of(cls, labels: NDArray[Any], names: Sequence[str] | None, what: str) -> Classes:
        """The labels that are there, in sorted order; or as many classes as have names.

        Args:
            labels: as `as_labels` gives them.
            names: of the labels 0, 1, 2, ..., where they have some.

        Raises:
            DataError: a label that has no name.
        """
        if names is None:
            values = np.unique(labels)
            return cls(tuple(map(str, values.tolist())), values)
        is_named = labels.dtype.kind == "i" and len(labels) and labels.min() >= 0
        if not is_named or labels.max() >= len(names):
            found = ", ".join(map(str, np.unique(labels)[:_NUM_NAMED].tolist()))
            raise DataError(
                f"{what}: there are names for {len(names)} classes, so labels are 0 to "
                f"{len(names) - 1}; there are also others among {found}"
            )
        return cls(tuple(map(str, names)), np.arange(len(names)))

    @property
    def note(self) -> str | None:
        """What was decided, where the labels were not 0 to C-1 to begin with."""
        if np.array_equal(self.values, np.arange(len(self.values))):
            return None
        named = ", ".join(self.names[:_NUM_NAMED])
        more = ", ..." if len(self.names) > _NUM_NAMED else ""
        return f"labels become {len(self.names)} classes in sorted order: {named}{more}"

    def numbers(self, labels: NDArray[Any], what: str) -> Tensor:
        """int64 (N,), the class of each label.

        Raises:
            DataError: a label of no class.
        """
        is_string = labels.dtype.kind == "U"
        if is_string != (self.values.dtype.kind == "U"):
            kinds = ["integers", "strings"]
            raise DataError(
                f"{what}: labels are {kinds[is_string]}, those to train on are "
                f"{kinds[not is_string]}: give the same of both"
            )
        found = np.searchsorted(self.values, labels).clip(max=len(self.values) - 1)
        others = np.unique(labels[self.values[found] != labels])
        if len(others):
            named = ", ".join(map(repr, others[:_NUM_NAMED].tolist()))
            raise DataError(f"{what}: no training image has the label {named}")
        return torch.from_numpy(found.astype(np.int64))
