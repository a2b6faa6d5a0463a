"""Layers for tests alone: parameters that are easily counted wrong, and counts that are wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.candidates.layers import Conv, Layer, Shape, image_shape


class TiedConvModule(nn.Module):
    """One convolution used twice: its weights are held once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = self.first

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images))


@dataclass(frozen=True)
class TiedConv(Layer):
    kind = "tied-conv"

    def build(self, shape: Shape) -> nn.Module:
        return TiedConvModule(shape[0])

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)

    def num_params(self, shape: Shape) -> int:
        return shape[0] * shape[0] * 9


@dataclass(frozen=True)
class FrozenConv(Layer):
    """A 1x1 convolution that is never trained."""

    kind = "frozen-conv"

    def build(self, shape: Shape) -> nn.Module:
        return nn.Conv2d(shape[0], shape[0], 1, bias=False).requires_grad_(False)

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)

    def num_params(self, shape: Shape) -> int:
        return shape[0] * shape[0]


@dataclass(frozen=True)
class LyingConv(Conv):
    """States `error` parameters more than it has."""

    kind = "lying-conv"
    error: int = 1

    def num_params(self, shape: Shape) -> int:
        return super().num_params(shape) + self.error


@dataclass(frozen=True)
class GreedyConv(Conv):
    """Needs more memory than the device has."""

    kind = "greedy-conv"

    def build(self, shape: Shape) -> nn.Module:
        raise torch.OutOfMemoryError("CUDA out of memory")


@dataclass(frozen=True)
class CrashingConv(Conv):
    """Takes its process down."""

    kind = "crashing-conv"

    def build(self, shape: Shape) -> nn.Module:
        os._exit(3)


@dataclass(frozen=True)
class FaultyConv(Conv):
    """Meets an error of its device, which is raised as one of torch's classes."""

    kind = "faulty-conv"
    error: str = "AcceleratorError"
    text: str = "CUDA error: no kernel image is available for execution on the device"

    def build(self, shape: Shape) -> nn.Module:
        errors = {"AcceleratorError": torch.AcceleratorError, "RuntimeError": RuntimeError}
        raise errors[self.error](self.text)
