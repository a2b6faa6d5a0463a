"""Random changes of a whole batch of images at once, on the device.

Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.candidates.recipe import Recipe


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Change each image by its own random amounts, drawn evenly from the recipe's ranges.

    Args:
        images: float (N, C, H, W) in 0..1.
        recipe: strength and ranges.
        generator: on the device of `images`.

    Returns:
        float (N, C, H, W); what comes in from outside the image is 0.
    """
    if recipe.augmentation > 0 and (recipe.brightness or recipe.contrast):
        images = _relight(images, recipe, generator)
    if recipe.augmentation > 0 or recipe.flip:
        images = _move(images, recipe, generator)
    return images


def _relight(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Multiply the images, and then their differences from their mean."""
    draws = torch.rand(len(images), 2, 1, 1, 1, generator=generator, device=images.device) * 2 - 1
    bright = 1 + draws[:, 0] * (recipe.augmentation * recipe.brightness)
    contrast = 1 + draws[:, 1] * (recipe.augmentation * recipe.contrast)
    images = (images * bright).clamp(0, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean).clamp(0, 1)


def _move(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shear, shift and perhaps mirror the images; bilinear."""
    strength = recipe.augmentation
    shift = strength * recipe.shift * 2  # positions run from -1 to 1
    draws = torch.rand(len(images), 6, generator=generator, device=images.device) * 2 - 1
    angle, zoom, shear, right, down, side = draws.unbind(1)
    angle = angle * math.radians(recipe.rotation * strength)
    zoom = 1 + zoom * (recipe.scale * strength)
    shear = shear * (math.tan(math.radians(recipe.shear)) * strength)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Not torch.sign: a draw of exactly 0 would fold the image into one column.
    mirror = torch.where(side < 0, -1.0, 1.0) if recipe.flip else 1.0
    # Rows of the matrix that takes an output position to the input position it is read from.
    # Either side runs from -1 to 1, so turning x into y takes the ratio of the sides.
    ratio = images.shape[2] / images.shape[3]
    to_x = [cos * mirror, (shear * cos - sin) * ratio, right * shift]
    to_y = [sin * mirror / ratio, shear * sin + cos, down * shift]
    matrix = torch.stack([torch.stack(to_x, dim=1), torch.stack(to_y, dim=1)], dim=1)  # (N, 2, 3)
    return F.grid_sample(images, _grid(matrix, *images.shape[2:]), align_corners=False)


def _grid(matrix: Tensor, height: int, width: int) -> Tensor:
    """`F.affine_grid` for matrices (N, 2, 3): the input position (N, H, W, 2) of each pixel.

    Not that function: for a side of one pixel it copies a number from the host, which cannot be
    captured. And no product of matrices: of three columns each it takes three times as long on a
    CPU, and comes to the same.
    """
    device = matrix.device
    x, y = (torch.linspace(-1, 1, n, device=device) * ((n - 1) / n) for n in (width, height))
    of_x, of_y, of_one = matrix[..., None, None].unbind(2)  # (N, 2, 1, 1) each
    return (of_x * x + of_y * y[:, None] + of_one).permute(0, 2, 3, 1)
