"""Where each map lies in the one buffer of a network without a heap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Operation(Protocol):
    """Makes the map `output` of the maps `inputs`."""

    @property
    def inputs(self) -> tuple[int, ...]: ...

    @property
    def output(self) -> int: ...

    @property
    def is_in_place(self) -> bool:
        """Whether it may write over its input."""


@dataclass(frozen=True)
class Arena:
    """Where maps begin, and how many bytes they need together.

    The scores have no place here: the last operation writes them where its caller says.
    """

    places: dict[int, int]
    size: int


@dataclass
class _Block:
    """Maps that follow one another in one place, from when the first is made to its last use."""

    maps: list[int]
    size: int
    begin: int
    end: int
    place: int = field(default=0)


def plan(ops: Sequence[Operation], sizes: Sequence[int]) -> Arena:
    """The least offsets that the largest-first rule finds.

    A map lives from the operation that makes it to the last that reads it; where an operation may
    write over an input that nothing reads afterwards, its output lies there.

    Args:
        ops: in order; map 0 is the image, the last one made holds the scores.
        sizes: bytes of each map.
    """
    last_use = {number: time for time, op in enumerate(ops) for number in op.inputs}
    scores = ops[-1].output
    blocks = {0: _Block([0], sizes[0], -1, last_use[0])}
    for time, op in enumerate(ops):
        if op.output == scores:
            continue
        size, end = sizes[op.output], last_use[op.output]
        over = _written_over(op, time, last_use, blocks, size)
        if over is None:
            blocks[op.output] = _Block([op.output], size, time, end)
        else:
            over.maps.append(op.output)
            over.end = end
            blocks[op.output] = over

    placed: list[_Block] = []
    for block in sorted({id(b): b for b in blocks.values()}.values(), key=lambda b: -b.size):
        others = [b for b in placed if b.begin <= block.end and block.begin <= b.end]
        for other in sorted(others, key=lambda b: b.place):
            if block.place + block.size <= other.place:
                break
            block.place = max(block.place, other.place + other.size)
        placed.append(block)
    places = {number: block.place for block in placed for number in block.maps}
    return Arena(places, max(block.place + block.size for block in placed))


def _written_over(
    op: Operation, time: int, last_use: dict[int, int], blocks: dict[int, _Block], size: int
) -> _Block | None:
    """The place of an input that the operation may write over."""
    if op.is_in_place:
        for number in op.inputs:
            if last_use[number] == time and size <= blocks[number].size:
                return blocks[number]
    return None
