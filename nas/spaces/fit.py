"""Fit: make a network as large as is wanted, in whole channels and under every limit.

A space that draws absolute widths wastes most of its proposals on networks over budget, and those
that fit are the shallow ones. One that draws the shape (how wide each layer is beside the others)
and the share of the budget to use has neither fault: the common scale of all widths is solved here.
"""

from __future__ import annotations

from collections.abc import Callable

from nas.candidates.architecture import Architecture
from nas.spaces.task import Task

FINEST = 1e-4  # of the scale, whose steps that change a network are far larger
LARGEST_SCALE = 2.0**30
GOLDEN = 0.6180339887498949


class Width:
    """Turns ratios into channels, at one scale: a layer of ratio 1 has about `scale` channels."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._num_asked = 0

    def __call__(self, ratio: float, at_least: int = 1) -> int:
        """The channels of a layer that is `ratio` times as wide as one of ratio 1."""
        # Each layer is rounded at a place of its own. So they grow one after another with the
        # scale, not all at once, and the count comes nearer to what is wanted.
        offset = 0.05 + 0.9 * (self._num_asked * GOLDEN % 1)
        self._num_asked += 1
        return max(at_least, int(self._scale * ratio + offset))


def fit(make: Callable[[Width], Architecture], share: float, task: Task) -> Architecture:
    """The network of one shape whose count is nearest to a share of the budget.

    Args:
        make: builds the shape, every width that may be scaled asked of the `Width` it is given:
            `Conv(width(0.5))`. It is called about 30 times, and must ask in the same order.
        share: of the most parameters that fit, 0 to 1.
        task: the limits, all of which the network keeps: those beside parameters may leave it
            smaller than the share.

    Returns:
        It. Where even the narrowest is over a limit, the narrowest: the gate will say so.

    Raises:
        InvalidCandidateError: the shape cannot exist.
    """
    budget = task.budget
    wanted = round(share * budget.most_params)
    below = make(Width(0))
    if not budget.fits(below):
        return below

    def is_small(architecture: Architecture) -> bool:
        return architecture.num_params <= wanted and budget.fits(architecture)

    low, high = 0.0, 8.0
    while is_small(above := make(Width(high))):
        low, below, high = high, above, 2 * high
        if high > LARGEST_SCALE:  # it does not grow
            return below
    while high - low > FINEST:
        middle = (low + high) / 2
        tried = make(Width(middle))
        if is_small(tried):
            low, below = middle, tried
        else:
            high, above = middle, tried
    is_nearer = above.num_params - wanted < wanted - below.num_params
    return above if is_nearer and budget.fits(above) else below
