"""A data set in memory: inputs, labels, and the names of the classes.

inputs  pictures (N, C, H, W), tables (N, D), sequences (N, C, L) or volumes (N, C, D, H, W)
labels  class numbers (N,) from 0 to len(classes) - 1, or other targets that a loss compares with predictions:
        numbers (N,) or (N, k), several yes-or-no labels (N, k), class numbers of positions (N, H, W)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt

from striate import habits
from striate.arguments import Explained
from striate.errors import DataError, DTypeError, LabelError, OptionError, unknown_option
from striate.graph.array import unmasked
from striate.options import flag

Array = npt.NDArray[Any]

MOST_CLASSES = 1_000_000  # limit where the number is not given, so that a stray label cannot allocate huge arrays
_CHUNK = 1 << 22  # elements checked together, so that a check needs no second copy of the data
_LARGEST = float(np.finfo(np.float32).max)
_LOST = 0.1  # standard deviations: the rounding error that a feature may have


class Split(Enum):
    """The two parts of a data set: TRAIN to learn from, TEST to evaluate on."""

    TRAIN = "train"
    TEST = "test"

    @classmethod
    def parse(cls, name: Split | str) -> Split:
        """Return the split with this name, "train" or "test"; raises ``OptionError`` for any other name."""
        if isinstance(name, Split):
            return name
        try:
            return cls(name)
        except ValueError:
            raise unknown_option("split", name, [split.value for split in cls]) from None


@dataclass(frozen=True, eq=False)
class Dataset(metaclass=Explained):
    """Inputs and labels in memory, checked and contiguous.

    images          (N, …) numbers of any strides and byte order; uint8 stays uint8, all others become float32
    labels          integers (N,) are class numbers and become int64. Floats are regression targets and become float32;
                    convert integers that are regression targets by ``astype(np.float32)``. Integers and bools with more
                    axes, such as yes-or-no labels (N, k), become uint8 or int64
    classes         names of the classes, if the labels are class numbers. The default for labels (N,) of integers is
                    "0", "1", … up to the largest label
    name            name of the data set in messages
    channels_first  True accepts inputs as (N, C, H, W) even if their shape looks like (N, H, W, C)
    files           the file that each sample was read from, for messages; () if there are no files

    Raises ``DataError`` for empty data, unequal lengths, channels-last pictures, NaN, infinity, and float64 data for
    which float32 has too few digits; ``DTypeError`` for inputs that are not numbers; ``LabelError`` for a label that is
    out of range or not an integer. The message has the index of the first wrong number.

    >>> Dataset(np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]))
    Dataset('data', 2 × (1, 8, 8) uint8, 2 classes)
    """

    images: Array
    labels: Array
    classes: tuple[str, ...] = ()
    name: str = "data"
    channels_first: bool = False
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = as_array(self.images, self.name)
        if given.ndim < 2 or given.size == 0:
            raise DataError(
                f"{self.name}: nothing to learn from in inputs of shape {given.shape}\n"
                "  expected: (N, C, H, W) pictures or (N, D) features with N ≥ 1"
            )
        if not flag("channels_first", self.channels_first):
            check_channels_first(given, self.name)
        require_real(given, self.name)
        check_finite(given, self.name)
        images = _stored(given)
        check_digits(given, images, self.name)
        classes = class_names(self.classes)
        labels = stored_labels(self.labels, len(classes) or None, self.name)
        if len(labels) != len(images):
            raise DataError(f"{self.name}: {len(images)} inputs, but {len(labels)} labels; each input needs one")
        if self.files and len(self.files) != len(images):
            raise DataError(f"{self.name}: {len(images)} inputs, but {len(self.files)} files; each input needs one")
        if labels.ndim == 1 and labels.dtype == np.int64:
            classes = classes or tuple(str(number) for number in range(int(labels.max()) + 1))
        for attribute, value in (("images", images), ("labels", labels), ("classes", classes)):
            object.__setattr__(self, attribute, value)

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, place: int) -> tuple[Array, Array]: ...
    @overload
    def __getitem__(self, place: slice) -> Dataset: ...
    def __getitem__(self, place: int | slice) -> tuple[Array, Array] | Dataset:
        """Return the input and the label of one sample or, for a slice, a data set of its samples.

        Index −1 is the last sample. Raises ``IndexError`` for a sample that does not exist.
        """
        if isinstance(place, slice):
            return self.subset(np.arange(len(self))[place])
        return self.images[place], self.labels[place]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return zip(self.images, self.labels, strict=True)

    def __getattr__(self, name: str) -> object:
        raise habits.missing("Dataset", name, dir(type(self)), habits.DATASET)

    def __repr__(self) -> str:
        shape, dtype = self.images.shape[1:], self.images.dtype
        targets = f"{len(self.classes)} classes" if self.classes else f"targets {self.labels.shape[1:]}"
        return f"Dataset({self.name!r}, {len(self)} × {shape} {dtype}, {targets})"

    @property
    def unit(self) -> str:
        """The word for one sample in messages: "image" for samples (C, H, W), else "sample"."""
        return "image" if self.images.ndim == 4 else "sample"

    @property
    def is_classification(self) -> bool:
        """Whether the labels are class numbers, int64 (N,)."""
        return self.labels.ndim == 1 and self.labels.dtype == np.int64

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """Return the data set with its labels changed to indices into ``classes``, matched by class name.

        A data set whose classes are named only by numbers, or whose labels are not class numbers, is returned
        unchanged. Raises ``DataError`` for a class that is not among ``classes``.
        """
        names = tuple(classes)
        unnamed = self.classes == tuple(str(number) for number in range(len(self.classes)))
        if not names or names == self.classes or unnamed or not self.is_classification or self.labels.ndim != 1:
            return self
        if unknown := [name for name in self.classes if name not in names]:
            raise DataError(
                f"{self.name}: the model does not know the class{'es' if len(unknown) > 1 else ''} "
                f"{', '.join(unknown[:5])}\n  its classes are {', '.join(names[:20])}\n"
                "  help: rename the classes as they were in training, or give other data"
            )
        numbers = np.array([names.index(name) for name in self.classes], np.int64)
        return replace(self, labels=numbers[self.labels], classes=names)

    def subset(self, index: npt.ArrayLike) -> Dataset:
        """Return a data set of the samples at ``index``, in that order; the data are copied.

        ``index`` is an array of integers (K,), where −1 is the last sample, or a mask (N,) of bools. Raises
        ``DataError`` if no sample is selected, or if a selected sample does not exist.
        """
        chosen = _chosen(np.asarray(index), len(self), self.name)
        files = tuple(self.files[int(place)] for place in chosen.tolist()) if self.files else ()
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], files=files)

    def sample_name(self, place: int) -> str:
        """Return the name of the sample at this index for messages: its file, or else the index."""
        return self.files[place] if self.files else str(place)


_CURES = {
    "Opened": "give its parts: fit(found.train, found.held_out, epochs=10)",
    "str": "st.data.open_data(name).train",
    "PosixPath": "st.data.open_data(path).train",
}
"""What to give instead of objects that are often given as a data set, by the names of their classes."""


def require_dataset(data: object, what: str = "data") -> None:
    """Raise ``OptionError`` unless ``data`` is a ``Dataset``; ``what`` is the name of the parameter in the message."""
    if not isinstance(data, Dataset):
        raise OptionError(
            f"{what}: expected a Dataset, not {type(data).__name__}\n"
            f"  help: {_CURES.get(type(data).__name__, 'st.data.Dataset(images, labels)')}"
        )


def require_classes(data: object, what: str = "data") -> None:
    """Raise ``OptionError`` unless ``data`` is a ``Dataset`` whose labels are class numbers.

    ``what`` is the name of the parameter in the message.
    """
    require_dataset(data, what)
    if isinstance(data, Dataset) and not data.is_classification:
        raise OptionError(
            f"{what}: {data!r} has no class numbers, which this needs\n"
            "  help: labels (N,) of whole numbers, or st.Trainer.evaluate for the loss"
        )


def _chosen(index: Array, count: int, name: str) -> npt.NDArray[np.int64]:
    """Return the indices (K,), from 0 to count - 1 and K ≥ 1, that an index array or a mask selects."""
    if index.dtype == np.bool_ and index.shape == (count,):
        index = np.flatnonzero(index)
    if index.ndim != 1 or index.dtype.kind not in "ui":
        if index.size:
            raise DataError(
                f"{name}: a subset is chosen by whole numbers (K,) or a mask ({count},), "
                f"not by {index.dtype} of shape {index.shape}"
            )
        index = np.empty(0, np.int64)
    if index.size == 0:
        raise DataError(f"{name}: a subset without samples; choose one or more of the {count}")
    bad = (index < -count) | (index >= count)
    if bad.any():
        raise DataError(f"{name}: no sample {index[int(np.argmax(bad))]}; the {count} samples are 0 … {count - 1}")
    return np.where(index < 0, index + count, index).astype(np.int64)


def as_array(images: npt.ArrayLike, name: str) -> Array:
    """Return the inputs as an array; ``name`` is that of the data set in messages.

    Raises ``DTypeError`` for inputs that do not form an array, such as lists of different lengths.
    """
    try:
        return unmasked(images, f"{name}: inputs")
    except DTypeError:
        raise
    except (ValueError, TypeError) as error:
        raise DTypeError(f"{name}: inputs of different lengths are not an array ({error})") from error


def _stored(images: Array) -> Array:
    """Return inputs as uint8 (if they are uint8) or float32, C-contiguous, in this machine's byte order."""
    return np.ascontiguousarray(images, dtype=np.uint8 if images.dtype == np.uint8 else np.float32)


