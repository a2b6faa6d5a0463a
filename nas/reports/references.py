"""References: the five networks of `search_spaces/references.py` that people made for MNIST."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A network made by hand, and how accurate it is on MNIST's test images."""

    name: str
    num_params: int
    published: float  # 0..1: the best epoch on the test images, so it flatters
    accuracy: float  # 0..1: mean of the last epochs of three trainings with its maker's recipe


# Of `accuracy`: benchmarks/references.py, the figures in benchmarks/results/references.json.
REFERENCES = (
    Reference("three-blocks", 18_520, 0.9944, 0.99317),
    Reference("slim", 9_274, 0.9954, 0.99500),
    Reference("two-blocks", 17_216, 0.9946, 0.99520),
    Reference("one-cycle", 6_720, 0.9953, 0.99380),
    Reference("wide-stem", 19_602, 0.9940, 0.99397),
)

DATASET = "mnist"  # the one that they were made for
