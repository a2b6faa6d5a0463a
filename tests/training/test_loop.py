"""Training: it learns, it can be repeated and stopped, and it computes what it says."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.candidates.architecture import Architecture
from nas.candidates.layers import BatchNorm, Conv, Flatten, Linear, MaxPool, ReLU
from nas.candidates.recipe import Recipe
from nas.errors import CountMismatchError, DivergedError
from nas.training import EndAfter, engine, evaluate, per_image_loss, train
from nas.training.engine import Engine
from tests.odd_layers import FrozenConv, LyingConv

QUICK = Recipe(epochs=3, batch_size=32, learning_rate=0.05, augmentation=0.5)


def without_seconds(history):
    return [replace(metrics, seconds=0) for metrics in history]


def is_equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def result(tiny_architecture, tiny_data):
    return train(tiny_architecture, QUICK, tiny_data, seed=0)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=8, batch_size=16, learning_rate=0.05, augmentation=0.5),
        Recipe(epochs=8, batch_size=16, learning_rate=0.02, augmentation=0, optimizer="adamw"),
        Recipe(epochs=8, batch_size=16, learning_rate=0.05, augmentation=0, schedule="cosine"),
        Recipe(epochs=8, batch_size=16, learning_rate=0.05, augmentation=0, label_smoothing=0.1),
    ],
    ids=["sgd", "adamw", "cosine", "label-smoothing"],
)
def test_training_learns(tiny_architecture, tiny_data, recipe):
    history = train(tiny_architecture, recipe, tiny_data, seed=0).history
    assert [metrics.epoch for metrics in history] == list(range(1, 9))
    assert history[-1].valid_accuracy > 0.7  # chance is 0.25
    assert history[-1].train_loss < history[0].train_loss
    assert history[-1].valid_loss < math.log(4)


def test_same_seed_gives_the_same_history_and_weights(tiny_architecture, tiny_data, result):
    torch.rand(7)  # the global random state before makes no difference
    again = train(tiny_architecture, QUICK, tiny_data, seed=0)
    assert without_seconds(again.history) == without_seconds(result.history)
    assert is_equal(again.state_dict, result.state_dict)


def test_other_seed_gives_another_training(tiny_architecture, tiny_data, result):
    other = train(tiny_architecture, QUICK, tiny_data, seed=1)
    assert without_seconds(other.history) != without_seconds(result.history)
    assert not is_equal(other.state_dict, result.state_dict)


def test_flip_reaches_the_images(tiny_architecture, tiny_data):
    plain, flipped = (
        train(
            tiny_architecture, Recipe(epochs=1, augmentation=0, flip=flip), tiny_data, seed=0
        ).history[0]
        for flip in (False, True)
    )
    assert plain.train_loss != flipped.train_loss


def test_result_of_a_whole_training_is_finished_and_timed(result):
    assert result.is_finished
    assert len(result.history) == QUICK.epochs
    assert all(metrics.seconds > 0 for metrics in result.history)
    assert result.train_seconds >= sum(metrics.seconds for metrics in result.history)


def test_weights_load_into_a_fresh_network_and_give_the_recorded_accuracy(
    tiny_architecture, tiny_data, result
):
    model = tiny_architecture.build()
    model.load_state_dict(result.state_dict)
    valid_loss, valid_accuracy = evaluate(model, tiny_data)
    assert valid_accuracy == result.history[-1].valid_accuracy
    assert valid_loss == pytest.approx(result.history[-1].valid_loss, rel=1e-5)


@pytest.mark.parametrize("batch", [7, 500])
def test_examination_agrees_with_the_evaluation_image_by_image(
    tiny_architecture, tiny_data, result, monkeypatch, batch
):
    monkeypatch.setattr(engine, "EVALUATION_BATCH", batch)  # of 60 images
    model = tiny_architecture.build()
    model.load_state_dict(result.state_dict)
    model.train()  # with its dropout
    losses, is_right = per_image_loss(model, tiny_data)
    loss, accuracy = evaluate(model, tiny_data)
    assert is_right.dtype == torch.bool
    assert is_right.double().mean().item() == accuracy
    assert losses.double().mean().item() == pytest.approx(loss, rel=1e-5)
    assert not losses.requires_grad
    mean, std = tiny_data.mean[0], tiny_data.std[0]
    images = (tiny_data.images[tiny_data.valid_index].float() / 255 - mean) / std
    labels = tiny_data.labels[tiny_data.valid_index]
    with torch.no_grad():
        scores = model(images)
    assert torch.equal(is_right, scores.argmax(1) == labels)
    torch.testing.assert_close(losses, F.cross_entropy(scores, labels, reduction="none"))


def test_weights_are_plain_contiguous_cpu_tensors(tiny_data):
    architecture = Architecture((1, 8, 8), [Conv(3), Conv(5), BatchNorm(), Flatten(), Linear(4)])
    state_dict = train(architecture, Recipe(epochs=1), tiny_data, seed=0).state_dict
    assert state_dict.keys() == architecture.build().state_dict().keys()
    for value in state_dict.values():
        assert value.device.type == "cpu"
        assert value.is_contiguous()
        assert not value.requires_grad


def test_callback_hears_of_every_epoch_once_and_in_order(tiny_architecture, tiny_data):
    heard = []
    result = train(
        tiny_architecture, QUICK, tiny_data, seed=0, on_epoch_end=lambda m: bool(heard.append(m))
    )
    assert [metrics.epoch for metrics in heard] == [1, 2, 3]
    assert tuple(heard) == result.history


def test_callback_that_returns_true_stops_the_training_there(tiny_architecture, tiny_data, result):
    stopped = train(
        tiny_architecture, QUICK, tiny_data, seed=0, on_epoch_end=lambda metrics: metrics.epoch == 2
    )
    assert not stopped.is_finished
    assert without_seconds(stopped.history) == without_seconds(result.history[:2])
    model = tiny_architecture.build()
    model.load_state_dict(stopped.state_dict)
    assert evaluate(model, tiny_data)[1] == stopped.history[-1].valid_accuracy


def test_stop_after_the_last_epoch_still_counts_as_finished(tiny_architecture, tiny_data):
    result = train(
        tiny_architecture, QUICK, tiny_data, seed=0, on_epoch_end=lambda metrics: metrics.epoch == 3
    )
    assert result.is_finished
    assert len(result.history) == 3


def test_callback_can_let_the_schedule_end_sooner(tiny_architecture, tiny_data):
    recipe = replace(QUICK, epochs=9)
    result = train(
        tiny_architecture, recipe, tiny_data, seed=0,
        on_epoch_end=lambda metrics: EndAfter(4) if metrics.epoch == 2 else False,
    )  # fmt: skip
    assert result.is_finished
    assert len(result.history) == 4


def test_schedule_can_end_at_once_with_the_weights_it_has(tiny_architecture, tiny_data):
    result = train(
        tiny_architecture, QUICK, tiny_data, seed=0,
        on_epoch_end=lambda metrics: EndAfter(2) if metrics.epoch == 2 else False,
    )  # fmt: skip
    assert (len(result.history), result.is_finished) == (2, True)
    model = tiny_architecture.build()
    model.load_state_dict(result.state_dict)
    assert evaluate(model, tiny_data)[1] == result.history[-1].valid_accuracy


def test_schedule_cannot_end_later_or_before_the_last_epoch(tiny_architecture, tiny_data):
    for epochs in (1, 5):
        result = train(
            tiny_architecture, QUICK, tiny_data, seed=0,
            on_epoch_end=lambda metrics, epochs=epochs: EndAfter(epochs) if metrics.epoch == 2
            else False,
        )  # fmt: skip
        assert (len(result.history), result.is_finished) == (3, True)


def test_shortened_schedule_falls_from_where_it_is_to_nearly_nothing(tiny_architecture, tiny_data):
    engine = Engine(tiny_architecture, replace(QUICK, epochs=9), tiny_data, 0, torch.float32)
    before = list(engine.rates)
    done, num_steps = 3 * engine.num_batches, 6 * engine.num_batches
    engine.shorten(epochs_done=3, epochs=6)
    assert len(engine.rates) == num_steps
    assert engine.rates[:done] == before[:done]
    rest = engine.rates[done - 1 :]
    assert rest == sorted(rest, reverse=True)
    assert rest[-1] < 0.05 * rest[0]


def test_steps_are_told_in_epochs_and_change_nothing(tiny_architecture, tiny_data):
    told = []
    result = train(tiny_architecture, QUICK, tiny_data, seed=0, on_step=told.append)
    num_steps = len(tiny_data.train_index) // QUICK.batch_size
    expected = [step / num_steps for step in range(num_steps * QUICK.epochs)]
    assert told == pytest.approx(expected)
    plain = train(tiny_architecture, QUICK, tiny_data, seed=0)
    assert [m.valid_loss for m in result.history] == [m.valid_loss for m in plain.history]


def test_should_stop_ends_the_training_inside_an_epoch(tiny_architecture, tiny_data):
    answers = iter([False, False, True])
    heard = []
    result = train(
        tiny_architecture,
        QUICK,
        tiny_data,
        seed=0,
        on_epoch_end=lambda metrics: bool(heard.append(metrics)),
        should_stop=lambda: next(answers),
    )
    assert not result.is_finished
    assert result.history == ()
    assert heard == []
    assert next(answers, None) is None  # asked before each step, and not again after True


def test_should_stop_in_a_later_epoch_keeps_the_epochs_before_it(
    tiny_architecture, tiny_data, result
):
    steps_of_one_epoch = len(tiny_data.train_index) // QUICK.batch_size
    answers = iter([False] * (steps_of_one_epoch + 1) + [True])
    stopped = train(tiny_architecture, QUICK, tiny_data, seed=0, should_stop=lambda: next(answers))
    assert not stopped.is_finished
    assert without_seconds(stopped.history) == without_seconds(result.history[:1])


DEEP = Architecture((1, 8, 8), [Conv(8, bias=True), Conv(8), Conv(8), Flatten(), Linear(4)])


def test_diverging_training_is_an_error_that_names_the_epoch(tiny_data):
    recipe = Recipe(epochs=5, batch_size=8, learning_rate=99, weight_decay=0, warmup=0)
    heard = []
    with pytest.raises(DivergedError, match="not finite in epoch") as error:
        train(DEEP, recipe, tiny_data, seed=0, on_epoch_end=lambda m: bool(heard.append(m)))
    assert error.value.epoch == len(heard) + 1
    assert all(math.isfinite(m.train_loss + m.valid_loss) for m in heard)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_an_error_even_when_the_loss_is(
    tiny_data, monkeypatch, value
):
    def evaluate_and_break(self):
        with torch.no_grad():
            next(self.model.parameters()).view(-1)[0] = value
        return 1.0, 0.5

    monkeypatch.setattr(Engine, "evaluate", evaluate_and_break)
    architecture = Architecture((1, 8, 8), [Flatten(), Linear(4)])
    with pytest.raises(DivergedError) as error:
        train(architecture, QUICK, tiny_data, seed=0)
    assert error.value.epoch == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_validation_loss_that_is_not_finite_is_an_error_even_when_the_weights_are(
    tiny_architecture, tiny_data, monkeypatch, value
):
    monkeypatch.setattr(Engine, "evaluate", lambda self: (value, 0.5))
    with pytest.raises(DivergedError) as error:
        train(tiny_architecture, QUICK, tiny_data, seed=0)
    assert error.value.epoch == 1


def test_batch_larger_than_the_data_trains_on_all_images_in_one_step(tiny_architecture, tiny_data):
    steps = []
    result = train(
        tiny_architecture,
        Recipe(epochs=2, batch_size=10_000),
        tiny_data,
        seed=0,
        should_stop=lambda: bool(steps.append(1)),
    )
    assert result.is_finished
    assert len(steps) == 2


def test_network_that_was_counted_wrong_is_not_trained(tiny_data):
    architecture = Architecture((1, 8, 8), [LyingConv(4), Flatten(), Linear(4)])
    with pytest.raises(CountMismatchError):
        train(architecture, QUICK, tiny_data, seed=0)


def test_frozen_parameters_keep_their_values(tiny_data):
    architecture = Architecture((1, 8, 8), [Conv(4), FrozenConv(), ReLU(), Flatten(), Linear(4)])
    torch.manual_seed(5)
    initial = architecture.build().state_dict()
    trained = train(architecture, QUICK, tiny_data, seed=5).state_dict
    is_same = {name: torch.equal(initial[name], trained[name]) for name in initial}
    assert is_same == {"0.weight": False, "1.weight": True, "4.weight": False, "4.bias": False}


# An independent, plain training loop, to compare with.


def plain_images(data, index):
    """Normalised by statistics that are computed here, from the train images alone."""
    train_images = data.images[data.train_index].double() / 255
    mean, std = train_images.mean(), train_images.std(correction=0)
    return ((data.images[index].double() / 255 - mean) / std).float()


def plain_training(data, recipe, seed):
    """Losses, accuracies and the model of an ordinary PyTorch training without augmentation."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 4),
    )
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=True,
            foreach=False,
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(),
            recipe.learning_rate,
            (recipe.momentum, 0.999),
            weight_decay=recipe.weight_decay,
            foreach=False,
        )
    num_batches = len(data.train_index) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_batches * recipe.epochs)
    generator = torch.Generator().manual_seed(seed)
    history = []
    for _ in range(recipe.epochs):
        model.train()
        order = data.train_index[torch.randperm(len(data.train_index), generator=generator)]
        losses = []
        for i in range(num_batches):
            index = order[i * recipe.batch_size : (i + 1) * recipe.batch_size]
            loss = nn.CrossEntropyLoss()(model(plain_images(data, index)), data.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            scores = model(plain_images(data, data.valid_index))
        labels = data.labels[data.valid_index]
        valid_loss = nn.CrossEntropyLoss()(scores, labels).item()
        accuracy = (scores.argmax(1) == labels).double().mean().item()
        history.append((sum(losses) / num_batches, valid_loss, accuracy))
    return history, model


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(
            optimizer="sgd", learning_rate=0.05, weight_decay=0.01, momentum=0.8,
            schedule="cosine", batch_size=32, epochs=2, augmentation=0,
        ),
        Recipe(
            optimizer="adamw", learning_rate=0.01, weight_decay=0.1, momentum=0.8,
            schedule="cosine", batch_size=32, epochs=2, augmentation=0,
        ),
    ],
    ids=["sgd", "adamw"],
)  # fmt: skip
def test_training_equals_a_plain_pytorch_loop(tiny_data, recipe):
    architecture = Architecture(
        (1, 8, 8), [Conv(6), BatchNorm(), ReLU(), MaxPool(), Flatten(), Linear(4)]
    )
    result = train(architecture, recipe, tiny_data, seed=11, precision=torch.float32)
    history, model = plain_training(tiny_data, recipe, seed=11)
    for metrics, (train_loss, valid_loss, accuracy) in zip(result.history, history, strict=True):
        assert metrics.train_loss == pytest.approx(train_loss, rel=1e-4)
        assert metrics.valid_loss == pytest.approx(valid_loss, rel=1e-4)
        assert metrics.valid_accuracy == pytest.approx(accuracy)
    torch.testing.assert_close(result.state_dict, dict(model.state_dict()), rtol=1e-3, atol=1e-5)


