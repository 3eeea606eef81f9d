"""Notes about samples that occur twice: in both parts of a data set, or under two labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Array
from striate.data.likeness import content_key, equal_groups

_LISTED = 3


def repeated(
    images: Array, labels: Array, train: npt.NDArray[np.int64], held_out: npt.NDArray[np.int64], names: Sequence[str],
    unit: str, path: Path,
) -> list[str]:  # fmt: skip
    """Return notes for the user about equal samples that are in both parts, or that have different labels.

    images, labels   the samples of both parts and their labels; labels that are not class numbers are not compared
    train, held_out  the indices of the samples in each part
    names            the name of each sample, such as its file or line
    unit             the word for a sample, such as "picture"
    path             the path of the data set, which appears in the notes
    """
    groups = equal_groups(content_key(image) for image in images)
    if not groups:
        return []
    learned, held = set(train.tolist()), set(held_out.tolist())
    across = [group for group in groups if not learned.isdisjoint(group) and not held.isdisjoint(group)]
    classes = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    under_two = [group for group in groups if classes and len({int(labels[place]) for place in group}) > 1]
    notes: list[str] = []
    for found, text in ((across, "in both parts"), (under_two, "under two labels")):
        if found:
            shown = "; ".join(" = ".join(names[place] for place in group[:2]) for group in found[:_LISTED])
            more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            notes.append(f"{len(found):,} {unit}{'s are' if len(found) > 1 else ' is'} {text}: {shown}{more}")
    return [f"{note} (striate data {path} lists all)" for note in notes]
