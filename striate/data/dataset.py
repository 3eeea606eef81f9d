"""A data set in memory: inputs, labels, the names of the classes.

inputs  (N, C, H, W) pictures, and likewise (N, D) features, (N, C, L) sequences, (N, C, D, H, W) volumes
labels  (N,) whole numbers from 0 to len(classes) - 1
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import DataError, DTypeError, LabelError, unknown_option

Array = npt.NDArray[Any]

_CHUNK = 1 << 22  # elements looked at together, so that a check costs no second copy of the data


class Split(Enum):
    """The part that a network learns from, and the part that it is judged by."""

    TRAIN = "train"
    TEST = "test"

    @classmethod
    def parse(cls, name: Split | str) -> Split:
        """Raises ``OptionError`` for an unknown name."""
        if isinstance(name, Split):
            return name
        try:
            return cls(name)
        except ValueError:
            raise unknown_option("split", name, [split.value for split in cls]) from None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked, contiguous inputs and labels.

    ``images`` stays uint8 or becomes float32; ``labels`` becomes int64. Without ``classes`` they are named "0", "1", …
    up to the largest label.

    Raises ``DataError`` for empty data, unequal lengths, channels-last pictures, NaN or infinity (with the first
    index), ``DTypeError`` for inputs that are no numbers, ``LabelError`` for a label that is out of range or no whole
    number (with its index).

    >>> Dataset(np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]))
    Dataset('data', 2 × (1, 8, 8) uint8, 2 classes)
    """

    images: Array
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...] = ()
    name: str = "data"

    def __post_init__(self) -> None:
        images = np.asarray(self.images)
        if images.ndim < 2 or images.shape[0] == 0 or images.size == 0:
            raise DataError(
                f"{self.name}: nothing to learn from in inputs of shape {images.shape}\n"
                "  wanted: (N, C, H, W) pictures or (N, D) features with N ≥ 1"
            )
        check_channels_first(images, self.name)
        images = as_numbers(images, self.name)
        check_finite(images, self.name)
        labels = check_labels(self.labels, len(self.classes) or None, self.name)
        if len(labels) != len(images):
            raise DataError(f"{self.name}: {len(images)} inputs, but {len(labels)} labels; each input needs one")
        classes = tuple(self.classes) or tuple(str(number) for number in range(int(labels.max()) + 1))
        for attribute, value in (("images", images), ("labels", labels), ("classes", classes)):
            object.__setattr__(self, attribute, value)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape, dtype = self.images.shape[1:], self.images.dtype
        return f"Dataset({self.name!r}, {len(self)} × {shape} {dtype}, {len(self.classes)} classes)"

    def subset(self, index: npt.ArrayLike) -> Dataset:
        """The samples at ``index`` (whole numbers or a mask), in its order."""
        chosen = np.asarray(index)
        return Dataset(self.images[chosen], self.labels[chosen], self.classes, self.name)


def as_numbers(images: Array, name: str) -> Array:
    """uint8 stays uint8, every other real number becomes float32; C-contiguous."""
    if images.dtype.kind not in "buif":
        raise DTypeError(f"{name}: inputs of type {images.dtype} are no real numbers; wanted uint8 or float32")
    with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, which the next check names
        return np.ascontiguousarray(images, dtype=np.uint8 if images.dtype == np.uint8 else np.float32)


def check_channels_first(images: Array, name: str) -> None:
    """Pictures as most image libraries give them, (N, H, W, C), are refused with the line that turns them round."""
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or min(images.shape[1:3]) <= 4:
        return
    n, h, w, c = images.shape
    raise DataError(
        f"{name}: inputs of shape {images.shape} look like channels-last pictures (N, H, W, C)\n"
        f"  striate wants (N, C, H, W) = ({n}, {c}, {h}, {w})\n"
        "  help: images.transpose(0, 3, 1, 2)"
    )


def check_finite(images: Array, name: str) -> None:
    """Raises ``DataError`` with the index of the first NaN or infinity."""
    if images.dtype.kind != "f":
        return
    rows = max(1, _CHUNK // max(1, images[0].size))
    for start in range(0, len(images), rows):
        chunk = images[start : start + rows]
        bad = ~np.isfinite(chunk)
        if bad.any():
            first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
            where = ", ".join(str(i) for i in (first[0] + start, *first[1:]))
            raise DataError(f"{name}: inputs[{where}] is {chunk[first]}; every number must be finite")


def check_labels(labels: npt.ArrayLike, classes: int | None, name: str = "data") -> npt.NDArray[np.int64]:
    """(N,) int64 from labels in 0 … classes-1, or ``LabelError`` with the index of the first that is not.

    Without ``classes`` only negative labels are out of range.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        one_hot = " (one-hot labels? labels.argmax(axis=1))" if array.ndim == 2 and array.shape[1] > 1 else ""
        raise LabelError(f"{name}: labels of shape {array.shape}; wanted (N,), one whole number each{one_hot}")
    if array.dtype.kind not in "ui":
        index = _first_fraction(array)
        raise LabelError(
            f"{name}: labels[{index}] = {array[index] if array.size else array} is of type {array.dtype}; "
            "labels are whole numbers\n  help: labels.astype(np.int64), if they are classes"
        )
    bad = (array < 0) if classes is None else (array < 0) | (array >= classes)
    if bad.any():
        index = int(np.argmax(bad))
        known = "0 or more" if classes is None else f"0 … {classes - 1}, the {classes} classes"
        raise LabelError(f"{name}: labels[{index}] = {array[index]} is out of range; wanted {known}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _first_fraction(array: Array) -> int:
    """The first label that is no whole number even by value; 0 where only the type is wrong."""
    return int(np.argmax(array != np.floor(array))) if array.dtype.kind == "f" and array.size else 0