def test_bfloat16_trains_about_as_float32_does(tiny_architecture, tiny_data):
    histories = [
        train(tiny_architecture, QUICK, tiny_data, seed=0, precision=precision).history
        for precision in (torch.float32, torch.bfloat16)
    ]
    for full, half in zip(*histories, strict=True):
        assert half.train_loss == pytest.approx(full.train_loss, rel=0.05)
    assert histories[0][-1].train_loss != histories[1][-1].train_loss


class Scores(nn.Module):
    """Scores that are written down: of class 0 the mean of the image, of the others as given."""

    def __init__(self, others):
        super().__init__()
        self.others = others

    def forward(self, images):
        others = torch.tensor(self.others).expand(len(images), -1)
        return torch.cat([images.mean(dim=(1, 2, 3)).unsqueeze(1), others], dim=1)


@pytest.mark.parametrize("batch", [7, 60, 500])
def test_evaluation_is_the_mean_over_the_validation_images(tiny_data, monkeypatch, batch):
    monkeypatch.setattr(engine, "EVALUATION_BATCH", batch)
    losses, num_right = [], 0
    for i in tiny_data.valid_index.tolist():
        image = plain_images(tiny_data, torch.tensor([i]))
        scores = [image.mean().item(), 0.0, -1.0, -2.0]
        label = tiny_data.labels[i].item()
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[label])
        num_right += scores.index(max(scores)) == label
    valid_loss, valid_accuracy = evaluate(Scores([0.0, -1.0, -2.0]), tiny_data)
    assert valid_loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert valid_accuracy == num_right / len(losses)


