"""The model card of an export: README.md with the front matter that Hugging Face reads.

https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.data import NAMES
from nas.errors import files_beside
from nas.exporters.contract import Format, Proof, Subject, Written
from nas.exporters.provenance import plain, times
from nas.metrics import percent


@dataclass(frozen=True)
class Result:
    """What an export holds in one format, and how it was proved."""

    name: str
    format: Format
    written: Written
    proof: Proof
    accuracy: float | None  # 0..1, of the validation images
    num_other_labels: int  # beside those of the network as it was trained

    @property
    def figures(self) -> dict[str, Any]:
        return self.written.figures | self.proof.figures


def card(
    subject: Subject,
    results: Sequence[Result],
    search: str | None,
    certificate: Sequence[str],
    num_checked: int,
    notes: Sequence[str],
) -> str:
    """The text of README.md.

    Args:
        results: one for each format, in order.
        search: the command that repeats the search, where that is known.
        certificate: lines on what the network reached when it was trained again.
        num_checked: images that were compared.
        notes: what its user should know.
    """
    architecture, facts, origin = subject.architecture, subject.facts, subject.provenance
    classes = ", ".join(_code(name) for name in facts.classes)
    parts = [
        _front_matter(subject, results),
        f"# {plain(origin.study)}, trial {origin.trial}\n",
        f"A convolutional network of {architecture.num_params:,} parameters that tells "
        f"{architecture.num_classes} classes of {times(architecture.input_shape)} images apart "
        "(channels x height x width).\n",
        _table(subject, results),
        *(f"> {_text(note)}\n" for note in notes),
        "## Use\n",
        "Images are pixels of 0 to 255: in PyTorch `normalise` prepares them, every other format "
        "does so itself.\n",
        *(f"### {result.name}\n\n{result.format.USAGE}" for result in results),
        "## Input and output\n",
        f"- Input: {times(architecture.input_shape)} pixels of 8 bits, normalised by "
        f"mean {_numbers(facts.mean)} and standard deviation {_numbers(facts.std)} of 0 to 1.\n"
        + (f"- From files: {_text(origin.images)}.\n" if origin.images else "")
        + f"- Output: a score (logit) for each class, in this order: {classes}.\n",
        "## Proof\n",
        f"When it was exported, on {num_checked:,} images:\n",
        "\n".join(f"- {_text(line)}" for result in results for line in result.proof.lines) + "\n",
        "`nas verify` proves this folder again by its hashes, its counts and the scores of its "
        "stored images; `sha256sum -c SHA256SUMS` compares the hashes alone.\n",
        "## Accuracy\n",
        _accuracy(subject, results, certificate),
        "## How it was found\n",
        _search(subject, search),
        "## Licence\n",
        "Who trained the network chooses its licence, and has not done so here. The code in this "
        "folder that `nas` wrote is under the MIT licence.\n",
    ]
    return "\n".join(parts)


def _front_matter(subject: Subject, results: Sequence[Result]) -> str:
    origin = subject.provenance
    name = f"{origin.study}-trial-{origin.trial}"
    lines = ["license: other", "license_name: not-chosen"]
    lines += ["pipeline_tag: image-classification", "tags:", "- neural-architecture-search"]
    lines += dict.fromkeys(f"- {tag}" for result in results for tag in result.format.TAGS)
    if origin.dataset in NAMES:
        lines += ["datasets:", f"- {origin.dataset}"]
    lines += ["metrics:", "- accuracy"]
    measured = [result for result in results if result.accuracy is not None]
    if measured:
        lines += [
            "model-index:", f"- name: {_yaml(name)}", "  results:", "  - task:",
            "      type: image-classification", "    dataset:",
            f"      name: {_yaml(origin.dataset)}", f"      type: {_yaml(origin.dataset)}",
            "      split: validation", "    metrics:",
        ]  # fmt: skip
    for result in measured:
        lines += ["    - type: accuracy", f"      value: {result.accuracy:.6f}"]
        lines += [f"      name: {_yaml(f'validation accuracy, {_numbers_of(result)}')}"]
    return "\n".join(["---", *lines, "---", ""])


def _table(subject: Subject, results: Sequence[Result]) -> str:
    rows = [
        ("parameters", f"{subject.architecture.num_params:,}"),
        ("multiply-accumulates an image", f"{subject.architecture.num_macs:,}"),
    ]
    for result in results:
        rows += result.written.rows + result.proof.rows
        if result.accuracy is not None:
            rows.append(
                (
                    f"validation accuracy, {_numbers_of(result)}",
                    percent(result.accuracy, subject.provenance.num_valid),
                )
            )
    return "\n".join(
        ["| | |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows), ""]
    )


def _accuracy(subject: Subject, results: Sequence[Result], certificate: Sequence[str]) -> str:
    lines, num_valid = [], subject.provenance.num_valid
    if subject.provenance.certified is not None:
        lines.append(f"- As exported: {_text(subject.provenance.certified.text)}.")
    if subject.provenance.valid_accuracy is not None:
        lines.append(
            f"- In the search: {percent(subject.provenance.valid_accuracy, num_valid)} of "
            f"{num_valid:,} validation images, after "
            f"{subject.provenance.schedule}. One training, chosen as the best of many: a little "
            "flattering."
        )
    for result in results:
        if result.accuracy is not None:
            lines.append(
                f"- `{result.name}`, as exported: {percent(result.accuracy, num_valid)} of the "
                "validation images; labels unlike those of the trained network: "
                f"{result.num_other_labels:,}."
            )
    lines += [f"- {_text(line)}" for line in certificate]
    if not certificate:
        lines.append("- No certificate: it was not trained again (`nas certify`).")
    return "\n".join(lines) + "\n"


def _search(subject: Subject, search: str | None) -> str:
    origin = subject.provenance
    num_train = origin.certified.num_train if origin.certified else subject.facts.num_train
    lines = []
    if search is not None:
        files = " and ".join(_code(name) for name in files_beside(search))
        where = f", in a folder that holds {files}" if files else ""
        lines.append(f"- Trial {origin.trial} of {_code(search)}{where}.")
    lines += [
        f"- Trained with seed {origin.seed} on {num_train:,} images of "
        f"{_code(origin.dataset)}; no test image was opened by the search.",
        "- Made with "
        + ", ".join(f"{plain(k)} {plain(v)}" for k, v in origin.versions.items())
        + ". `spec.json` has the layers and the recipe.",
    ]
    return "\n".join(lines) + "\n"


def _numbers_of(result: Result) -> str:
    return f"{result.format.NUMBERS} ({result.name})"


def _yaml(text: str) -> str:
    """A string of JSON is one of YAML, too."""
    return json.dumps(text)


def _code(text: str) -> str:
    """Anybody's text as code in Markdown: one line without what ends it."""
    return f"`{''.join(c if c.isprintable() and c not in '`|' else '?' for c in text)}`"


def _text(text: str) -> str:
    """A line of ours that may quote what programs say, without Markdown in it."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