def require_real(images: Array, name: str) -> None:
    """Raise ``DTypeError``, which names the data set ``name``, unless the elements are real numbers or bools."""
    if images.dtype.kind not in "buif":
        raise DTypeError(
            f"{name}: inputs of type {images.dtype} are not real numbers\n"
            "  help: images.astype(np.float32), or images.real of complex numbers"
        )


def class_names(names: object) -> tuple[str, ...]:
    """Return the class names as a tuple of strings; raises ``OptionError`` unless all are different."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise OptionError(f"classes={names!r}; expected a list of names, such as ('cat', 'dog')")
    found = tuple(str(name) for name in cast("Iterable[object]", names))
    repeated = next((name for name, count in Counter(found).items() if count > 1), None)
    if repeated is not None:
        raise OptionError(f"two classes are named {repeated!r}; expected a different name for each class")
    return found


def looks_channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether ``shape``, with N as its first size, looks like that of channels-last pictures (N, H, W, C)."""
    return len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 4


def check_channels_first(images: Array, name: str) -> None:
    """Raise ``DataError`` for inputs whose shape looks like channels-last pictures (N, H, W, C).

    ``name`` is that of the data set in the message.
    """
    if not looks_channels_last(images.shape):
        return
    n, h, w, c = images.shape
    raise DataError(
        f"{name}: inputs of shape {images.shape} look like channels-last pictures (N, H, W, C)\n"
        f"  expected: (N, C, H, W) = ({n}, {c}, {h}, {w})\n"
        f"  help: images.transpose(0, 3, 1, 2), or Dataset(…, channels_first=True) if they have {h} channels"
    )


