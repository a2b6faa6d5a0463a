"""The gate: a network fits when it has fewer parameters than the budget."""

import pytest

from nas.architecture import Architecture
from nas.budget import LARGEST_BUDGET, Budget, parse_budget
from nas.errors import NasError, OverBudgetError
from nas.layers import BatchNorm, Conv, Flatten, Linear
from tests.odd_layers import FrozenConv, TiedConv

NETWORKS = {
    "linear": ([Flatten(), Linear(10)], 650),
    "batch-norm": ([Conv(4), BatchNorm(), Flatten()], 36 + 8),
    "tied": ([Conv(4), TiedConv(), Flatten()], 36 + 144),
    "frozen": ([Conv(4), FrozenConv(), Flatten()], 36 + 16),
}


@pytest.fixture(params=NETWORKS, ids=NETWORKS.keys())
def network(request):
    layers, num_params = NETWORKS[request.param]
    return Architecture((1, 8, 8), layers), num_params


def test_network_with_one_parameter_less_than_the_budget_fits(network):
    architecture, num_params = network
    assert Budget(num_params + 1).check(architecture) == num_params


@pytest.mark.parametrize("over", [0, 1])
def test_network_with_exactly_the_budget_or_more_is_rejected(network, over):
    architecture, num_params = network
    with pytest.raises(OverBudgetError) as error:
        Budget(num_params - over).check(architecture)
    assert (error.value.num_params, error.value.max_params) == (num_params, num_params - over)


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
        assert (budget.excess(num_params) <= 0) == (num_params < max_params), num_params


def test_excess_grows_with_the_number_of_parameters():
    excesses = [Budget(1000).excess(n) for n in range(0, 3000, 7)]
    assert excesses == sorted(set(excesses))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("20000", 20_000),
        ("20_000", 20_000),
        ("20k", 20_000),
        ("1_000_000", 1_000_000),
        ("1_000k", 1_000_000),
        ("999", 999),
        ("1000000000", LARGEST_BUDGET),
        ("1000000k", LARGEST_BUDGET),
        ("1_000_000_000", LARGEST_BUDGET),
    ],
)
def test_budget_is_read_as_people_write_it(text, value):
    assert parse_budget(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "k", "_", "0", "0k", "000", "-1", "+1", "1.5", "20.0k", "1e4", "1e9999"),
        *("20K", "20kk", "20 k", "20m", "20,000", "0x10", "NaN", "inf", "None", "२०", "٢٠k"),
        *("2_0", "_20", "20_", "20__000", "20_00", "2000_000", "20_k"),
        *(" 20", "20 ", "20\n", "\n20", "20\n30"),
        *("1000000001", "1000001k", "1_000_000_001", "99999999999999", "9" * 5000),
    ],
    ids=lambda text: repr(text)[:16],
)
def test_text_that_is_no_budget_is_an_error_of_one_line(text):
    with pytest.raises(NasError) as error:
        parse_budget(text)
    assert len(str(error.value).splitlines()) == 1
    assert "such as 20000, 20_000 or 20k" in str(error.value)
