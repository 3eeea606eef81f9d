"""``Segment``: consecutive transforms that one kernel applies, and the table of their random parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.data.augment.draft import Border, Draft, Fill, Work
from striate.data.augment.kernel import SampleKernel
from striate.data.augment.keys import Keys
from striate.data.augment.native import Augmenter
from striate.data.augment.specification import AXES
from striate.data.augment.transform import Transform, channel_fill
from striate.dtypes import DType
from striate.errors import OptionError

Array = npt.NDArray[Any]


class Table(NamedTuple):
    """The parameters of B samples for one kernel: ``ints`` int32 (B, I) and ``floats`` float32 (B, F)."""

    ints: Array
    floats: Array

    def part(self, chosen: slice | Array) -> Table:
        """Return the parameters of some of the samples; ``chosen`` is a slice, or an array of their indices."""
        return Table(np.ascontiguousarray(self.ints[chosen]), np.ascontiguousarray(self.floats[chosen]))


def spatial(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Return up to three spatial sizes as (D, H, W), with 1 for missing ones."""
    depth, height, width = (1,) * (AXES - len(sizes)) + tuple(sizes)
    return depth, height, width


class Segment:
    """Consecutive transforms that one kernel applies, for samples of one shape.

    transforms  the transforms in order; ``streams`` are their indices in the list of all transforms
    shape       (C, sizes…) of the samples before the transforms; the attribute ``result`` is their shape after them
    means       the means of the channels over the data set, for transforms whose ``fill`` is "mean"

    ``dtype`` is the dtype of the samples. Raises ``OptionError`` for transforms that do not fit the samples or each
    other.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        streams: Sequence[int],
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        means: Fill,
    ) -> None:
        self.transforms, self._streams, self.shape = tuple(transforms), tuple(streams), shape
        result, work = shape, Work()
        for one in transforms:
            result = one.check(result, dtype)
            work = work | one.work
        self.result, self._work = result, work
        # The features of a table are the columns of one channel.
        self._features = len(shape) == 1
        channels, *source = (1, *shape) if self._features else shape
        _, *size = (1, *result) if self._features else result
        largest = 255.0 if dtype == np.uint8 else np.inf
        border, fill = _border(transforms)
        self.kernel = SampleKernel(
            (channels, *spatial(source)), spatial(size), DType(dtype.name), border,
            channel_fill(fill, channels, means, largest), work.affine, work.colour, work.tone, work.noise,
            tuple(channel_fill(one, channels, means, largest) for made in transforms for one in made.fills),
        )  # fmt: skip
        self._augmenter = Augmenter(self.kernel)

    def table(self, keys: Keys) -> Table:
        """Return the random parameters of all transforms for the samples whose random numbers ``keys`` determines."""
        draft = Draft(keys, (1, *self.shape) if self._features else self.shape, self._work)
        for stream, one in zip(self._streams, self.transforms, strict=True):
            one.apply(draft, keys.draws(stream))
        return _packed(draft, self.kernel)

    def batch(self, data: Array, rows: Array, table: Table) -> Array:
        """Return the samples of ``data`` at indices ``rows``, int64 (B,), augmented by the parameters ``table``."""
        found = self._augmenter.batch(data, rows, table.ints, table.floats)
        return found.reshape(len(rows), *self.result)


def _border(transforms: Sequence[Transform]) -> tuple[Border, Any]:
    """Return the rule for values outside of a sample, and its fill, on which all transforms must agree."""
    found = [(one, one.border) for one in transforms if one.border is not None]
    if not found:
        return Border.EDGE, 0.0
    first, border = found[0]
    for other, another in found[1:]:
        assert border is not None
        assert another is not None
        if another[0] is not border[0] or (another[1] != border[1] and border[0] is Border.CONSTANT):
            raise OptionError(
                f"{first} and {other} fill what lies outside of a sample differently, and are applied as one\n"
                "  help: give both the same padding_mode and fill"
            )
    assert border is not None
    return border


def _packed(draft: Draft, kernel: SampleKernel) -> Table:
    """Return the parameters of a draft in the columns of the kernel."""
    columns, count, rank = kernel.columns, len(draft), len(draft.sizes)
    ints = np.zeros((count, columns.ints), np.int32)
    ints[:, 0 : 2 * AXES : 2] = 1
    for axis in range(rank):
        place = 2 * (AXES - rank + axis)
        ints[:, place], ints[:, place + 1] = draft.sign[axis], draft.offset[axis]
    for number, words in enumerate(draft.noise_words):
        ints[:, columns.words + number] = words.view(np.int32)
    for number, (starts, stops) in enumerate(draft.boxes):
        first = columns.box(number)
        ints[:, first : first + 2 * AXES] = full_box(starts, stops)
    floats = np.zeros((count, columns.floats), np.float32)
    if draft.matrix is not None:
        floats[:, :6] = draft.matrix.reshape(count, 6)
    floats[:, columns.colour : columns.grey] = draft.gain.reshape(count, columns.colours**2)
    floats[:, columns.grey] = draft.grey
    for number, one in enumerate((draft.solarize, draft.posterize, draft.stretch)):
        floats[:, columns.tone + number] = one
    floats[:, columns.noise] = draft.noise
    return Table(ints, floats)


def full_box(starts: Array, stops: Array) -> Array:
    """Return boxes as int32 (B, 6), with the columns start D, H, W and stop D, H, W; missing axes have 0 and 1.

    ``starts`` and ``stops`` (exclusive) have the shape (spatial axes, B).
    """
    rank, count = starts.shape
    box = np.zeros((count, 2 * AXES), np.int32)
    box[:, AXES:] = 1
    box[:, AXES - rank : AXES] = starts.T
    box[:, 2 * AXES - rank :] = stops.T
    empty = (stops <= starts).any(axis=0)
    box[empty, AXES:] = box[empty, :AXES]
    return box
