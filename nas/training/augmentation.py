"""Random affine changes of a whole batch at once, on the device.

Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# At strength 1; each is drawn uniformly between minus and plus this.
ROTATION = math.radians(10)
SCALE = 0.12  # share of the size
SHEAR = 0.15  # pixels sideways for each pixel up
SHIFT = 0.07  # share of the size: 2 pixels of 28


def augment(images: Tensor, strength: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shear and shift each image by its own random amount; what comes in is 0.

    Args:
        images: float (N, C, H, W).
        strength: multiplies every range above; 0 leaves them out.
        flip: mirror each image left to right with probability 1/2.
        generator: on the device of `images`.

    Returns:
        float (N, C, H, W), bilinearly sampled.
    """
    if strength == 0 and not flip:
        return images
    draws = torch.rand(len(images), 6, generator=generator, device=images.device) * 2 - 1
    angle, zoom, shear, right, down, side = draws.unbind(1)
    angle, zoom = angle * (ROTATION * strength), 1 + zoom * (SCALE * strength)
    shear = shear * (SHEAR * strength)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Not torch.sign: a draw of exactly 0 would fold the image into one column.
    mirror = torch.where(side < 0, -1.0, 1.0) if flip else 1.0
    # Rows of the matrix that takes an output position to the input position it is read from.
    # Positions run from -1 to 1 along either side, so a shift by the whole size is 2, and turning
    # x into y takes the ratio of the sides.
    ratio = images.shape[2] / images.shape[3]
    to_x = [cos * mirror, (shear * cos - sin) * ratio, right * (2 * SHIFT * strength)]
    to_y = [sin * mirror / ratio, shear * sin + cos, down * (2 * SHIFT * strength)]
    matrix = torch.stack([torch.stack(to_x, dim=1), torch.stack(to_y, dim=1)], dim=1)  # (N, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)  # (N, H, W, 2)
    return F.grid_sample(images, grid, align_corners=False)
