"""Where each map of a network in integers lies in the one buffer of its C code."""

from __future__ import annotations

from nas.candidates.arena import Arena
from nas.candidates.arena import plan as plan_maps
from nas.exporters.integer import IntegerNetwork


def plan(network: IntegerNetwork) -> Arena:
    """The places of all maps, as `nas.candidates.arena` finds them."""
    return plan_maps(network.ops, [m.size for m in network.maps])
