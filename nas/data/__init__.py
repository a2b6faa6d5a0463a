"""Images as tensors: what a search trains on and validates on.

name, folder, .npz, arrays or torch Dataset -> Source -> LabelledImages -> split -> Dataset (train
and validation, on the device)

Only `Source.test_images` decodes test images, and only a certification calls it.
"""

from nas.data.catalog import NAMES, is_in_memory, source_of
from nas.data.dataset import Dataset, LabelledImages, into_folds, split, whole, with_test
from nas.data.places import default_data_dir
from nas.data.preparation import Preparation
from nas.data.source import Source

__all__ = [
    "NAMES",
    "Dataset",
    "LabelledImages",
    "Preparation",
    "Source",
    "default_data_dir",
    "into_folds",
    "is_in_memory",
    "source_of",
    "split",
    "whole",
    "with_test",
]
