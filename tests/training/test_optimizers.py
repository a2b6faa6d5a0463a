"""Optimisers as the recipe asks for, and learning rates over the steps."""

import math
from itertools import pairwise

import pytest
import torch

from nas.candidates.recipe import Recipe
from nas.training.optimizers import learning_rates, make_optimizer, shortened

SCHEDULES = ["one-cycle", "cosine"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("num_steps", [0, 1, 2, 3, 100, 1001])
def test_every_step_has_one_rate_between_0_and_the_peak(schedule, num_steps):
    rates = learning_rates(Recipe(schedule=schedule, learning_rate=0.3), num_steps)
    assert len(rates) == num_steps
    assert all(0 < rate <= 0.3 for rate in rates)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("num_steps", [100, 137, 5000])
def test_rates_reach_the_peak_and_end_near_0(schedule, num_steps):
    rates = learning_rates(Recipe(schedule=schedule, learning_rate=0.3), num_steps)
    assert max(rates) == pytest.approx(0.3, rel=1e-6)
    assert rates[-1] < 0.01 * 0.3


@pytest.mark.parametrize("warmup", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("num_steps", [100, 137])
def test_one_cycle_rises_for_the_warmup_and_falls_after_it(warmup, num_steps):
    rates = learning_rates(Recipe(warmup=warmup), num_steps)
    peak = rates.index(max(rates))
    assert peak == pytest.approx(warmup * num_steps, abs=1)
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    rises = [b - a for a, b in pairwise(rates[: peak + 1])]
    assert rises == pytest.approx([rises[0]] * peak)  # along a line


@pytest.mark.parametrize(
    "recipe", [Recipe(schedule="cosine", warmup=0.3), Recipe(schedule="one-cycle", warmup=0)]
)
def test_without_warmup_rates_fall_along_half_a_cosine_from_the_peak(recipe):
    rates = learning_rates(recipe, 50)
    expected = [0.1 * math.cos(math.pi * step / 100) ** 2 for step in range(50)]
    assert rates == pytest.approx(expected)
    assert all(a > b for a, b in pairwise(rates))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_scale_with_the_learning_rate(schedule):
    small, large = (
        learning_rates(Recipe(schedule=schedule, learning_rate=rate), 40) for rate in (0.01, 1.0)
    )
    assert large == pytest.approx([100 * rate for rate in small])


def parameters():
    return [torch.nn.Parameter(torch.ones(3))]


def test_sgd_is_made_as_the_recipe_says():
    recipe = Recipe(optimizer="sgd", learning_rate=0.3, momentum=0.8, weight_decay=0.02)
    optimizer = make_optimizer(parameters(), recipe)
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.8, 0.02)
    assert group["nesterov"] is True


def test_sgd_without_momentum_is_plain():
    optimizer = make_optimizer(parameters(), Recipe(optimizer="sgd", momentum=0))
    assert optimizer.param_groups[0]["nesterov"] is False
    assert optimizer.param_groups[0]["momentum"] == 0


def test_adamw_uses_momentum_as_its_first_beta():
    recipe = Recipe(optimizer="adamw", learning_rate=0.01, momentum=0.8, weight_decay=0.02)
    optimizer = make_optimizer(parameters(), recipe)
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.8, 0.999), 0.02)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_step_goes_down_the_gradient(optimizer, momentum):
    (parameter,) = weights = parameters()
    recipe = Recipe(optimizer=optimizer, momentum=momentum, weight_decay=0)
    made = make_optimizer(weights, recipe)
    parameter.grad = torch.tensor([1.0, -1.0, 0.0])
    made.step()
    assert parameter[0] < 1 < parameter[1]
    assert parameter[2] == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_shrinks_a_weight_without_gradient(optimizer):
    (parameter,) = weights = parameters()
    made = make_optimizer(weights, Recipe(optimizer=optimizer, momentum=0, weight_decay=0.5))
    parameter.grad = torch.zeros(3)
    made.step()
    assert parameter.tolist() == pytest.approx([0.95] * 3)


def test_multi_step_multiplies_the_rate_after_each_milestone():
    recipe = Recipe(
        schedule="multi-step", milestones=(2, 3), gamma=0.5, epochs=4, learning_rate=0.8
    )
    rates = learning_rates(recipe, 12)
    assert rates == pytest.approx([0.8] * 6 + [0.4] * 3 + [0.2] * 3)


def test_exponential_multiplies_the_rate_after_every_epoch():
    recipe = Recipe(schedule="exponential", gamma=0.85, epochs=3, learning_rate=0.1)
    rates = learning_rates(recipe, 6)
    assert rates == pytest.approx([0.1, 0.1, 0.085, 0.085, 0.07225, 0.07225])


def test_adam_and_adamw_differ_in_where_the_weight_decay_goes():
    adam = make_optimizer(parameters(), Recipe(optimizer="adam"))
    assert type(adam) is torch.optim.Adam
    assert type(make_optimizer(parameters(), Recipe(optimizer="adamw"))) is torch.optim.AdamW


def test_sgd_without_nesterov_is_plain_momentum():
    optimizer = make_optimizer(parameters(), Recipe(nesterov=False))
    assert optimizer.defaults["nesterov"] is False
    assert optimizer.defaults["momentum"] == 0.9


def test_schedule_that_is_cut_short_keeps_its_past_and_falls_to_nearly_nothing():
    rates = learning_rates(Recipe(schedule="cosine"), 100)
    now = shortened(rates, 40, 60)
    assert now[:40] == rates[:40]
    assert len(now) == 60
    assert all(a > b for a, b in pairwise(now[39:]))
    assert 0 < now[-1] < 0.01 * rates[0]
