"""Modules that torch.nn does not have. An export carries their text, so it needs torch alone."""

from torch import Tensor, nn


class Residual(nn.Sequential):
    """What its modules make of x, added to x."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for module in self:
            y = module(y)
        return x + y


class Tied(nn.Module):
    """x + ReLU(norm(conv(x))), several times with one convolution, each with a norm of its own."""

    def __init__(self, conv: nn.Conv2d | nn.Sequential, times: int) -> None:
        super().__init__()
        self.conv = conv
        channels = next(conv.parameters()).shape[0]
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(times))

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = x + norm(self.conv(x)).relu()
        return x
