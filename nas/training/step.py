"""One step of training, the same for every device: what is fast where is decided around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.training.augmentation import augment

MEMORY_FORMAT = torch.channels_last  # what the fast convolutions of CPUs and GPUs work on


class Step:
    """Gather images, augment and normalise them, go forward and backward, update the weights.

    It reads nothing back from the device and decides nothing by values, so it can be captured.

    Args:
        network: maps normalised images (N, C, H, W) to scores (N, classes).
        optimizer: of the network's weights; whoever calls the step sets its learning rate.
        data: where the images come from; on the device of the network.
        precision: of convolutions and matrix products: float32, or bfloat16 by autocast.
        generator: of the augmentation, on the same device.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        data: Dataset,
        recipe: Recipe,
        precision: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.data = data
        self.recipe = recipe
        self.precision = precision
        self.generator = generator
        self.normalise = Normalise(data)

    def __call__(self, index: Tensor) -> Tensor:
        """Train on the images at `index` (N,); returns the mean loss, a tensor of one value."""
        data, recipe = self.data, self.recipe
        images = augment(data.images[index].float() / 255, recipe, self.generator)
        is_lower = self.precision != torch.float32
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_lower):
            scores = self.network(self.normalise(images))
        loss = F.cross_entropy(
            scores.float(), data.labels[index], label_smoothing=recipe.label_smoothing
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Normalise:
    """Images in 0..1 to mean 0 and standard deviation 1 for each channel of the train images."""

    def __init__(self, data: Dataset) -> None:
        device = data.images.device
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        normalised = (images - self.mean) / self.std
        return normalised.contiguous(memory_format=MEMORY_FORMAT)


class Evaluation:
    """A network's sums over the validation images, in float32.

    Args:
        batch_size: images at once.
    """

    def __init__(self, model: nn.Module, data: Dataset, batch_size: int) -> None:
        self.model = model
        self.data = data
        self.batch_size = batch_size
        self.normalise = Normalise(data)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """(2,): the sum of the cross-entropies, and how many images are classified rightly."""
        self.model.eval()
        data = self.data
        sums = torch.zeros(2, device=data.images.device, dtype=torch.float64)
        for index in data.valid_index.split(self.batch_size):
            scores = self.model(self.normalise(data.images[index].float() / 255))  # (N, classes)
            labels = data.labels[index]
            sums[0] += F.cross_entropy(scores, labels, reduction="sum")
            sums[1] += (scores.argmax(1) == labels).sum()
        return sums

    def read(self, sums: Tensor) -> tuple[float, float]:
        """Mean cross-entropy and accuracy (0..1); waits for the device."""
        loss_sum, num_right = sums.tolist()
        num_images = len(self.data.valid_index)
        return loss_sum / num_images, num_right / num_images
