"""An .npz as a data set: under which keys, and what is refused."""

from __future__ import annotations

import zipfile
from fractions import Fraction

import numpy as np
import pytest

from nas.data import source_of, split
from nas.data.npz import TEST_KEYS, TRAIN_KEYS
from nas.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 9)).astype(np.uint8)
LABELS = np.arange(24) % 2
OTHERS, OTHER_LABELS = IMAGES[:6, ::-1], LABELS[:6]


@pytest.fixture
def save(tmp_path):
    def to(name="photos.npz", **arrays):
        np.savez_compressed(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return to


def parts_of(source):
    train = source.training_images()
    test = source.test_images(split(train, Fraction(1, 4), seed=0))
    return train, test


@pytest.mark.parametrize("keys", TRAIN_KEYS, ids=str)
def test_images_are_read_under_each_pair_of_keys(save, keys):
    train, test = parts_of(source_of(save(**dict(zip(keys, (IMAGES, LABELS), strict=True)))))
    assert (train.name, len(train.images), len(test.images)) == ("photos", 20, 4)


@pytest.mark.parametrize(
    ("keys", "test_keys"), list(zip(TRAIN_KEYS[2:], TEST_KEYS, strict=True)),
    ids=["keras", "MedMNIST"],
)  # fmt: skip
def test_files_of_keras_and_medmnist_have_their_test_images(save, keys, test_keys):
    names = (*keys, *test_keys)
    path = save(**dict(zip(names, (IMAGES, LABELS, OTHERS, OTHER_LABELS), strict=True)))
    source = source_of(path)
    train, test = parts_of(source)
    assert np.array_equal(train.images[:, 0].numpy(), IMAGES)
    assert np.array_equal(test.images[:, 0].numpy(), OTHERS)
    assert (train.notes, source.record, source.test_record) == ((), path, None)


def test_columns_of_labels_and_validation_images_as_medmnist_has_them(save):
    path = save(
        train_images=IMAGES, train_labels=LABELS[:, None], val_images=OTHERS,
        val_labels=OTHER_LABELS[:, None], test_images=OTHERS, test_labels=OTHER_LABELS[:, None],
    )  # fmt: skip
    train, test = parts_of(source_of(path))
    assert (len(train.images), len(test.images)) == (30, 6)
    assert train.notes == ("the search validates on val_images, 6 images",)
    data = split(source_of(path).training_images(), Fraction(1, 4), seed=0)
    assert np.array_equal(data.images[data.valid_index, 0].numpy(), OTHERS)


def test_nothing_given_to_validate_on_is_kept_back_to_test_on(save):
    path = save(x=IMAGES, y=LABELS, x_val=OTHERS, y_val=OTHER_LABELS)
    train, test = parts_of(source_of(path))
    assert (len(train.images), len(test.images)) == (26, 4)
    assert np.array_equal(train.images[train.valid_index, 0].numpy(), OTHERS)


def test_what_is_not_used_is_said(save):
    path = save(x=IMAGES, y=LABELS, ids=LABELS)
    assert source_of(path).training_images().notes[0] == "not used of photos.npz: ids"


def test_names_of_classes_may_stand_in_the_file(save):
    path = save(x=IMAGES, y=LABELS, classes=np.array(["cat", "dog"]))
    assert source_of(path).training_images().classes == ("cat", "dog")


@pytest.mark.parametrize("keys", [*TRAIN_KEYS[:2], *TEST_KEYS], ids=str)
def test_test_images_may_be_in_another_file(save, keys):
    other = save("other.npz", **dict(zip(keys, (OTHERS, OTHER_LABELS), strict=True)))
    source = source_of(save(images=IMAGES, labels=LABELS), other)
    train, test = parts_of(source)
    assert (len(train.images), len(test.images)) == (24, 6)
    assert source.test_record == other


def test_arrays_may_be_tested_on_a_file_and_a_file_on_arrays(save):
    path = save(images=OTHERS, labels=OTHER_LABELS)
    assert source_of((IMAGES, LABELS), path).num_test == 6
    assert source_of(path, (IMAGES, LABELS)).num_test == 24


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": IMAGES, "labels": LABELS}, " has labels without images; it has labels, pixels"),
        ({"arr_0": IMAGES, "arr_1": LABELS}, " has arr_0, arr_1: name images and labels images and "
         "labels, or x and y, or x_train and y_train, or train_images and train_labels"),
        ({}, " has no arrays: name images and labels"),
        ({"x": IMAGES, "y": LABELS, "images": IMAGES, "labels": LABELS}, " has images and labels "
         "as images, labels and as x, y: leave one pair"),
        ({"x": IMAGES, "y": LABELS, "x_test": OTHERS}, " has x_test without y_test; it has x, "
         "x_test, y"),
        ({"x": IMAGES, "y": LABELS, "x_val": OTHERS[:, :5], "y_val": OTHER_LABELS}, ": x_val and x "
         "have images of other shapes or labels of other types: bring them to the same"),
        ({"x": IMAGES, "y": LABELS, "x_val": OTHERS, "y_val": OTHER_LABELS + 5}, ": no training "
         "image has the label 5, 6"),
        ({"x": IMAGES, "y": LABELS, "x_val": OTHERS, "y_val": LABELS}, ": x_val: 6 images, but 24 "
         "labels"),
        ({"x": IMAGES, "y": LABELS[:9]}, ": 24 images, but 9 labels"),
        ({"x": IMAGES[:, 0], "y": LABELS}, ": images have shape (24, 9): give"),
        ({"x": IMAGES, "y": LABELS.astype(object)}, ": y holds Python objects, which are not read"),
        ({"x": IMAGES, "y": LABELS, "classes": np.array(["cat"])}, ": there are names for 1 "
         "classes"),
    ],
    ids=["half a pair", "without names", "empty", "two pairs", "half a test pair",
         "other size to validate on", "other classes to validate on", "labels to validate on",
         "labels", "shape", "objects", "names"],
)  # fmt: skip
def test_file_that_cannot_be_searched_on_is_refused_in_one_line(save, arrays, message):
    path = save(**arrays)
    with pytest.raises(DataError) as error:
        source_of(path).training_images()
    assert str(error.value).startswith(f"dataset {path}{message}")
    assert "\n" not in str(error.value)


