"""Images as tensors: what a search trains on and validates on. Nothing here can read test images.

name or folder -> TrainingImages -> split -> Dataset (train and validation, on the device)
"""

from nas.datasets.catalog import NAMES, default_data_dir, load_training_images
from nas.datasets.dataset import Dataset, TrainingImages, parse_share, split

__all__ = [
    "NAMES",
    "Dataset",
    "TrainingImages",
    "default_data_dir",
    "load_training_images",
    "parse_share",
    "split",
]
