"""How a network is taken through an epoch: the eager engine, and what every engine has."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.training.cuda import end_of_launch, use_true_float32
from nas.training.dropout import own_dropout
from nas.training.float32_head import with_float32_head
from nas.training.in_flight import InFlight
from nas.training.optimizers import learning_rates, make_optimizer, shortened
from nas.training.step import MEMORY_FORMAT, Evaluation, Normalise, Step

try:
    from nas.training.cpu import fuse

    HAS_KERNELS = True
except ImportError:  # without numba the plain modules train as well, if more slowly
    HAS_KERNELS = False

EVALUATION_BATCH = 500  # images; small enough to stay in a CPU's cache
EVALUATION_BATCH_ON_CUDA = 1000
EVALUATION_BYTES = 2**28  # that a layer's input and output may take on a GPU while evaluating

# Networks are built in turn: initial weights come from one random state of the whole process.
BUILDING = threading.RLock()


class Engine:
    """A network with its optimiser and its place in the schedule, step by step.

    Args:
        data: on the device to train on.
        seed: of initial weights, order of images, augmentation and dropout.
        precision: of convolutions and matrix products while training.

    Raises:
        CountMismatchError: the built network has another size than was counted.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: Dataset,
        seed: int,
        precision: torch.dtype,
    ) -> None:
        device = data.images.device
        is_cuda = device.type == "cuda"
        self.data = data
        # Of order and augmentation, and of dropout unless that is fused.
        self.generator = torch.Generator(device).manual_seed(seed)
        with BUILDING:
            torch.manual_seed(seed)  # initial weights
            self.model: nn.Sequential = architecture.build()
        self.model.to(device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        if is_cuda:
            use_true_float32()
        if device.type == "cpu" and HAS_KERNELS:
            network = fuse(self.model, seed)
        else:
            network = own_dropout(self.model, self.generator)
        if precision != torch.float32:
            network = with_float32_head(network)
        self.optimizer = make_optimizer(self.model.parameters(), recipe)
        self.batch_size = min(recipe.batch_size, len(data.train_index))
        self.num_batches = len(data.train_index) // self.batch_size
        self.rates = learning_rates(recipe, self.num_batches * recipe.epochs)
        self.step = Step(network, self.optimizer, data, recipe, precision, self.generator)
        batch_size = evaluation_batch(architecture) if is_cuda else EVALUATION_BATCH
        self.evaluation = Evaluation(self.model, data, batch_size)
        self.in_flight = InFlight(end_of_launch if is_cuda else None)
        self.num_steps = 0  # done, or on their way to the device

    def draw_order(self) -> Tensor:
        """The train images of the next epoch as (batches, images) of their indices.

        The last, smaller batch is left out.
        """
        train_index = self.data.train_index
        order = torch.randperm(
            len(train_index), generator=self.generator, device=train_index.device
        )
        order = order[: self.num_batches * self.batch_size]
        return train_index[order].view(self.num_batches, self.batch_size)

    def train_epoch(self, should_stop: Callable[[], bool]) -> float | None:
        """Train for one epoch; returns the mean loss, or None when it was stopped."""
        self.model.train()
        # Summed on the device: reading a loss would wait for the device at each step.
        loss_sum = torch.zeros((), device=self.data.images.device)
        for index in self.draw_order():
            if should_stop():
                return None
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[self.num_steps]
            loss_sum += self.step(index)
            self.num_steps += 1
            self.in_flight.add()
        self.in_flight.wait()
        return loss_sum.item() / self.num_batches

    def shorten(self, epochs_done: int, epochs: int) -> None:
        """Let the schedule end after `epochs`: now its rate falls to 0, along half a cosine."""
        done, num_steps = epochs_done * self.num_batches, epochs * self.num_batches
        self.rates = shortened(self.rates, done, num_steps)

    def evaluate(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy (0..1) on the validation images, in float32."""
        sums = self.evaluation()
        self.in_flight.wait()
        return self.evaluation.read(sums)

    def weights(self) -> dict[str, Tensor]:
        """The network's weights and statistics, copied to the CPU."""
        state = self.model.state_dict()
        return {name: value.cpu().contiguous().clone() for name, value in state.items()}

    def is_finite(self) -> bool:
        """Whether every weight and statistic is a number."""
        return bool(self.finiteness())

    def finiteness(self) -> Tensor:
        """`is_finite` on the device, of one value."""
        values = [value.isfinite().all() for value in self.model.state_dict().values()]
        return torch.stack(values).all()

    def close(self) -> None:
        """Give back what the device holds for this network."""


def evaluation_batch(architecture: Architecture) -> int:
    """Images to evaluate at once on a GPU: many, unless their activations are large."""
    fitting = EVALUATION_BYTES // (4 * architecture.peak_values)
    return max(1, min(EVALUATION_BATCH_ON_CUDA, fitting))


def evaluate(model: nn.Module, data: Dataset) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (0..1) of any model on the validation images, in float32."""
    evaluation = Evaluation(model, data, EVALUATION_BATCH)
    return evaluation.read(evaluation())


@torch.no_grad()
def per_image_loss(model: nn.Module, data: Dataset) -> tuple[Tensor, Tensor]:
    """Cross-entropy (N,) and whether it is classified rightly (N,) of each validation image."""
    model.eval()
    normalise = Normalise(data)
    losses, is_right = [], []
    for index in data.valid_index.split(EVALUATION_BATCH):
        scores = model(normalise(data.images[index].float() / 255))
        labels = data.labels[index]
        losses.append(F.cross_entropy(scores, labels, reduction="none"))
        is_right.append(scores.argmax(1) == labels)
    return torch.cat(losses), torch.cat(is_right)
