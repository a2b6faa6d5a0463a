"""Images as tensors: what a search trains on and validates on.

name or folder -> LabelledImages -> split -> Dataset (train and validation, on the device)

Only `load_test_images` decodes test images, and only a certification calls it.
"""

from nas.data.catalog import (
    NAMES,
    check_test_images,
    default_data_dir,
    load_test_images,
    load_training_images,
)
from nas.data.dataset import Dataset, LabelledImages, into_folds, split, whole, with_test
from nas.data.preparation import Preparation

__all__ = [
    "NAMES",
    "Dataset",
    "LabelledImages",
    "Preparation",
    "check_test_images",
    "default_data_dir",
    "into_folds",
    "load_test_images",
    "load_training_images",
    "split",
    "whole",
    "with_test",
]
