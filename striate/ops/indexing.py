"""Functions that move elements without arithmetic, such as transpose, take, concat, split and flip.

They work for any dtype and any number of axes. An array is a batch if the size of its axis 0 is N, a number of samples
that is known only at run time. Axis 0 of a batch must remain the first axis and keep its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import cast

import numpy as np

from striate import options
from striate.errors import OptionError, TracingError, quantity
from striate.graph.elementwise import MOST_AXES
from striate.graph.reshape import joined_sizes, reshape
from striate.graph.value import Batch, Dim, Shape, Value, operators
from striate.ops.concatenation import Concat
from striate.ops.requirement import N_STAYS, Axes, dtype_error, place, require_axes, require_axis, shape_error
from striate.ops.shaping import product, unsqueeze
from striate.ops.slicing import Slice, Window
from striate.ops.transposition import Transpose

MOST_RANK = 64
"""The most axes that NumPy's arrays have."""

# Transposing


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Return x with its axes in another order, as ``np.transpose``: axis ``axes[j]`` becomes axis j.

    None reverses the order. x has any shape and dtype. Raises ShapeError if ``axes`` does not name each axis of x once,
    or if axis 0 of a batch (its samples) would move, and OptionError unless ``axes`` are whole numbers.
    """
    return _permuted("transpose", x, tuple(reversed(range(x.type.rank))) if axes is None else axes)


def permute(x: Value, dims: Sequence[int]) -> Value:
    """Return x with its axes in another order, as ``torch.permute``: axis ``dims[j]`` becomes axis j.

    x has any shape and dtype. Raises ShapeError if ``dims`` does not name each axis of x once, or if axis 0 of a batch
    (its samples) would move, and OptionError unless ``dims`` are whole numbers.
    """
    return _permuted("permute", x, dims)


def moveaxis(x: Value, source: int | Sequence[int], destination: int | Sequence[int]) -> Value:
    """Return x with axes ``source`` moved to the places ``destination``, as ``np.moveaxis``.

    ``source`` and ``destination`` are single axes, or sequences of the same length. The other axes keep their order. x
    has any shape and dtype. Raises ShapeError for an axis that does not exist, and if axis 0 of a batch (its samples)
    would move, and OptionError if an axis is named twice or the lengths differ.
    """
    given = [one if isinstance(one, Sequence) else (one,) for one in (source, destination)]
    taken, placed = ([require_axis("moveaxis", x.type, one) for one in axes] for axes in given)
    if len(taken) != len(placed) or len(set(taken)) != len(taken) or len(set(placed)) != len(placed):
        raise OptionError(f"moveaxis: source={source!r}, destination={destination!r}; give each axis one place")
    rest = iter(axis for axis in range(x.type.rank) if axis not in taken)
    order = [taken[placed.index(place)] if place in placed else next(rest) for place in range(x.type.rank)]
    return _permuted("moveaxis", x, order)


def swapaxes(x: Value, axis0: int, axis1: int) -> Value:
    """Return x with the axes ``axis0`` and ``axis1`` exchanged, as ``np.swapaxes``.

    x has any shape and dtype. Raises ShapeError for an axis that does not exist, and if axis 0 of a batch (its samples)
    would move.
    """
    a, b = (require_axis("swapaxes", x.type, one) for one in (axis0, axis1))
    order = list(range(x.type.rank))
    order[a], order[b] = b, a
    return _permuted("swapaxes", x, order)


def _permuted(what: str, x: Value, axes: Sequence[int]) -> Value:
    order = [require_axis(what, x.type, one) for one in options.whole_numbers(f"{what}: axes", axes, -MOST_RANK)]
    if sorted(order) != list(range(x.type.rank)):
        raise shape_error(what, f"axes {tuple(axes)} are not those of {x.type}", "name each axis once")
    if x.type.batched and order[0] != 0:
        raise shape_error(what, f"the samples of {x.type} must stay on axis 0", N_STAYS)
    moved = tuple(x.shape[axis] for axis in order)
    long = [axis for axis in order if x.shape[axis] != 1]
    if long == sorted(long):
        return reshape(x, moved)
    if x.type.rank <= MOST_AXES:
        return Transpose(tuple(order))(x)
    # Axes that stay neighbours are joined into one. If there are still too many, they are moved one by one.
    groups: list[list[int]] = []
    for axis in order:
        if groups and axis == groups[-1][-1] + 1 and not (x.type.batched and axis == 1):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    found = sorted(groups)
    y = reshape(x, joined_sizes(x.shape, found))
    wanted = [found.index(group) for group in groups]
    if len(wanted) <= MOST_AXES:
        return reshape(Transpose(tuple(wanted))(y), moved)
    current = list(range(len(wanted)))
    for target, axis in enumerate(wanted):
        source = current.index(axis)
        if source != target:
            y = _moved_before(y, source, target)
            current.insert(target, current.pop(source))
    return reshape(y, moved)


def _moved_before(x: Value, source: int, target: int) -> Value:
    """Return x with axis ``source`` moved to place ``target``, which is before it."""
    kept = 1 if x.type.batched else 0
    lead, middle, own, inner = x.shape[kept:target], x.shape[target:source], x.shape[source], x.shape[source + 1 :]
    sizes = (product(lead), product(middle), cast("int", own), product(inner))
    order = (*range(kept), *(kept + axis for axis in (0, 2, 1, 3)))
    y = Transpose(order)(reshape(x, (*x.shape[:kept], *sizes)))
    return reshape(y, (*x.shape[:target], own, *middle, *inner))


# Indexing


def index(x: Value, key: object) -> Value:
    """Return x[key] as NumPy does, for a key that is known when the function is traced.

    The key is a whole number, a slice with any step, ``...``, None or a list of whole numbers. It may also be a tuple
    of such keys with at most one list. Raises ShapeError for an index out of range and for a key that selects some of
    the samples of a batch, and TracingError for other keys, such as traced values.
    """
    keys: list[object] = list(cast("tuple[object, ...]", key)) if isinstance(key, tuple) else [key]
    keys = _without_ellipsis(x, keys)
    windows: dict[int, Window] = {}
    shape: list[Dim] = []
    listed: list[tuple[int, list[int]]] = []
    axis = 0
    for one in keys:
        if one is None:
            if x.type.batched and axis == 0:
                raise shape_error("indexing", f"the samples of {x.type} must stay on axis 0", N_STAYS)
            shape.append(1)
            continue
        size = x.shape[axis]
        if isinstance(one, slice) and one == slice(None):
            shape.append(size)
        elif isinstance(size, Batch):
            raise shape_error("indexing", f"cannot take some of the samples of {x.type}", N_STAYS)
        elif isinstance(one, slice):
            places = range(*_bounds(cast("slice[object, object, object]", one)).indices(size))
            windows[axis] = Window(places.start if places else 0, len(places), places.step)
            shape.append(len(places))
        elif isinstance(one, list):
            listed.append((len(shape), _places(x, axis, cast("list[object]", one))))
            shape.append(size)
        else:
            windows[axis] = Window(_places(x, axis, [one])[0], 1, 1)
        axis += 1
    if len(listed) > 1:
        raise TracingError(f"{x!r}: only one of the indices may be a list\n  help: index one axis after the other")
    y = reshape(_sliced(x, windows), tuple(shape))
    return take(y, listed[0][1], listed[0][0]) if listed else y


def _without_ellipsis(x: Value, keys: list[object]) -> list[object]:
    """Return the keys with ``...`` replaced by full slices, so that each axis has one; None entries stay."""
    dots = [place for place, one in enumerate(keys) if one is Ellipsis]
    given = sum(one is not None and one is not Ellipsis for one in keys)
    if len(dots) > 1 or given > x.type.rank:
        what = (
            "more than one ..." if len(dots) > 1 else f"{quantity(given, 'index')} for {quantity(x.type.rank, 'axis')}"
        )
        raise shape_error("indexing", f"{what} of {x.type}", f"x[i] takes up to {quantity(x.type.rank, 'index')}")
    at = dots[0] if dots else len(keys)
    return [*keys[:at], *[slice(None)] * (x.type.rank - given), *keys[at + 1 :]]


def _bounds(key: slice[object, object, object]) -> slice[int | None, int | None, int | None]:
    start, stop, step = (None if one is None else _whole(one) for one in (key.start, key.stop, key.step))
    if step == 0:
        raise OptionError("indexing: the step of a slice is 0; expected another whole number")
    return slice(start, stop, step)


def _whole(key: object) -> int:
    if not isinstance(key, Integral) or isinstance(key, bool):
        raise _not_static(key)
    return int(key)


def _places(x: Value, axis: int, given: Sequence[object]) -> list[int]:
    """Return indices along an axis as numbers from 0, where negative ones count from the end.

    Raises ``ShapeError`` for an index out of range.
    """
    size = cast("int", x.shape[axis])
    found: list[int] = []
    for one in given:
        place = _whole(one)
        if not -size <= place < size:
            allowed = f"places run from -{size} to {size - 1}"
            raise shape_error("indexing", f"place {place} does not exist on axis {axis} of {x.type}", allowed)
        found.append(place % size)
    return found


def _not_static(key: object) -> TracingError:
    return TracingError(
        f"{place('indexing')}: {key!r:.60} is not a static index\n"
        "  help: index with whole numbers, slices, None, ... or a list of whole numbers; "
        "st.ops.where(condition, a, b) chooses element by element"
    )


def _sliced(x: Value, windows: dict[int, Window]) -> Value:
    """Return the part of x that lies in ``windows``, which maps axes to their (start, count, step)."""
    changed = {axis: w for axis, w in windows.items() if w != Window(0, cast("int", x.shape[axis]), 1)}
    if not changed:
        return x
    if x.type.rank <= MOST_AXES:
        return _slice(x, changed)
    for axis, window in sorted(changed.items()):
        kept = 1 if x.type.batched else 0
        parts = (product(x.shape[kept:axis]), cast("int", x.shape[axis]), product(x.shape[axis + 1 :]))
        y = _slice(reshape(x, (*x.shape[:kept], *parts)), {kept + 1: window})
        x = reshape(y, (*x.shape[:axis], window.count, *x.shape[axis + 1 :]))
    return x


def _slice(x: Value, windows: dict[int, Window]) -> Value:
    axes = tuple(sorted(windows))
    parts = [windows[axis] for axis in axes]
    return Slice(axes, tuple(w.start for w in parts), tuple(w.count for w in parts), tuple(w.step for w in parts))(x)


def take(x: Value, indices: Sequence[int], axis: int) -> Value:
    """Return the elements of x at the given indices along an axis, as ``np.take``.

    The indices are whole numbers that are known when the function is traced; negative ones count from the end. x has
    any shape and dtype. Raises ShapeError for an index out of range, for an axis that does not exist and for axis 0 of
    a batch (its samples), and OptionError for other indices, such as a traced value.
    """
    at = require_axis("take", x.type, axis)
    if isinstance(x.shape[at], Batch):
        raise shape_error("take", f"cannot take some of the samples of {x.type}", N_STAYS)
    places = _places(x, at, options.whole_numbers("take: indices", indices, -(2**62)))
    runs: list[Window] = []
    for one in places:  # indices at equal distances are read as one slice
        last = runs[-1] if runs else None
        if last and last.count == 1 and one != last.start:
            runs[-1] = Window(last.start, 2, one - last.start)
        elif last and last.count > 1 and one == last.start + last.count * last.step:
            runs[-1] = Window(last.start, last.count + 1, last.step)
        else:
            runs.append(Window(one, 1, 1))
    if not runs:
        return _sliced(x, {at: Window(0, 0, 1)})
    return concat([_sliced(x, {at: run}) for run in runs], at)


def flip(x: Value, axis: Axes = None) -> Value:
    """Return x with its elements reversed along one axis, several axes, or all (None), as ``np.flip``.

    x has any shape and dtype. Raises ShapeError for an axis that does not exist, and for axis 0 of a batch (its
    samples).
    """
    axes = require_axes("flip", x.type, axis)
    if x.type.batched and 0 in axes:
        raise shape_error("flip", f"cannot reverse the samples of {x.type}", N_STAYS)
    sizes = {one: cast("int", x.shape[one]) for one in axes if x.shape[one] != 0}
    return _sliced(x, {one: Window(size - 1, size, -1) for one, size in sizes.items() if size > 1})


def roll(x: Value, shift: int | Sequence[int], axis: int | Sequence[int]) -> Value:
    """Return x with its elements shifted by ``shift`` along an axis, as ``np.roll``.

    Elements that are shifted beyond the end come back at the start. ``shift`` and ``axis`` may be sequences of the same
    length. x has any shape and dtype. Raises ShapeError for an axis that does not exist and for axis 0 of a batch (its
    samples), and OptionError for different lengths and for shifts that are not whole numbers.
    """
    shifts = options.whole_numbers("roll: shift", shift if isinstance(shift, Sequence) else [shift], -(2**62))
    axes = axis if isinstance(axis, Sequence) else (axis,)
    if len(shifts) != len(axes):
        raise OptionError(f"roll: shift={shift!r}, axis={axis!r}; give a shift for each axis")
    for by, one in zip(shifts, axes, strict=True):
        at = require_axis("roll", x.type, one)
        size = x.shape[at]
        if isinstance(size, Batch):
            raise shape_error("roll", f"cannot move the samples of {x.type}", N_STAYS)
        if size and by % size:
            cut = size - by % size
            x = concat([_sliced(x, {at: Window(cut, size - cut, 1)}), _sliced(x, {at: Window(0, cut, 1)})], at)
    return x


# Joining and splitting


def concat(values: Sequence[Value], axis: int = 1) -> Value:
    """Concatenate values along an axis: (N, C₁, …), (N, C₂, …) → (N, C₁ + C₂ + …, …).

    The default is axis 1, the channels. All values have the same dtype, and the same sizes on all other axes. Raises
    ShapeError if these sizes differ, for an axis that does not exist, for axis 0 of a batch (its samples), and if there
    are no values. Raises DTypeError if the dtypes differ or ``values`` is not a list or tuple of arrays.
    """
    if not values:
        raise shape_error("concat", "got no values to concatenate", "give at least one array")
    first = values[0]
    if axis == 1 and first.type.rank < 2:
        cure = "add the channel axis with st.ops.reshape"
        raise shape_error("concat", f"axis 1 does not exist in {first.type}", cure)
    at = require_axis("concat", first.type, axis)
    (joined,) = Concat(at).infer(*(value.type for value in values))
    if len(values) == 1:
        return first
    if first.type.rank <= MOST_AXES:
        return Concat(at)(*values)
    kept = 1 if first.type.batched else 0
    flat = [reshape(x, (*x.shape[:kept], product(x.shape[kept:at]), product(x.shape[at:]))) for x in values]
    return reshape(Concat(kept + 1)(*flat), joined.shape)


def stack(values: Sequence[Value], axis: int = 0) -> Value:
    """Join values along a new axis, as ``np.stack``: two values (C, H) with ``axis=0`` → (2, C, H).

    All values have the same shape and dtype. Raises ShapeError if the shapes differ or there are no values, and
    DTypeError if the dtypes differ or ``values`` is not a list or tuple of arrays.
    """
    if not values:
        raise shape_error("stack", "got no values to stack", "give at least one array")
    got = ", ".join(str(value.type) for value in values)
    if len({value.dtype for value in values}) > 1:
        raise dtype_error("stack", f"the values differ in dtype: {got}", "convert one of them with st.ops.cast")
    if any(value.shape != values[0].shape for value in values):
        raise shape_error(
            "stack", f"the values differ in shape: {got}", "make them equal with st.ops.reshape or slices"
        )
    at = require_axis("stack", values[0].type.with_shape((*values[0].shape, 1)), axis)
    return concat([unsqueeze(value, at) for value in values], at)


def split(x: Value, split_size_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Value, ...]:
    """Return a tuple of consecutive parts of x along an axis, as ``torch.split``.

    ``split_size_or_sections`` is a number or a sequence. A number is the size of each part; the last part may be
    smaller. A sequence holds the sizes of all parts. Raises ShapeError if the sequence does not add up to the size of
    the axis, for an axis that does not exist and for axis 0 of a batch (its samples), and OptionError for sizes that
    are not whole numbers.
    """
    at, size = _divided("split", x, axis)
    sizes: list[int]
    if isinstance(split_size_or_sections, int | np.integer):
        each = options.whole_number("split: split_size_or_sections", split_size_or_sections, 1)
        sizes = [min(each, size - start) for start in range(0, size, each)] or [0]
    else:
        sizes = list(options.whole_numbers("split: split_size_or_sections", split_size_or_sections, 0))
    if sum(sizes) != size:
        raise shape_error("split", f"sizes {sizes} add up to {sum(sizes)}, not to axis {axis} of {x.type}", f"{size}")
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return tuple(_sliced(x, {at: Window(start, count, 1)}) for start, count in zip(starts, sizes, strict=True))


def chunk(x: Value, chunks: int, axis: int = 0) -> tuple[Value, ...]:
    """Return a tuple of at most ``chunks`` consecutive parts of x along an axis, as ``torch.chunk``.

    All parts have the same size, except that the last one may be smaller. Raises ShapeError for an axis that does not
    exist and for axis 0 of a batch (its samples), and OptionError unless ``chunks`` is a whole number of at least 1.
    """
    _, size = _divided("chunk", x, axis)
    count = options.whole_number("chunk: chunks", chunks, 1)
    return split(x, max(1, -(-size // count)), axis)


def unbind(x: Value, axis: int = 0) -> tuple[Value, ...]:
    """Return a tuple of all slices of x along an axis, without this axis, as ``torch.unbind``.

    For x (2, C, H) and axis 0, the result is two arrays (C, H). Raises ShapeError for an axis that does not exist and
    for axis 0 of a batch (its samples).
    """
    at, size = _divided("unbind", x, axis)
    rest: Shape = (*x.shape[:at], *x.shape[at + 1 :])
    return tuple(reshape(_sliced(x, {at: Window(place, 1, 1)}), rest) for place in range(size))


def _divided(what: str, x: Value, axis: int) -> tuple[int, int]:
    """Return the axis, counted from 0, and its size; raises ``ShapeError`` for axis 0 of a batch."""
    at = require_axis(what, x.type, axis)
    size = x.shape[at]
    if isinstance(size, Batch):
        raise shape_error(what, f"cannot divide the samples of {x.type}", N_STAYS)
    return at, size


operators.update(index=index, transpose=transpose)
