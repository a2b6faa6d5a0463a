"""Places of maps in one buffer."""

from __future__ import annotations

import pytest

from nas.exporters.arena import plan
from tests.exporters.networks import NETWORKS, build, integers


@pytest.mark.parametrize("name", NETWORKS)
def test_no_map_lies_on_another_that_is_still_read(name):
    network, _, _ = integers(NETWORKS[name])
    arena = plan(network)
    last_use = {n: time for time, op in enumerate(network.ops) for n in op.inputs}
    for time, op in enumerate(network.ops[:-1]):
        alive = [n for n, end in last_use.items() if end >= time and n in made_by(network, time)]
        for n in set(alive) - {op.output}:
            is_over = op.is_in_place and n in op.inputs and last_use[n] == time
            first, size = arena.places[n], network.maps[n].size
            begin, end = (
                arena.places[op.output],
                arena.places[op.output] + network.maps[op.output].size,
            )
            if is_over and first == begin:
                assert end <= first + max(size, end - begin)
            else:
                assert end <= first or first + size <= begin
            assert first + size <= arena.size


def made_by(network, time):
    return {0} | {op.output for op in network.ops[: time + 1]}


@pytest.mark.parametrize("name", NETWORKS)
def test_buffer_is_no_larger_than_what_the_limit_on_activations_counts(name):
    network, _, _ = integers(NETWORKS[name])
    architecture, _ = build(NETWORKS[name])
    assert plan(network).size <= architecture.peak_values
