"""The layout of a folder of pictures: which of them are to train on, to validate on, to test on.

    pets/cats/, pets/dogs/                   classes; every sixth picture is kept back to test on
    pets/train/cats/, pets/test/cats/, ...   parts with classes in them; `valid/` may be there, too
    pets/cats/train/, pets/cats/test/, ...   classes with parts in them

What can be read in two ways is refused with both, and with what decides. What may be pictures to
test on is never trained on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nas.data.tree import looks_like_picture

TEST_SHARE = 6  # of class folders alone, every sixth picture of a class is kept back

_NUM_NAMED = 5  # classes in a line


@dataclass(frozen=True)
class Part:
    """Files to train on, to validate on or to test on."""

    name: str  # as it is called, such as `train/`; empty where classes stand alone
    files: tuple[tuple[Path, int], ...]  # with their labels, by class and then by name

    @property
    def num_pictures(self) -> int:
        """By their names."""
        return sum(looks_like_picture(path) for path, _ in self.files)


@dataclass(frozen=True)
class Layout:
    """What was decided of a folder."""

    folder: Path
    classes: tuple[str, ...]
    train: Part
    valid: Part | None = None
    test: Part | None = None
    no_test: str = ""  # where `test` is None: why, as the end of a sentence
    notes: tuple[str, ...] = ()  # what was left out

    @property
    def is_flat(self) -> bool:
        """Class folders alone, of which every sixth picture is kept back."""
        return not self.train.name

    @property
    def kept_back(self) -> tuple[int, ...]:
        """Of each class, how many files are kept back to test on; empty where parts are given."""
        if not self.is_flat or self.test is None:
            return ()
        counts = Counter(label for _, label in self.test.files)
        return tuple(counts[label] for label in range(len(self.classes)))

    def text(self, num_train: int, num_valid: int) -> str:
        """The decision in a line, with the pictures that could be read."""
        num_test = self.test.num_pictures if self.test else 0
        num_classes = len(self.classes)
        if self.is_flat:
            more = ", ..." if num_classes > _NUM_NAMED else ""
            names = ", ".join(self.classes[:_NUM_NAMED]) + more
            return (
                f"{num_train + num_test:,} images of {num_classes} classes ({names}), of which "
                f"{num_test:,} are kept back to test on"
            )
        counts = [f"{self.train.name} {num_train:,}"]
        counts += [f"{self.valid.name} {num_valid:,}"] if self.valid else []
        counts += [f"{self.test.name} {num_test:,}"] if self.test else []
        text = f"{', '.join(counts)} images of {num_classes} classes"
        if self.valid:
            text += f"; the search validates on {self.valid.name}"
        return text if self.test else f"{text}; {self.no_test}"
