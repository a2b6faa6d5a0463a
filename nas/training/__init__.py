"""The training engine. It knows no studies: plain values in, a callback after each epoch."""

from nas.training.device import choose_device, choose_engine, choose_precision
from nas.training.engine import evaluate, per_image_loss
from nas.training.loop import EndAfter, TrainResult, train

__all__ = [
    "EndAfter",
    "TrainResult",
    "choose_device",
    "choose_engine",
    "choose_precision",
    "evaluate",
    "per_image_loss",
    "train",
]
