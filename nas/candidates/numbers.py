"""Numbers: what a space computes may be NumPy's; what is kept are Python's, which JSON can hold."""

from __future__ import annotations

from typing import Any


def unboxed(value: Any) -> Any:
    """A scalar of NumPy's or torch's as Python's number; anything else as it is.

    >>> unboxed(np.int64(4))
    4
    """
    return value.item() if getattr(value, "ndim", None) == 0 else value
