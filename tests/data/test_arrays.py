"""Arrays as a data set: what is trained on, what is kept back, and which pairs are refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from nas.data import is_in_memory, source_of, split
from nas.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(60) % 3
MORE = (RANDOM.integers(0, 256, (9, 8, 8, 3)).astype(np.uint8), np.arange(9) % 3)


def test_every_sixth_image_of_each_class_is_kept_back():
    source = source_of((IMAGES, LABELS))
    train = source.training_images()
    kept = np.isin(np.arange(60) // 3 % 6, [0])  # place within the class: 0, 6, 12, 18
    assert np.array_equal(train.images.numpy(), IMAGES[~kept].transpose(0, 3, 1, 2))
    assert np.array_equal(train.labels.numpy(), LABELS[~kept])
    test = source.test_images(split(train, Fraction(1, 4), seed=0))
    assert np.array_equal(test.images.numpy(), IMAGES[kept].transpose(0, 3, 1, 2))
    assert np.array_equal(test.labels.numpy(), LABELS[kept])
    assert source.num_test == 12
    assert train.notes == (
        "12 of 60 images, every sixth of each class, are kept back to test on; test gives others",
    )


def test_nothing_is_kept_back_where_test_images_are_given():
    source = source_of((IMAGES, LABELS), MORE)
    train = source.training_images()
    assert (len(train.images), train.notes) == (60, ())
    test = source.test_images(split(train, Fraction(1, 4), seed=0))
    assert np.array_equal(test.images.numpy(), MORE[0].transpose(0, 3, 1, 2))
    assert (source.num_test, source.test_record) == (9, "arrays")


def test_hash_does_not_depend_on_the_layout_or_on_who_holds_the_pixels():
    channels_first = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
    ways = [
        (IMAGES, LABELS), (channels_first, list(LABELS)), (torch.from_numpy(IMAGES), LABELS),
        ((IMAGES / 255).astype(np.float32), torch.from_numpy(LABELS)),
        TensorDataset(torch.from_numpy(channels_first), torch.from_numpy(LABELS)),
    ]  # fmt: skip
    sources = [source_of(way) for way in ways]
    assert len({(s.training_images().sha256, s.test_sha256) for s in sources}) == 1


@pytest.mark.parametrize("what", ["pixel", "label", "test pixel", "order"])
def test_hash_hears_every_change(what):
    images, labels, more = IMAGES.copy(), LABELS.copy(), MORE[0].copy()
    match what:
        case "pixel":
            images[7, 0, 0, 0] ^= 1
        case "label":
            labels[7] = (labels[7] + 1) % 3
        case "test pixel":
            more[0, 0, 0, 0] ^= 1
        case "order":
            images, labels = images[::-1], labels[::-1]
    before, after = source_of((IMAGES, LABELS), MORE), source_of((images, labels), (more, MORE[1]))
    hashes = [(s.training_images().sha256, s.test_sha256) for s in (before, after)]
    assert hashes[0] != hashes[1]


def test_name_tells_data_sets_apart():
    name = source_of((IMAGES, LABELS)).training_images().name
    other = source_of((IMAGES[::-1], LABELS)).training_images().name
    assert name.startswith("arrays-")
    assert name != other
    assert is_in_memory(source_of((IMAGES, LABELS)).record)
    assert not is_in_memory(source_of("digits").record)


def test_tensor_of_the_caller_stays_where_it_is():
    """A search moves the images it has into shared memory."""
    given = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    source_of((given, LABELS), MORE).training_images().images.share_memory_()
    assert not given.is_shared()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (IMAGES, "dataset: one array of shape (60, 8, 8, 3): give the labels, too, as "
         "(images, labels)"),
        ((IMAGES,), "dataset: a tuple of 1: give a pair (images, labels)"),
        ((IMAGES, LABELS, MORE), "dataset: a tuple of 3: give a pair (images, labels)"),
        (((IMAGES, LABELS), MORE), "dataset: two pairs: give the first as dataset=(images, labels) "
         "and the second as test=(images, labels)"),
        ((IMAGES, LABELS[:-1]), "dataset: 60 images, but 59 labels: give one label an image"),
        ((LABELS, IMAGES), "dataset: images are int64 from 0 to 2: give them as uint8"),
        ({"images": IMAGES}, "dataset: a dict: give (images, labels) as arrays, a "
         "torch.utils.data.Dataset, the path of an .npz or of a folder, or one of mnist,"),
        (5, "dataset: a int: give (images, labels)"),
    ],
    ids=["array", "one", "three", "two pairs", "label missing", "swapped", "dict", "number"],
)  # fmt: skip
def test_what_is_no_pair_of_images_and_labels_is_refused(dataset, message):
    with pytest.raises(DataError) as error:
        source_of(dataset).training_images()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (MORE[0], "test: one array of shape (9, 8, 8, 3): give the labels, too"),
        ((MORE[0], LABELS), "test: 9 images, but 60 labels"),
        ((MORE[0][:, :, :5], MORE[1]), "the test images have (C, H, W) (3, 8, 5), those to train "
         "on (3, 8, 8): bring them to the same"),
        ((MORE[0][..., 0], MORE[1]), "the test images have (C, H, W) (1, 8, 8), those to train on"),
        ((MORE[0], MORE[1] + 1), "test: no training image has the label 3"),
        ((MORE[0], ["a"] * 9), "test: labels are strings, those to train on are integers"),
        ("digits", "test: give arrays, a torch Dataset or an .npz, not digits"),
        ("/tmp", "test: give arrays, a torch Dataset or an .npz, not /tmp"),
    ],
    ids=["array", "labels", "size", "grey", "class", "strings", "name", "folder"],
)  # fmt: skip
def test_test_images_that_do_not_fit_are_refused(test, message):
    with pytest.raises(DataError) as error:
        source_of((IMAGES, LABELS), test).training_images()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset", ["digits", "mnist", "/tmp"])
def test_data_set_with_test_images_of_its_own_takes_no_others(dataset):
    message = "test goes with arrays, a torch Dataset or an .npz: .* has test images of its own"
    with pytest.raises(DataError, match=message):
        source_of(dataset, MORE)


def test_image_size_is_not_for_arrays():
    with pytest.raises(DataError, match="image_size is for folders of images, those of arrays"):
        source_of((IMAGES, LABELS), image_size=16)
