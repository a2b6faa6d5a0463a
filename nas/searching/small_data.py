"""Small data: what a score is worth there, and whether a network is trained for long enough."""

from __future__ import annotations

import math
from fractions import Fraction

from nas.data import Dataset
from nas.errors import command, count, option
from nas.searching.config import SearchConfig, parse_share

FEW_IMAGES = 500  # to validate on: with fewer, candidates that are close cannot be told apart
FEW_STEPS = 1_000  # of a training: with fewer, a network has hardly begun to learn
USUAL_BATCH = 64  # images of a step, in most recipes
LARGER_SHARE = Fraction(1, 4)  # of the images to validate on, where they are few


def small_data_notes(data: Dataset, config: SearchConfig, *, is_begun: bool = False) -> list[str]:
    """A line for each of the two, where it is so, with what to do.

    Args:
        is_begun: the study has trials, so its split and its epochs stay what they are.
    """
    notes = []
    num_train, num_valid = len(data.train_index), len(data.valid_index)
    if num_valid < FEW_IMAGES:
        worth = f"each is worth {100 / num_valid:.1f} points of accuracy"
        advice = f"{command('certify', folds=5)} decides on all training images"
        is_held_out = num_valid < LARGER_SHARE * (num_train + num_valid)
        if is_held_out and not is_begun and parse_share(config.valid_share) < LARGER_SHARE:
            share = option("valid_share", str(LARGER_SHARE))
            advice = f"{share} with another {option('study')} holds out more, {advice}"
        notes.append(f"only {count(num_valid, 'image')} to validate on, {worth}: {advice}")
    batch_size = min(USUAL_BATCH, num_train)
    steps = num_train // batch_size
    if config.epochs * steps < FEW_STEPS and not is_begun:
        enough = math.ceil(FEW_STEPS / steps / 10) * 10
        notes.append(
            f"{count(config.epochs, 'epoch')} of {count(num_train, 'image')} are only "
            f"{count(config.epochs * steps, 'step')} of {batch_size} images: small data needs "
            f"more, such as {option('epochs', enough)} with another {option('study')}"
            + (f" ({option('timeout')} may end before them)" if config.timeout else "")
        )
    return notes
