"""The fast engine of a CPU trains as well as plain modules in float32 do, over many seeds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
)
from nas.candidates.recipe import Recipe
from nas.certification.statistics import mean_of
from nas.data import source_of, split, with_test
from nas.training import engine, train

NUM_SEEDS = 10
BLOCKS = [
    Conv(12), BatchNorm(), ReLU(), Dropout(0.05), MaxPool(),
    Conv(16), ReLU(), BatchNorm(), Dropout(0.05),
]  # fmt: skip
NETWORK = Architecture((1, 8, 8), [*BLOCKS, GlobalAvgPool(), Flatten(), Linear(10)])
RECIPE = Recipe(epochs=4, batch_size=32, learning_rate=0.1, augmentation=0.5)


@pytest.fixture(scope="module")
def digits():
    """Trained on every training digit, measured on the 304 others."""
    images = source_of("digits", data_dir=Path()).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    return with_test(data, source_of("digits", data_dir=Path()).test_images(data))


@pytest.mark.slow
def test_fast_and_plain_engine_reach_the_same_accuracy(digits, monkeypatch):
    def accuracies(precision):
        return [
            train(NETWORK, RECIPE, digits, seed=seed, precision=precision).history[-1]
            for seed in range(NUM_SEEDS)
        ]

    fast = accuracies(torch.bfloat16)
    monkeypatch.setattr(engine, "fuse", lambda model, seed: model)
    plain = accuracies(torch.float32)
    accuracy = mean_of(
        [100 * (a.valid_accuracy - b.valid_accuracy) for a, b in zip(fast, plain, strict=True)]
    )
    loss = mean_of([a.valid_loss - b.valid_loss for a, b in zip(fast, plain, strict=True)])
    # 304 images a seed cannot tell 0.03 points; benchmarks/equivalence.py can.
    assert abs(accuracy.mean) < 0.6
    assert abs(loss.mean) < 0.02
    assert sum(a.valid_accuracy for a in plain) / NUM_SEEDS > 0.95


def test_what_the_fast_engine_is_compared_with_is_another_one(digits, monkeypatch):
    few = replace(digits, train_index=digits.train_index[:320])
    recipe = replace(RECIPE, epochs=1)
    fast = train(NETWORK, recipe, few, seed=0, precision=torch.float32)
    monkeypatch.setattr(engine, "fuse", lambda model, seed: model)
    plain = train(NETWORK, recipe, few, seed=0, precision=torch.float32)
    assert fast.history[0].train_loss != plain.history[0].train_loss  # other values are dropped
