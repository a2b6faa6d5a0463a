"""The gate: fewer parameters than the budget, and no more than any other limit allows."""

import itertools
from types import SimpleNamespace

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.budget import (
    LARGEST_BUDGET,
    NO_LIMITS,
    Budget,
    Limits,
    to_bytes,
)
from nas.candidates.device import device_bytes, least_flash
from nas.candidates.layers import BatchNorm, Conv, Flatten, Linear, MaxPool, ReLU
from nas.errors import OverBudgetError
from tests.odd_layers import FrozenConv, TiedConv

NETWORKS = {
    "linear": ([Flatten(), Linear(10)], 650),
    "batch-norm": ([Conv(4), BatchNorm(), Flatten()], 36 + 8),
    "tied": ([Conv(4), TiedConv(), Flatten()], 36 + 144),
    "frozen": ([Conv(4), FrozenConv(), Flatten()], 36 + 16),
}

# Its convolution holds 64 + 256 values at once; more than any other layer.
NETWORK = Architecture((1, 8, 8), [Conv(4), BatchNorm(), ReLU(), MaxPool(4), Flatten(), Linear(10)])
NUM_PARAMS = 36 + 8 + 160 + 10
LIMITED = {
    "max_macs": ("num_macs", "multiply-accumulates", 36 * 64 + 160),
    "max_weight_bytes": ("weight_bytes", "bytes of weights", 4 * NUM_PARAMS),
    "max_activation_bytes": ("activation_bytes", "bytes of activations", 4 * (64 + 256)),
    "max_flash": ("flash_bytes", "bytes of flash", device_bytes(NETWORK).flash),
    "max_ram": ("ram_bytes", "bytes of RAM", device_bytes(NETWORK).ram),
}

each_limit = pytest.mark.parametrize(
    ("limit", "name", "unit", "cost"),
    [(limit, *row) for limit, row in LIMITED.items()],
    ids=LIMITED.keys(),
)


def counted(num_params, num_macs=0, peak_values=0):
    """Stands in for a network of any size."""
    return SimpleNamespace(num_params=num_params, num_macs=num_macs, peak_values=peak_values)


def is_refused(budget, architecture):
    try:
        budget.check(architecture)
    except OverBudgetError:
        return True
    return False


# Parameters


@pytest.fixture(params=NETWORKS, ids=NETWORKS.keys())
def network(request):
    layers, num_params = NETWORKS[request.param]
    return Architecture((1, 8, 8), layers), num_params


def test_network_with_one_parameter_less_than_the_budget_fits(network):
    architecture, num_params = network
    budget = Budget(num_params + 1)
    budget.check(architecture)
    assert budget.fits(architecture)
    assert budget.most_params == num_params


@pytest.mark.parametrize("over", [0, 1])
def test_network_with_exactly_the_budget_or_more_is_rejected(network, over):
    architecture, num_params = network
    budget = Budget(num_params - over)
    with pytest.raises(OverBudgetError) as error:
        budget.check(architecture)
    assert (error.value.unit, error.value.cost) == ("parameters", num_params)
    assert error.value.num_params == num_params
    assert not budget.fits(architecture)


def test_20000_parameters_do_not_fit_a_budget_of_20000():
    architecture = Architecture((1, 199, 1), [Flatten(), Linear(100)])
    with pytest.raises(OverBudgetError) as error:
        Budget(20_000).check(architecture)
    assert str(error.value) == "20,000 parameters do not fit: fewer than 20,000 are allowed"


@pytest.mark.parametrize("max_params", [1, 2, 3, 7, 100, 20_000, 999_999, LARGEST_BUDGET])
def test_excess_is_above_zero_exactly_when_the_network_does_not_fit(max_params):
    budget = Budget(max_params)
    near = range(max(max_params - 50, 0), max_params + 50)
    for num_params in (0, 1, *near, 10 * max_params, 10**18):
        architecture = counted(num_params)
        assert (budget.excess(architecture)["num_params"] <= 0) == (num_params < max_params)
        assert budget.fits(architecture) == (num_params < max_params)


def test_excess_grows_with_the_number_of_parameters():
    excesses = [Budget(1000).excess(counted(n))["num_params"] for n in range(0, 3000, 7)]
    assert excesses == sorted(set(excesses))


def test_most_parameters_leave_room_in_flash_for_what_every_network_needs():
    most = Budget(20_000, Limits(max_flash=5_000)).most_params
    assert most == 5_000 - least_flash()
    assert Budget(1_000, Limits(max_flash=50_000)).most_params == 999
    assert Budget(1_000, Limits(max_flash=1)).most_params == 0
    assert device_bytes(NETWORK).flash > NUM_PARAMS + least_flash()


# The other limits


