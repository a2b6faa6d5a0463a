"""What a search space may know when it proposes."""

from nas.candidates.budget import Budget, Limits
from nas.candidates.recipe import MAX_EPOCHS
from nas.spaces.task import Task


def test_task_limits_parameters_alone_unless_it_says_more():
    task = Task((1, 28, 28), 10, 20_000)
    assert task.budget == Budget(20_000, Limits(None, None, None, 32))
    assert (task.epochs, task.flips) == (MAX_EPOCHS, False)


def test_budget_of_a_task_holds_all_of_its_limits():
    limits = Limits(max_macs=1, max_weight_bytes=2, max_activation_bytes=3, bits=8)
    assert Task((1, 8, 8), 4, 300, limits=limits).budget == Budget(300, limits)
