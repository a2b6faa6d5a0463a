"""The training engine. It knows no studies: plain values in, a callback after each epoch."""

from nas.training.device import choose_device
from nas.training.loop import EpochMetrics, TrainResult, evaluate, train

__all__ = ["EpochMetrics", "TrainResult", "choose_device", "evaluate", "train"]
