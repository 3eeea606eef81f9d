"""A picture file with its label, and the names of parts such as train and test."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from striate.data.dataset import Split
from striate.data.tree import Entry

PARTS = {
    "train": Split.TRAIN, "training": Split.TRAIN, "test": Split.TEST, "testing": Split.TEST, "val": Split.TEST,
    "valid": Split.TEST, "validation": Split.TEST,
}  # fmt: skip
VALIDATION = ("val", "valid", "validation")
TESTING = ("test", "testing")


@dataclass(frozen=True)
class Picture:
    """A picture file with its class.

    ``entry`` is the file, and ``label`` the name of the class. ``part`` is None if the data are not divided into parts
    for training and testing. ``group`` is the name of the group that must stay in one part, such as a patient, or None.
    """

    entry: Entry
    label: str
    part: Split | None = None
    group: str | None = None


@dataclass(frozen=True)
class Labelled:
    """The pictures of a data set with their labels.

    pictures  the pictures, each with its label
    classes   the names of the classes, in natural order (2 before 12)
    others    the files that are not used
    notes     messages for the user
    unusable  messages about lines of tables that have no picture or no label
    """

    pictures: list[Picture]
    classes: tuple[str, ...]
    others: list[Entry]
    notes: list[str]
    unusable: list[str] = field(default_factory=list[str])


def part_word(name: str) -> str | None:
    """Return the word for training, validation or testing, such as "train" or "val", in the name of a folder or table.

    The names "Train", "test_images" and "seg-val" have such a word. Returns None for a name without one, or with
    several.
    """
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word in PARTS]
    return words[0] if len(words) == 1 else None
