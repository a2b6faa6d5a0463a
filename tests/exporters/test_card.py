"""The model card: what stands in it, and that nobody's text breaks out of its place."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from nas.exporters import c, pytorch
from nas.exporters.card import Result, card
from nas.exporters.contract import Proof, Subject, Written
from nas.exporters.provenance import Provenance
from nas.storage.studies import DataFacts
from tests.exporters.networks import NETWORKS, build, images
from tests.exporters.test_pytorch import HOSTILE


def text_of(name="digits-5k", classes=("a", "b", "c"), results=None, prepared=None, **values):
    architecture, model = build(NETWORKS["blocks"])
    x = images(10)
    facts = DataFacts(name, None, "1/12", 0, (1, 9, 9), classes, (0.3,), (0.2,), 100, 10)
    made = Provenance(name, 7, name, 0.9876, 10, 19, 19, 42, {"nas": "0.1.0"}, prepared)
    subject = Subject(
        architecture, model, model.state_dict(), made, facts, x, model(x.float()), 2, x
    )
    search = f"nas search --study {shlex.quote(name)}"
    scores = Written(subject.scores, (("int8 weights", "9 bytes"),))
    results = results or [
        Result("pytorch", pytorch, scores, Proof((f"pytorch: {name}",)), 0.9876, 0),
        Result("c", c, scores, Proof(("c: not compiled",)), 0.98, 3),
    ]
    given = {"certificate": ["Trained again: 98 %"], "num_checked": 10, "notes": ["c is worse"]}
    return card(subject, results, search, **given | values)


def front_matter(text):
    _, head, body = text.split("---\n", 2)
    return head.splitlines(), body


def test_front_matter_has_licence_pipeline_tag_metrics_and_both_accuracies():
    head, _ = front_matter(text_of())
    for line in ("license: other", "pipeline_tag: image-classification", "- accuracy", "- int8"):
        assert line in head
    assert "      value: 0.987600" in head
    assert '      name: "validation accuracy, int8 (c)"' in head


def test_data_set_is_named_where_it_is_known_by_that_name():
    assert "- mnist" in front_matter(text_of("mnist"))[0]
    assert "datasets:" not in front_matter(text_of("my folder"))[0]


def test_body_says_counts_accuracy_certificate_classes_input_and_how_it_was_found():
    _, body = front_matter(text_of())
    for words in (
        "| parameters | ", "| int8 weights | 9 bytes |", "99% of 10 validation images",
        "Trained again: 98 %", "> c is worse", "`a`, `b`, `c`", "1x9x9 pixels", "seed 42",
        "Trial 7 of `nas search --study digits-5k`.", "#include \"net.h\"", "not thread-safe",
        "AVR is not supported",
    ):  # fmt: skip
        assert words in body


def test_card_says_how_files_become_images_where_they_did():
    assert "- From files: grey, cropped.\n" in text_of(prepared="grey, cropped")
    assert "From files" not in text_of()


def test_without_a_certificate_the_card_says_so():
    assert "No certificate" in text_of(certificate=[])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name):
    text = text_of(name, (name, "b", "c"))
    tame = text_of("x", ("x", "b", "c"))
    head, body = front_matter(text)
    assert len(text.splitlines()) == len(tame.splitlines())
    assert [line for line in body.splitlines() if line.startswith("#")][1:] == [
        line for line in front_matter(tame)[1].splitlines() if line.startswith("#")
    ][1:]
    (quoted,) = (re.match(r"- name: (.*)", line)[1] for line in head if line.startswith("- name"))
    assert json.loads(quoted) == f"{name}-trial-7"


def test_command_keeps_the_letters_of_every_language_and_ends_nothing():
    assert "of `nas search --study 'Früchte 猫'`." in text_of("Früchte 猫")
    assert "of `nas search --study 'a?b?'`." in text_of("a`b\u202e")
