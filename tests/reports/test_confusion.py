"""What a network takes for what."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from PIL import Image

from nas.reports.confusion import MOST_CLASSES, Predictions, confusion_plot
from nas.reports.picture import Text
from nas.reports.plots import NARROW, WIDE


def made(classes, labels, predicted, shape=(1, 8, 8)):
    images = torch.arange(len(labels) * 64 * shape[0]).remainder(256).to(torch.uint8)
    images = images.reshape(len(labels), shape[0], 8, 8)
    probabilities = torch.linspace(0.5, 0.9, len(labels))
    return Predictions(
        classes, images, torch.tensor(labels), torch.tensor(predicted), probabilities
    )


def texts(picture):
    return [mark.text for mark in picture.marks if isinstance(mark, Text)]


def test_mistakes_are_counted_and_the_surest_come_first():
    found = made(("cat", "dog"), [0, 0, 1, 1], [0, 1, 0, 1])
    assert found.num_wrong == 2
    assert found.counts == {(0, 0): 1, (0, 1): 1, (1, 0): 1, (1, 1): 1}
    first, second = found.mistakes(10)
    assert (first.label, first.predicted) == ("dog", "cat")
    assert first.probability > second.probability
    assert [mistake.label for mistake in found.mistakes(1)] == [first.label]


@pytest.mark.parametrize("channels", [1, 3])
def test_image_of_a_mistake_is_the_image(channels):
    found = made(("a", "b"), [0], [1], (channels, 8, 8))
    data = base64.b64decode(found.mistakes(1)[0].url.partition(",")[2])
    image = Image.open(io.BytesIO(data))
    assert image.size == (8, 8)
    assert image.getbands() == (("L",) if channels == 1 else ("R", "G", "B"))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_matrix_has_a_cell_for_each_confusion(width):
    picture = confusion_plot(made(("cat", "dog"), [0, 0, 0, 1], [0, 1, 1, 1]), width)
    assert texts(picture).count("2") == 1
    assert "2 errors in 4 validation images" in picture.caption
    assert picture.width <= width
    assert "cat taken for dog: 2" in picture.description


def test_long_names_of_columns_become_first_words_or_numbers():
    words = [f"{i} - a long name" for i in range(10)]
    assert "3" in texts(confusion_plot(made(tuple(words), [0], [1])))
    same = tuple(f"the same beginning {i}" for i in range(10))
    assert "4 the same beginning 3" in texts(confusion_plot(made(same, [0], [1]), 720.0))


def test_of_many_classes_those_with_the_most_errors_are_drawn():
    classes = tuple(f"class{i}" for i in range(100))
    picture = confusion_plot(made(classes, [99, 99, 5], [98, 98, 5]))
    assert f"{MOST_CLASSES} with the most errors" in picture.caption
    assert any("class99" in text for text in texts(picture))
