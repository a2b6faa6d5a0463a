"""How a picture becomes pixels of one shape."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nas.data.picture import Picture
from nas.data.preparation import FITS, Preparation


def wide():
    """8 wide, 4 high: red at the left and at the right, blue in the middle."""
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :, 0] = 255
    pixels[:, 2:6] = (0, 0, 255)
    return Picture(pixels)


def test_stretch_shows_all_of_it_in_another_shape():
    done = Preparation(4, 4, 3, "stretch").apply(wide())
    assert done.shape == (3, 4, 4)
    assert done[0, 0].tolist()[0] > 200 > done[0, 0].tolist()[1]
    expected = Image.fromarray(wide().pixels).resize((4, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(done.transpose(1, 2, 0), np.asarray(expected))


def test_crop_shows_the_middle_in_its_shape():
    done = Preparation(4, 4, 3, "crop").apply(wide())
    assert (done.transpose(1, 2, 0) == (0, 0, 255)).all()


def test_pad_shows_all_of_it_in_its_shape_with_black_beside():
    done = Preparation(8, 8, 3, "pad").apply(wide())
    assert (done[:, :2] == 0).all()
    assert (done[:, 6:] == 0).all()
    assert np.array_equal(done[:, 2:6].transpose(1, 2, 0), wide().pixels)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 99), (99, 1), (31, 17)])
def test_every_fit_brings_every_shape_to_the_size(fit, shape):
    picture = Picture(np.full(shape, 77, np.uint8))
    done = Preparation(8, 8, 1, fit).apply(picture)
    assert (done.shape, done.dtype) == ((1, 8, 8), np.uint8)
    assert done.max() == 77


def test_colour_becomes_grey_and_grey_colour_as_wanted():
    assert Preparation(4, 8, 1).apply(wide())[0, 0, ::3].tolist() == [76, 29, 76]
    grey = Picture(np.full((2, 2), 9, np.uint8))
    assert Preparation(2, 2, 3).apply(grey).tolist() == np.full((3, 2, 2), 9).tolist()


def test_one_range_is_black_and_white_for_deep_greys():
    deep = Picture(np.array([[1000.0, 2000.0, 3000.0, 500.0, 9000.0]]))
    preparation = Preparation(1, 5, 1, value_range=(1000, 3000))
    assert preparation.apply(deep).tolist() == [[[0, 128, 255, 0, 255]]]
    assert preparation.is_beyond(deep)
    assert not Preparation(1, 5, 1, value_range=(0, 65535)).is_beyond(deep)


@pytest.mark.parametrize(
    "preparation", [Preparation(4, 8, 1), Preparation(8, 8, 3, "pad", (0.0, 4095.0))]
)
def test_a_record_gives_the_same_preparation(preparation):
    record = preparation.to_json()
    assert Preparation.from_json(record) == preparation
    assert Preparation.from_json(record | {"of a later version": 1}) == preparation


def test_it_says_in_words_what_has_to_be_done_again():
    assert Preparation(32, 32, 3, "crop", (10.0, 4095.0)).text == (
        "turned as EXIF says, transparency on white, greys of 16 or 32 bits from 10..4095 to "
        "0..255, RGB, cropped to their middle and brought to 32x32 (Pillow, bilinear)"
    )
    assert Preparation(8, 8, 1).text == "turned as EXIF says, transparency on white, grey"