def test_evaluation_switches_dropout_off_and_changes_no_weights(tiny_architecture, tiny_data):
    model = tiny_architecture.build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = evaluate(model, tiny_data), evaluate(model, tiny_data)
    assert first == second
    assert is_equal(before, model.state_dict())


def test_label_smoothing_is_in_the_train_loss_alone(tiny_data):
    architecture = Architecture((1, 8, 8), [Flatten(), Linear(4)])
    result = train(
        architecture,
        Recipe(epochs=1, batch_size=180, augmentation=0, label_smoothing=0.5, learning_rate=1e-9),
        tiny_data,
        seed=2,
        precision=torch.float32,
    )
    torch.manual_seed(2)
    model = architecture.build()
    with torch.no_grad():
        scores = model(plain_images(tiny_data, tiny_data.train_index))
    smoothed = F.cross_entropy(scores, tiny_data.labels[tiny_data.train_index], label_smoothing=0.5)
    assert result.history[0].train_loss == pytest.approx(smoothed.item(), rel=1e-5)
    assert result.history[0].valid_loss == pytest.approx(evaluate(model, tiny_data)[0], rel=1e-5)


@pytest.mark.slow
def test_training_does_without_numba():
    """Where it cannot be imported, plain modules train."""
    code = (
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "from nas.training import train\n"
        "from tests.conftest import make_tiny_data\n"
        "from tests.training.test_loop import DEEP, QUICK\n"
        "result = train(DEEP, QUICK, make_tiny_data(), seed=0)\n"
        "assert result.is_finished and 'nas.training.cpu.fusion' not in sys.modules\n"
        "import torch\n"
        "from nas.training.device import device_name\n"
        "name = device_name(torch.device('cpu'), torch.float32, 'eager')\n"
        "said = 'cpu (plain modules: numba is missing), eager engine, fp32'\n"
        "assert name == said, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