def test_network_of_these_tests_costs_what_they_take_it_for():
    assert NETWORK.num_params == NUM_PARAMS
    assert NETWORK.num_macs == LIMITED["max_macs"][2]
    assert 4 * NETWORK.peak_values == LIMITED["max_activation_bytes"][2]


@each_limit
def test_network_that_costs_exactly_the_limit_fits(limit, name, unit, cost):
    budget = Budget(20_000, Limits(**{limit: cost}))
    budget.check(NETWORK)
    assert budget.fits(NETWORK)
    assert budget.excess(NETWORK)[name] == 0


@each_limit
def test_network_that_costs_one_more_than_the_limit_is_rejected_in_its_unit(
    limit, name, unit, cost
):
    budget = Budget(20_000, Limits(**{limit: cost - 1}))
    with pytest.raises(OverBudgetError) as error:
        budget.check(NETWORK)
    assert str(error.value) == f"{cost:,} {unit} do not fit: at most {cost - 1:,} are allowed"
    assert (error.value.unit, error.value.cost) == (unit, cost)
    assert error.value.num_params == NUM_PARAMS
    assert not budget.fits(NETWORK)
    assert budget.excess(NETWORK)[name] > 0


@each_limit
def test_excess_is_a_share_of_the_limit(limit, name, unit, cost):
    for most in (cost // 2, 2 * cost):
        excess = Budget(2 * NUM_PARAMS + 1, Limits(**{limit: most})).excess(NETWORK)
        assert excess == {
            "num_params": pytest.approx(-0.5),
            name: pytest.approx((cost - most) / most),
        }


def test_no_limit_is_no_constraint():
    assert Budget(20_000).limits == NO_LIMITS
    assert Budget(20_000).excess(NETWORK).keys() == {"num_params"}
    assert Budget(20_000).fits(counted(19_999, 10**18, 10**18))


def test_network_fits_exactly_when_no_excess_is_above_zero():
    seen = set()
    for over in itertools.product([0, 1, None], repeat=5):
        most = {
            limit: None if o is None else row[2] - o
            for o, (limit, row) in zip(over, LIMITED.items(), strict=True)
        }
        for max_params in (NUM_PARAMS, NUM_PARAMS + 1):
            budget = Budget(max_params, Limits(**most))
            fits = max_params > NUM_PARAMS and 1 not in over
            excess = budget.excess(NETWORK)
            assert len(excess) == 6 - over.count(None)
            assert all(e <= 0 for e in excess.values()) == fits
            assert budget.fits(NETWORK) == fits
            assert is_refused(budget, NETWORK) == (not fits)
            seen.add(fits)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("bits", "weight_bytes", "activation_bytes"),
    [(32, 856, 1280), (16, 428, 640), (8, 214, 320), (4, 107, 160)],
)
def test_bytes_are_those_of_values_of_so_many_bits(bits, weight_bytes, activation_bytes):
    for less, fits in ((0, True), (1, False)):
        assert (
            Budget(20_000, Limits(max_weight_bytes=weight_bytes - less, bits=bits)).fits(NETWORK)
            == fits
        )
        assert (
            Budget(20_000, Limits(max_activation_bytes=activation_bytes - less, bits=bits)).fits(
                NETWORK
            )
            == fits
        )


@pytest.mark.parametrize(
    ("num_values", "bits", "num_bytes"),
    [(0, 4, 0), (1, 4, 1), (2, 4, 1), (3, 4, 2), (5, 8, 5), (5, 16, 10), (5, 32, 20),
     (10**18 + 1, 4, 5 * 10**17 + 1)],
)  # fmt: skip
def test_values_are_packed_into_whole_bytes(num_values, bits, num_bytes):
    assert to_bytes(num_values, bits) == num_bytes


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(), ""),
        (Limits(max_macs=2_000_000), ", at most 2,000,000 multiply-accumulates"),
        (Limits(max_macs=5, bits=8), ", at most 5 multiply-accumulates"),
        (
            Limits(max_flash=65_536, max_ram=4_096),
            ", at most 65,536 bytes of flash, at most 4,096 bytes of RAM",
        ),
        (Limits(max_weight_bytes=65_536), ", at most 65,536 bytes of weights, 32 bits a value"),
        (
            Limits(max_activation_bytes=4096, bits=8),
            ", at most 4,096 bytes of activations, 8 bits a value",
        ),
        (
            Limits(1, 2, 3, 4),
            ", at most 1 multiply-accumulates, at most 2 bytes of weights, "
            "at most 3 bytes of activations, 4 bits a value",
        ),
    ],
)
def test_summary_names_every_limit_and_the_bits_where_they_matter(limits, words):
    assert Budget(20_000, limits).summary() == f"fewer than 20,000 parameters{words}"


# Numbers as they are typed
