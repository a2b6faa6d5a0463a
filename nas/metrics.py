"""Metrics: what an epoch of training comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch came to."""

    epoch: int  # from 1
    train_loss: float  # mean cross-entropy while training, with augmentation and dropout
    valid_loss: float  # mean cross-entropy on the validation images
    valid_accuracy: float  # share of the validation images classified rightly, 0..1
    seconds: float  # of this epoch, training and validation
