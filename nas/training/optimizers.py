"""Optimisers and learning-rate schedules of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from nas.candidates.recipe import Recipe


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], recipe: Recipe
) -> torch.optim.Optimizer:
    """The recipe's optimiser; its learning rate is set before each step from `learning_rates`."""
    # fused: one kernel for all parameters instead of several for each.
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    adam = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return adam(
        parameters,
        lr=recipe.learning_rate,
        betas=(recipe.momentum, 0.999),
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def learning_rates(recipe: Recipe, num_steps: int) -> list[float]:
    """The learning rate of each of `num_steps` steps.

    'one-cycle' climbs linearly over the first `warmup` share of the steps, then falls along half
    a cosine to almost 0 (after Smith and Topin, "Super-Convergence", arXiv 1708.07120, with the
    cosine in place of the line down); 'cosine' falls from the first step on. 'multi-step' and
    'exponential' change after whole epochs.
    """
    if recipe.schedule in ("multi-step", "exponential"):
        epochs_done = [step * recipe.epochs // num_steps for step in range(num_steps)]
        if recipe.schedule == "multi-step":
            epochs_done = [sum(done >= m for m in recipe.milestones) for done in epochs_done]
        return [recipe.learning_rate * recipe.gamma**power for power in epochs_done]
    share = recipe.warmup if recipe.schedule == "one-cycle" else 0
    num_warmup = min(round(share * num_steps), num_steps - 1)
    rates = []
    for step in range(num_steps):
        if step < num_warmup:
            share = (step + 1) / (num_warmup + 1)
        else:
            done = (step - num_warmup) / max(num_steps - num_warmup, 1)
            share = (1 + math.cos(math.pi * done)) / 2
        rates.append(recipe.learning_rate * share)
    return rates


def shortened(rates: Sequence[float], num_done: int, num_steps: int) -> list[float]:
    """The rates of a schedule that now ends after `num_steps`: they fall to 0 along half a cosine.

    Args:
        rates: of the schedule so far, of which `num_done` steps, at least one, are behind.
    """
    now, left = rates[num_done - 1], num_steps - num_done
    shares = [(1 + math.cos(math.pi * (step + 1) / (left + 1))) / 2 for step in range(left)]
    return [*rates[:num_done], *(now * share for share in shares)]
