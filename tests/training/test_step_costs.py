"""What one training step asks of torch: counts that no clock and no busy machine can blur."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

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
from nas.training import train

RANDOM = ("uniform_", "random_", "bernoulli", "rand", "randperm", "native_dropout", "normal_")
HOST_READS = ("_local_scalar_dense", "item", "is_nonzero")
VIEWS = ("view", "as_strided", "detach", "expand", "t")  # other strides for the same values
COPIES = ("_to_copy", "copy_", "clone")


class CountCalls(TorchDispatchMode):
    """Counts every operator that reaches the dispatcher, by name."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module", params=["sgd", "adamw"])
def per_step(request, tiny_data):
    """Calls of each operator in one step of a network of three blocks with dropout."""
    layers = []
    for width in (4, 6, 8):
        layers += [Conv(width), BatchNorm(), ReLU(), Dropout(0.1)]
    layers.insert(4, MaxPool(2))
    architecture = Architecture((1, 8, 8), [*layers, GlobalAvgPool(), Flatten(), Linear(4)])
    recipe = Recipe(epochs=1, batch_size=16, optimizer=request.param, augmentation=1.0)
    counts = []
    for num_steps in (3, 8):
        data = replace(tiny_data, train_index=tiny_data.train_index[: 16 * num_steps])
        with CountCalls() as counting:
            train(architecture, recipe, data, seed=0)
        counts.append(counting.calls)
    # What is the same in both belongs to the set-up and the validation.
    return {name: (counts[1][name] - counts[0][name]) / 5 for name in counts[1]}


def total(per_step, names):
    return sum(count for name, count in per_step.items() if name in names)


def test_no_step_reads_a_value_back_from_the_device(per_step):
    assert total(per_step, HOST_READS) == 0


def test_a_step_draws_random_numbers_once(per_step):
    assert total(per_step, RANDOM) == 1  # the augmentation's; dropout hashes


def test_the_optimizer_is_one_call_for_all_parameters(per_step):
    optimizers = {name: n for name, n in per_step.items() if name.startswith("_fused_")}
    assert list(optimizers.values()) == [1]


def test_a_step_copies_only_what_changes_its_type(per_step):
    # Images to float, scores to float; under bfloat16 also each weight and its gradient.
    num_weights = 3 + 2  # convolutions, and the linear layer's weight and bias
    assert total(per_step, COPIES) <= 4 + 3 * num_weights


def test_the_number_of_calls_does_not_creep_up(per_step):
    assert sum(per_step.values()) - total(per_step, VIEWS) <= 120  # 104 with torch 2.15


def test_batch_norm_relu_dropout_and_pooling_are_no_calls_of_torch(per_step):
    slow = ("native_batch_norm", "relu", "threshold", "native_dropout", "max_pool2d")
    assert [name for name, n in per_step.items() if n and name.startswith(slow)] == []
