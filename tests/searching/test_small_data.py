"""What is said where images are few."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nas.errors import named_for_shell
from nas.searching.config import SearchConfig
from nas.searching.small_data import small_data_notes


def notes(data, num_train, num_valid, is_begun=False, **settings):
    sized = replace(data, train_index=torch.zeros(num_train), valid_index=torch.zeros(num_valid))
    with named_for_shell():
        return small_data_notes(sized, SearchConfig(budget=1, **settings), is_begun=is_begun)


def test_few_images_to_validate_on_are_told_with_what_one_is_worth_and_what_to_do(tiny_data):
    (line,) = notes(tiny_data, 9_000, 124)
    assert line == (
        "only 124 images to validate on, each is worth 0.8 points of accuracy: --valid-share 1/4 "
        "with another --study holds out more, nas certify --folds 5 decides on all training images"
    )


@pytest.mark.parametrize(
    ("num_valid", "settings"), [(124, {"valid_share": "1/3"}), (499, {"valid_share": 0.25})]
)
def test_share_that_is_large_already_is_not_made_larger(tiny_data, num_valid, settings):
    (line,) = notes(tiny_data, 9_000, num_valid, **settings)
    assert "--valid-share" not in line
    assert "--folds 5" in line


def test_few_steps_are_told_with_epochs_that_suffice(tiny_data):
    (line,) = notes(tiny_data, 1_369, 500)
    assert line == (
        "19 epochs of 1,369 images are only 399 steps of 64 images: small data needs more, such "
        "as --epochs 50 with another --study"
    )
    (limited,) = notes(tiny_data, 1_369, 500, timeout="5m")
    assert limited == f"{line} (--timeout may end before them)"
    assert notes(tiny_data, 1_369, 500, epochs=50) == []
    assert "1 epoch of 40 images are only 1 step of 40" in notes(tiny_data, 40, 500, epochs=1)[0]


def test_what_a_study_that_has_begun_cannot_change_is_not_advised(tiny_data):
    (line,) = notes(tiny_data, 1_369, 124, is_begun=True)
    assert line == (
        "only 124 images to validate on, each is worth 0.8 points of accuracy: nas certify "
        "--folds 5 decides on all training images"
    )


def test_mnist_is_not_small(tiny_data):
    assert notes(tiny_data, 55_000, 5_000) == []