def check_finite(images: Array, name: str) -> None:
    """Raise ``DataError``, with the index, for the first NaN, infinity, or number too large for float32.

    ``name`` is that of the data set in the message.
    """
    if images.dtype.kind != "f":
        return
    wide = images.dtype.itemsize > 4
    for start, chunk in chunks(images):
        bad = ~(np.abs(chunk) <= _LARGEST) if wide else ~np.isfinite(chunk)
        if bad.any():
            first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
            where = ", ".join(str(i) for i in (first[0] + start, *first[1:]))
            what = f"{chunk[first]}; every number must be finite"
            if np.isfinite(chunk[first]):
                what += f" and at most {_LARGEST:.3g}, the largest of float32"
            raise DataError(f"{name}: inputs[{where}] is {what}")


def check_digits(given: Array, images: Array, name: str) -> None:
    """Raise ``DataError`` if the differences between samples were lost when they were rounded to float32.

    The error is raised if the rounding error of a feature or channel exceeds a tenth of its standard deviation.
    Constant features are not checked. ``given`` are the inputs before rounding, and ``images`` the inputs after it;
    ``name`` is that of the data set in the message.
    """
    if np.can_cast(given.dtype, images.dtype):
        return
    features, axes = given.shape[1], (0, *range(2, given.ndim))
    start = given[(slice(0, 1), slice(None), *(slice(0, 1),) * (given.ndim - 2))].astype(np.float64)
    lost, total, squares = np.zeros(features), np.zeros(features), np.zeros(features)
    for first, chunk in chunks(given):
        wide = chunk.astype(np.float64)
        np.maximum(lost, np.abs(wide - images[first : first + len(chunk)]).max(axis=axes), out=lost)
        wide -= start  # relative to the first value, so that a large mean costs no precision
        total += wide.sum(axis=axes)
        squares += (wide * wide).sum(axis=axes)
    n = given.size // features
    deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
    bad = (lost > _LOST * deviation) & (deviation > 0)
    if bad.any():
        feature = int(np.argmax(bad))
        raise DataError(
            f"{name}: feature {feature} has a standard deviation of {deviation[feature]:.3g}, "
            f"and float32 rounds its values by up to {lost[feature]:.3g}\n"
            "  help: Standardizer.fit(images).transform(images) in float64, before the data set is made"
        )


