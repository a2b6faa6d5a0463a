"""Flash and RAM in closed form: what a compiler makes of the C code."""

from __future__ import annotations

import shutil
from itertools import islice

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.device import device_bytes, least_flash, names_bytes
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear, MaxPool, Tied
from nas.exporters import c_source
from nas.exporters.folding import graph_of
from nas.exporters.quantize import quantize
from nas.exporters.toolchain import SIZE_FLAGS, sizes_on_cortex_m0
from nas.spaces.draws import draw
from nas.spaces.loader import load_space
from nas.spaces.task import Task
from tests.exporters.networks import NETWORKS, build, images, mean_and_std

ARM = pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no arm-none-eabi-gcc")


def near(said, real):
    return abs(said - real) <= max(512, real / 20)


def check_sizes(folder, architecture, model):
    shape = architecture.input_shape
    network = quantize(graph_of(architecture, model), images(4, shape), *mean_and_std(shape))
    classes = [f"class {n}" for n in range(architecture.num_classes)]
    (folder / "net.c").write_text(c_source.source(network, architecture, "T", ["o"], classes))
    (folder / "net.h").write_text(c_source.header(network, architecture, "T"))
    real = sizes_on_cortex_m0(folder)
    said = device_bytes(architecture, names_bytes(classes))
    assert said.maps == real.ram_bytes
    assert near(said.flash, real.flash_bytes)
    assert real.stack_bytes <= said.stack <= real.stack_bytes + 250
    assert said.weights + said.tables < real.flash_bytes


@ARM
@pytest.mark.parametrize("name", ["residual", "strides", "tied", "norm-first", "map-as-scores"])
def test_sizes_are_those_of_the_compiled_code(name, tmp_path):
    check_sizes(tmp_path, *build(NETWORKS[name]))


@ARM
@pytest.mark.parametrize("name", ["blocks", "residual", "separable", "tied"])
def test_sizes_of_networks_of_a_space_are_those_of_the_compiled_code(name, tmp_path):
    drawn = draw(load_space(name), Task((3, 12, 12), 10, 3_000), seed=5)
    for candidate in islice((c for c in drawn if isinstance(c, Candidate)), 2):
        architecture = candidate.architecture
        check_sizes(tmp_path, *build(architecture.layers, architecture.input_shape))


def network(*layers, classes=10, shape=(1, 28, 28)):
    return Architecture(shape, [*layers, GlobalAvgPool(), Flatten(), Linear(classes)])


def test_each_weight_takes_a_byte_and_each_channel_eight_for_its_scale():
    narrow, wide = (device_bytes(network(Conv(8), Conv(width))) for width in (8, 12))
    assert wide.weights - narrow.weights == 4 * (8 * 9 + 10)
    assert wide.tables - narrow.tables == 4 * 8
    assert wide.code == narrow.code


def test_weights_that_are_used_again_take_flash_once():
    once, thrice = (device_bytes(network(Conv(8), Tied(times))) for times in (1, 3))
    assert thrice.weights == once.weights
    assert thrice.tables > once.tables


def test_maps_that_lie_side_by_side_take_ram_and_a_stride_takes_less():
    assert device_bytes(network(Conv(8))).maps == 28 * 28 * (1 + 8)
    assert device_bytes(network(Conv(8, stride=2))).maps == 28 * 28 + 14 * 14 * 8
    pooled = device_bytes(network(Conv(8), MaxPool(2), Conv(8)))
    assert pooled.maps == 28 * 28 * 8 + 14 * 14 * 8  # pooling leaves its map where it was


def test_names_are_counted_in_utf_8_with_their_ends():
    assert names_bytes(["a", "größe"]) == 2 + 8
    short, long = (device_bytes(network(Conv(4)), names_bytes([n] * 10)) for n in ("a", "a" * 50))
    assert long.flash - short.flash == 490


def test_no_network_takes_less_flash_than_the_least():
    smallest = Architecture((1, 1, 1), [Flatten(), Linear(1)])
    assert device_bytes(smallest).flash >= least_flash()


@ARM
def test_table_of_code_sizes_is_of_the_flags_in_use():
    from nas.candidates import code_sizes

    assert " ".join(SIZE_FLAGS) == code_sizes.FLAGS
    assert code_sizes.COMPILER.startswith("arm-none-eabi-gcc")
