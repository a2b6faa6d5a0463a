"""Arrays and tensors of pixels as the one layout of a search: uint8 (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.errors import DataError

CHANNELS = (1, 3)  # grey, colour

_PART = 2**22  # values converted at once


def as_images(values: Any, what: str) -> Tensor:
    """uint8 (N, C, H, W) of images in any usual layout.

        as_images(np.zeros((10, 28, 28, 3), np.uint8), "dataset").shape

    Args:
        values: a numpy array or a tensor: (N, C, H, W), (N, H, W, C) or, for grey, (N, H, W), with
            C 1 or 3. uint8, or floating point from 0 to 1 that is uint8 divided by 255.
        what: says in errors whose images they are.

    Raises:
        DataError: another type or shape, or a shape that can be read in two ways.
    """
    if not isinstance(values, Tensor | np.ndarray) and not hasattr(values, "__array__"):
        raise DataError(
            f"{what}: images are a {type(values).__name__}: give a numpy array or a torch tensor, "
            "such as np.stack(images)"
        )
    return in_channels_first(as_uint8(as_tensor(values, what), what), what)


def as_tensor(values: Any, what: str) -> Tensor:
    """A tensor on the CPU; it shares memory with `values` where it can.

    Raises:
        DataError: values that no tensor holds, such as Python objects.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu()
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise DataError(f"{what}: images are of type {array.dtype}: give uint8 from 0 to 255")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable)
    return torch.from_numpy(np.ascontiguousarray(array))


def as_uint8(images: Tensor, what: str) -> Tensor:
    """The same values as uint8; floating point from 0 to 1 only where nothing is lost.

    Raises:
        DataError: values that are not exactly k / 255 for whole numbers k, or another type.
    """
    if images.dtype == torch.uint8:
        return images
    kind = str(images.dtype).removeprefix("torch.")
    if not images.numel() or images.is_complex():
        raise DataError(f"{what}: images are {kind}: give uint8 from 0 to 255")
    values = images if images.dtype.is_floating_point else images.to(torch.int64)
    low, high = values.min().item(), values.max().item()
    span = f"{what}: images are {kind} from {low:.4g} to {high:.4g}"
    if images.dtype.is_floating_point:
        pixels = _exact_pixels(images) if 0 <= low <= high <= 1 else None
        if pixels is not None:
            return pixels
        raise DataError(
            f"{span}, which are not 0 to 255 divided by 255: give uint8 from 0 to 255, as they "
            "were before any normalisation"
        )
    if images.dtype != torch.bool and 0 <= low <= high <= 255:
        raise DataError(f"{span}: give them as uint8, where 255 is the brightest")
    raise DataError(f"{span}: bring them to 0 to 255 and give uint8")


def _exact_pixels(images: Tensor) -> Tensor | None:
    """uint8 of floating point from 0 to 1; None where a value is no whole number of 255ths."""
    rounding = torch.finfo(images.dtype).eps  # of a value close to 1
    if rounding * 255 > 0.25:
        return None
    pixels = torch.empty(images.shape, dtype=torch.uint8)
    for part, into in zip(
        images.reshape(-1).split(_PART), pixels.view(-1).split(_PART), strict=True
    ):
        scaled = part.double() * 255
        whole = scaled.round()
        if ((scaled - whole).abs() > rounding * whole).any():
            return None
        into.copy_(whole)
    return pixels


def in_channels_first(images: Tensor, what: str) -> Tensor:
    """(N, C, H, W), contiguous, of images in any usual layout.

    Raises:
        DataError: a shape that has no such meaning, or two.
    """
    shape = tuple(images.shape)
    given = f"{what}: images have shape {shape}"
    if 0 in shape:
        raise DataError(f"{given}, which holds no pixel")
    if images.ndim == 3:
        return images.unsqueeze(1).contiguous()
    if images.ndim == 4:
        is_first, is_last = shape[1] in CHANNELS, shape[3] in CHANNELS
        if is_first and is_last:
            raise DataError(
                f"{given}, which can be read as (N, C, H, W) and as (N, H, W, C): pad the images "
                "to 4 pixels or more a side"
            )
        if is_first:
            return images.contiguous()
        if is_last:
            return images.permute(0, 3, 1, 2).contiguous()
    raise DataError(
        f"{given}: give (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, or (N, H, W) for grey "
        "images"
    )