def chunks(images: Array) -> Iterator[tuple[int, Array]]:
    """Yield blocks of consecutive samples, small enough to copy, each as (index of the first sample, samples)."""
    rows = max(1, _CHUNK // max(1, images[0].size))
    for start in range(0, len(images), rows):
        yield start, images[start : start + rows]


def stored_labels(labels: npt.ArrayLike, classes: int | None, name: str = "data") -> Array:
    """Return labels in the dtype of a data set: class numbers int64, floats float32, others uint8 or int64.

    ``classes`` is the number of classes, if the labels are known to be class numbers; else None. Raises ``LabelError``,
    with the index, for the first invalid label; ``name`` is that of the data set in the message.
    """
    array = _as_labels(labels, name)
    if array.ndim > 1 and array.dtype.kind in "uib" and (classes is None or (array.ndim, array.shape[1]) != (2, 1)):
        kept = np.ascontiguousarray(
            array, np.uint8 if array.dtype.itemsize == 1 and array.dtype.kind in "ub" else np.int64
        )
        if classes is not None:
            _require_range((kept < 0) & (kept != LEFT_OUT) | (kept >= classes), kept, classes, name)
        return kept
    if array.dtype.kind != "f" or classes is not None or array.ndim == 0:
        return check_labels(array, classes, name)
    with np.errstate(over="ignore"):
        kept = np.ascontiguousarray(array, np.float32)
    bad = ~np.isfinite(kept)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise LabelError(
            f"{name}: labels[{', '.join(map(str, place))}] = {array[place]}; every target must be finite in float32"
        )
    return kept


LEFT_OUT = -100
"""The label of positions that losses ignore: PyTorch's default of ``ignore_index``."""


def _as_labels(labels: npt.ArrayLike, name: str) -> Array:
    """Return labels as an array; raises ``LabelError`` for anything that is not one."""
    try:
        return unmasked(labels, f"{name}: labels")
    except DTypeError:
        raise
    except (ValueError, TypeError) as error:
        raise LabelError(f"{name}: labels of different lengths are not an array ({error})") from error


def check_labels(labels: npt.ArrayLike, classes: int | None, name: str = "data") -> npt.NDArray[np.int64]:
    """Return class numbers as int64 (N,); raises ``LabelError`` with the index of the first invalid one.

    Valid numbers are 0 … classes − 1, or 0 … 999,999 if ``classes`` is None. Bools count as 0 and 1. ``name`` is that
    of the data set in the message.
    """
    array = _as_labels(labels, name)
    if array.ndim != 1:
        one_hot = array.ndim == 2 and array.shape[1] > 1
        cure = "labels.argmax(axis=1), if they are one-hot" if one_hot else "labels.reshape(-1), if each input has one"
        raise LabelError(
            f"{name}: labels of shape {array.shape}; expected (N,), one whole number each"
            + (f"\n  help: {cure}" if array.ndim else "")
        )
    if array.dtype.kind not in "uib":
        raise _not_whole(array, name)
    limit = MOST_CLASSES if classes is None else classes
    _require_range((array < 0) | (array >= limit), array, classes, name)
    return np.ascontiguousarray(array, dtype=np.int64)


def _require_range(bad: Array, labels: Array, classes: int | None, name: str) -> None:
    """Raise ``LabelError`` with the index of the first label where ``bad`` is true."""
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        known = f"0 … {MOST_CLASSES - 1:,}" if classes is None else f"0 … {classes - 1}, the {classes} classes"
        index = ", ".join(map(str, place))
        cure = "\n  help: labels.astype(np.float32), if they are measured values" if classes is None else ""
        raise LabelError(f"{name}: labels[{index}] = {labels[place]} is out of range; expected {known}{cure}")


def _not_whole(array: Array, name: str) -> LabelError:
    """Return the error for labels of a wrong type, with the index of the first that is not a whole number."""
    index, cure = 0, "labels.astype(np.int64)"
    if array.dtype.kind == "f" and array.size:
        fractions = array != np.floor(array)
        index = int(np.argmax(fractions))
        if fractions.any():
            cure = "labels are the numbers of classes, 0, 1, …; measured values need another loss and model"
    elif array.dtype.kind in "UO":
        cure = "classes, labels = np.unique(labels, return_inverse=True) numbers them"
    shown = repr(array.tolist()[index]) if array.size else "[]"
    return LabelError(
        f"{name}: labels[{index}] = {shown} is of type {array.dtype}; labels are whole numbers\n  help: {cure}"
    )
