"""Labels of any kind become classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.labels import Classes, as_labels
from nas.errors import DataError


def classes_of(values, names=None):
    labels = as_labels(values, "dataset")
    classes = Classes.of(labels, names, "dataset")
    return classes.numbers(labels, "dataset").tolist(), classes.names, classes.note


@pytest.mark.parametrize(
    "given",
    [
        [2, 0, 1, 2],
        np.array([2, 0, 1, 2], np.uint8),
        np.array([[2], [0], [1], [2]]),
        torch.tensor([2, 0, 1, 2]),
        [torch.tensor(2), torch.tensor(0), torch.tensor(1), torch.tensor(2)],
        np.array([2, 0, 1, 2], object),
    ],
    ids=["list", "uint8", "column", "tensor", "tensors", "objects"],
)
def test_labels_from_0_on_are_the_classes(given):
    assert classes_of(given) == ([2, 0, 1, 2], ("0", "1", "2"), None)


@pytest.mark.parametrize(
    ("given", "numbers", "names"),
    [
        ([7, 3, 7, -1], [2, 1, 2, 0], ("-1", "3", "7")),
        ([1, 2, 1], [0, 1, 0], ("1", "2")),
        ([10, 9, 2], [2, 1, 0], ("2", "9", "10")),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (np.array(["dog", "cat"], object), [1, 0], ("cat", "dog")),
        (np.array([b"dog", b"c\xc3\xa4t"]), [1, 0], ("cät", "dog")),
    ],
    ids=["gaps", "from 1", "sorted as numbers", "strings", "objects", "bytes"],
)
def test_other_labels_become_classes_in_sorted_order_and_a_note_says_so(given, numbers, names):
    note = f"labels become {len(names)} classes in sorted order: {', '.join(names)}"
    assert classes_of(given) == (numbers, names, note)


def test_note_names_eight_classes_at_most():
    note = classes_of(range(5, 25))[2]
    assert note.endswith("sorted order: 5, 6, 7, 8, 9, 10, 11, 12, ...")


def test_truth_values_are_two_classes():
    assert classes_of(np.array([True, False])) == ([1, 0], ("0", "1"), None)


def test_names_are_those_of_the_labels_0_1_2():
    assert classes_of([1, 0, 1], ["cat", "dog", "owl"])[:2] == ([1, 0, 1], ("cat", "dog", "owl"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.eye(4), "labels have shape (4, 4): give one label an image, such as labels.argmax(1)"),
        (np.zeros((2, 2, 2), int), "labels have shape (2, 2, 2): give one label an image"),
        (7, "labels have shape (): give one label an image"),
        ([[1], [2, 3]], "labels are no array: give one label an image"),
        ([0.5, 1.0], "labels are of type float64: give whole numbers or strings, such as "
         "labels.astype(int)"),
        (torch.tensor([0.0]).bfloat16(), "labels are of type float32"),
        (["cat", 1], "labels are of type object: give whole numbers or strings"),
        ([None, "cat"], "labels are of type object"),
        ([2**70, 1], "labels are of type object"),
        (np.array([2**63], np.uint64), "labels are of type uint64"),
    ],
    ids=["one-hot", "more dimensions", "one number", "ragged", "float", "bfloat16", "mixed",
         "missing", "huge", "unsigned and huge"],
)  # fmt: skip
def test_what_are_no_labels_is_refused_in_one_line(given, message):
    with pytest.raises(DataError) as error:
        as_labels(given, "dataset")
    assert str(error.value).startswith(f"dataset: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 9], "test: no training image has the label 9"),
        ([-3, 8, 1], "test: no training image has the label -3, 8"),
        (["0"], "test: labels are strings, those to train on are integers: give the same of both"),
    ],
    ids=["more", "some", "strings"],
)
def test_label_that_was_not_trained_on_is_refused(given, message):
    classes = Classes.of(as_labels([0, 1, 2], "dataset"), None, "dataset")
    with pytest.raises(DataError) as error:
        classes.numbers(as_labels(given, "test"), "test")
    assert str(error.value) == message


@pytest.mark.parametrize("given", [[0, 2], [-1, 0], ["cat", "dog"]], ids=str)
def test_labels_without_a_name_are_refused(given):
    labels = as_labels(given, "dataset")
    with pytest.raises(DataError, match="there are names for 2 classes, so labels are 0 to 1"):
        Classes.of(labels, ["cat", "dog"], "dataset")