def test_test_images_are_given_once(save):
    path = save(x=IMAGES, y=LABELS, x_test=OTHERS, y_test=OTHER_LABELS)
    with pytest.raises(DataError, match="holds test images of its own: leave out test"):
        source_of(path, (OTHERS, OTHER_LABELS)).training_images()


def test_training_images_of_another_file_are_not_tested_on(save):
    other = save("other.npz", x_train=OTHERS, y_train=OTHER_LABELS)
    with pytest.raises(DataError, match="has x_train, y_train: name images and labels x_test and"):
        source_of(save(x=IMAGES, y=LABELS), other).training_images()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": no such file"),
        (b"", " is no .npz file of numpy: save one with np.savez"),
        (b"cats and dogs", " is no .npz file of numpy"),
        (b"\x80\x04N.", " is no .npz file of numpy"),
        (b"PK\x03\x04 cut short", " is no .npz file of numpy"),
    ],
    ids=["none", "empty", "text", "pickle", "zip"],
)
def test_what_is_no_npz_is_refused(tmp_path, content, message):
    path = tmp_path / "photos.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        source_of(str(path)).training_images()
    assert str(error.value).startswith(f"dataset {path}{message}")
    assert "\n" not in str(error.value)


def test_array_of_another_kind_of_file_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    path = (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"is no \.npz file of numpy"):
        source_of(path).training_images()


def test_damaged_array_is_named(save, tmp_path):
    path = save(x=IMAGES, y=LABELS)
    with zipfile.ZipFile(path) as file:
        offset = file.getinfo("x.npy").header_offset + 200
    data = bytearray((tmp_path / "photos.npz").read_bytes())
    data[offset : offset + 40] = bytes(40)
    (tmp_path / "photos.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"photos\.npz: x cannot be read: "):
        source_of(path).training_images()


def test_folder_may_be_called_like_a_file(tmp_path):
    (tmp_path / "odd.npz").mkdir()
    assert source_of(str(tmp_path / "odd.npz")).is_resizable
