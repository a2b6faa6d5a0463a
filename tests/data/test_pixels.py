"""Arrays of pixels in every layout, and what is refused of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.pixels import as_images
from nas.errors import DataError


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


GREY = pixels(5, 6, 7)
COLOUR = pixels(5, 6, 7, 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (torch.from_numpy(COLOUR), COLOUR.transpose(0, 3, 1, 2)),
        (GREY[:, ::-1], GREY[:, None, ::-1]),
        ((GREY / 255).astype(np.float32), GREY[:, None]),
        (GREY / 255, GREY[:, None]),
        (GREY.astype(np.float32) * np.float32(1 / 255), GREY[:, None]),
        (torch.from_numpy(GREY).half() / 255, GREY[:, None]),
        ((GREY / 255).astype(">f4"), GREY[:, None]),
    ],
    ids=["NHW", "N1HW", "NHW1", "NHWC", "NCHW", "tensor", "upside down", "float32", "float64",
         "times 1/255", "float16", "other byte order"],
)  # fmt: skip
def test_every_usual_layout_becomes_the_same_tensor(given, expected):
    images = as_images(given, "dataset")
    assert images.dtype == torch.uint8
    assert images.is_contiguous()
    assert np.array_equal(images.numpy(), expected)


def test_array_that_cannot_be_written_to_is_copied(recwarn):
    fixed = GREY.copy()
    fixed.flags.writeable = False
    images = as_images(fixed, "dataset")
    images[0] = 0
    assert np.array_equal(fixed, GREY)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pixels(20, 3, 8, 3), "images have shape (20, 3, 8, 3), which can be read as (N, C, H, W) "
         "and as (N, H, W, C): pad the images to 4 pixels or more a side"),
        (pixels(20, 1, 8, 1), "images have shape (20, 1, 8, 1), which can be read as"),
        (pixels(20, 1, 8, 3), "images have shape (20, 1, 8, 3), which can be read as"),
        (pixels(20, 64), "images have shape (20, 64): give (N, C, H, W) or (N, H, W, C) with 1 or "
         "3 channels, or (N, H, W) for grey images"),
        (pixels(20, 8, 8, 4), "images have shape (20, 8, 8, 4): give (N, C, H, W)"),
        (pixels(2, 3, 8, 8, 1), "images have shape (2, 3, 8, 8, 1): give (N, C, H, W)"),
        (pixels(0, 8, 8), "images have shape (0, 8, 8), which holds no pixel"),
        (list(GREY), "images are a list: give a numpy array or a torch tensor, such as "
         "np.stack(images)"),
        (np.array(["a"]), "images are of type <U1: give uint8 from 0 to 255"),
        (np.array([object()]), "images are of type object: give uint8"),
        (pixels(5, 6, 7, dtype=np.int64), "images are int64 from 0 to 255: give them as uint8, "
         "where 255 is the brightest"),
        (pixels(5, 6, 7, dtype=np.uint16) * 200, "images are uint16 from 0 to 5.1e+04: bring them "
         "to 0 to 255 and give uint8"),
        (-GREY.astype(np.int16), "images are int16 from -255 to 0: bring them to 0 to 255"),
        (GREY > 99, "images are bool from 0 to 1: bring them to 0 to 255 and give uint8"),
        (GREY.astype(np.float32), "images are float32 from 0 to 255, which are not 0 to 255 "
         "divided by 255: give uint8 from 0 to 255, as they were before any normalisation"),
        (GREY / 127.5 - 1, "images are float64 from -1 to 1, which are not"),
        (GREY / 256, "images are float64 from 0 to 0.9961, which are not"),
        (np.full((5, 6, 7), np.nan), "images are float64 from nan to nan, which are not"),
        (torch.from_numpy(GREY).bfloat16() / 255, "images are bfloat16 from 0 to 1, which are not"),
        (torch.zeros(5, 6, 7, dtype=torch.complex64), "images are complex64: give uint8"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_image_of_8_bits_is_refused_in_one_line(given, message):
    with pytest.raises(DataError) as error:
        as_images(given, "dataset")
    assert str(error.value).startswith(f"dataset: {message}")
    assert "\n" not in str(error.value)
