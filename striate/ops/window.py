"""The geometry that convolution and pooling share: windows of taps that slide over the spatial axes of an input.

A tap is one element of the window. Along each axis, tap k of the window for output position p is at input position
p · stride + k · dilation − before, where ``before`` is the padding before the input.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, cast

import numpy as np

from striate.errors import OptionError, quantity, unknown_option
from striate.graph.op import Op, PositionSets
from striate.graph.value import Array, TensorType
from striate.ops.requirement import place, shape_error

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
PerAxis = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]


LARGEST = 2**31 - 1
"""The largest size, stride, dilation and padding: products of two of them in bytes still fit into 64 bits."""


class PaddingMode(Enum):
    """The paddings that have a name: "same" makes the output as large as the input, "valid" means no padding."""

    same = "same"  # the output has the size of the input; only for stride 1
    valid = "valid"  # no padding


def per_axis(what: str, value: PerAxis, rank: int, least: int = 1) -> Sizes:
    """Return one whole number for each of the ``rank`` spatial axes, from ``value``, a single number or a sequence.

    Raises ``OptionError`` unless there are ``rank`` numbers, all of them whole and from ``least`` to 2³¹ − 1. ``what``
    is the option that the error message names.
    """
    values: tuple[Any, ...] = (value,) * rank
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        values = tuple(value)
    if len(values) != rank:
        raise OptionError(f"{what} must be one number or {rank}, one for each spatial axis, not {value!r}")
    if any(isinstance(one, bool) or not isinstance(one, int | np.integer) or one < least for one in values):
        raise OptionError(f"{what} must be whole numbers of at least {least}, not {value!r}")
    if any(one > LARGEST for one in values):
        raise OptionError(f"{what} must be whole numbers of at most {LARGEST:,}, not {value!r}")
    return tuple(int(one) for one in values)


def padding_pairs(padding: Padding, kernel: Sizes, stride: Sizes, dilation: Sizes, what: str = "padding") -> Pairs:
    """Return the padding (before, after) of each spatial axis, in elements.

    ``padding`` is one number for all axes, a number for each axis, a pair for each axis, "valid" (no padding) or "same"
    (the output has the size of the input; only for stride 1). For an even window, "same" puts the extra zero after the
    input, as PyTorch does. Raises ``OptionError`` for anything else; ``what`` is the option that the error message
    names.
    """
    rank = len(kernel)
    if isinstance(padding, str):
        if padding not in PaddingMode.__members__:
            raise unknown_option(what, padding, PaddingMode.__members__)
        if PaddingMode[padding] is PaddingMode.valid:
            return ((0, 0),) * rank
        if any(one != 1 for one in stride):
            raise OptionError(
                f'{what}="same" needs stride 1, not {stride}\n'
                "  help: give the padding as a number; (kernel - 1) // 2 keeps ⌈size / stride⌉"
            )
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, bytes) or not isinstance(padding, Sequence):
        padding = cast("tuple[int, ...]", (padding,) * rank)
    if len(padding) != rank:
        raise OptionError(f"{what} must be one number or {rank}, one for each spatial axis, not {padding!r}")
    return tuple((both[0], both[1]) for one in padding for both in [per_axis(what, one, 2, least=0)])


def onnx_pads(padding: Pairs) -> list[int]:
    """Return ``padding`` in ONNX's order: the numbers before the input for all axes, then those after it."""
    return [before for before, _ in padding] + [after for _, after in padding]


@dataclass(frozen=True)
class Windowed(Op):
    """Base class of operations whose windows slide over the spatial axes (abstract).

    ``stride`` has one number for each spatial axis, and ``padding`` has a pair (before, after) for each.
    """

    letters: ClassVar[Mapping[str, str]] = {"stride": "stride", "before": "padding"}
    stride: Sizes
    padding: Pairs

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in _COUNTS and np.min(value, initial=1) < 1:
                raise OptionError(f"{place(self)}: {name} must be at least 1, not {value}")
        if any(len(pair) != 2 or min(pair) < 0 for pair in self.padding):
            raise OptionError(f"{place(self)}: padding must be pairs (before, after) from 0, not {self.padding}")

    def options(self) -> dict[str, str]:
        texts = {name: _brief(value) for name, value in vars(self).items()}
        return {name: text for name, text in texts.items() if text != _DEFAULTS.get(name)}


_COUNTS = {"stride", "kernel", "dilation", "size", "groups"}
"""Fields, including those of subclasses, whose entries must be at least 1."""

_DEFAULTS = {
    "stride": "1", "padding": "0", "dilation": "1", "groups": "1", "ceil_mode": "False", "divisor_override": "None",
}  # fmt: skip
"""Default values of options as text; labels omit options with these values."""


def _brief(value: object) -> str:
    """Shorten an option to text: "3" for (3, 3).

    A padding ((1, 1), (1, 1)) becomes "1", and ((1, 1), (2, 2)) becomes "(1, 2)".
    """
    if not isinstance(value, tuple):
        return str(value)
    given = cast("tuple[Any, ...]", value)
    entries: list[Any] = [one[0] if isinstance(one, tuple) and one[0] == one[1] else one for one in given]
    if any(isinstance(one, tuple) for one in entries):
        return str(given)
    return str(entries[0] if len(set(entries)) == 1 else tuple(entries))


def window_positions(
    positions: PositionSets, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> PositionSets:
    """Return the input positions that the windows at the output positions ``positions`` cover, along each axis.

    The windows have ``kernel`` elements, ``dilation`` apart, and begin ``stride`` positions apart. Positions in the
    padding are included; they lie outside the input.
    """
    return tuple(
        frozenset(p * s + k * d - before for p in axis for k in range(taps))
        for axis, taps, s, (before, _), d in zip(positions, kernel, stride, padding, dilation, strict=True)
    )


def stride_text(stride: Sizes) -> str:
    """Return the suffix of an operation's label that shows its stride, such as " /2" or " /2×1"; "" for stride 1."""
    if all(step == 1 for step in stride):
        return ""
    return f" /{stride[0]}" if len(set(stride)) == 1 else f" /{times(stride)}"


def reach(kernel: Sizes, dilation: Sizes) -> Sizes:
    """Return how many input positions a window spans along each axis: dilation · (kernel − 1) + 1."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def window_count(
    op: Op, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, ceil_mode: bool = False
) -> Sizes:
    """Return the output sizes of ``op``: ⌊(size + before + after − reach) / stride⌋ + 1 windows along each axis.

    The reach is the number of input positions that a window spans (see ``reach``). With ``ceil_mode`` the quotient is
    rounded up, but a window that would start after the end of the input, in the padding ``after``, does not count.
    Raises ``ShapeError`` if the window is larger than the padded input.
    """
    counts = windows_that_fit(size, kernel, stride, padding, dilation, ceil_mode)
    if any(count < 1 for count in counts):
        raise shape_error(
            op,
            f"its window of {times(reach(kernel, dilation))} is larger than the input of {times(size)}"
            + (f" padded by {padding}" if any(sum(pair) for pair in padding) else ""),
            "use a smaller kernel, more padding, or less pooling before it",
        )
    return counts


def windows_that_fit(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, ceil_mode: bool = False
) -> Sizes:
    """Return the number of windows along each axis as ``window_count`` does, but 0 or less if no window fits.

    The arguments are those of ``window_count``.
    """
    counts: list[int] = []
    for length, span, s, (before, after) in zip(size, reach(kernel, dilation), stride, padding, strict=True):
        room = length + before + after - span
        count = -(-room // s) + 1 if ceil_mode else room // s + 1
        counts.append(count - 1 if ceil_mode and (count - 1) * s >= length + before else count)
    return tuple(counts)


def times(size: Sequence[int]) -> str:
    """Return the sizes joined by ×: ``3×5`` for (3, 5)."""
    return "×".join(map(str, size))


def brief(sizes: tuple[object, ...]) -> str:
    """Return the sizes as text: "3" for equal sizes such as (3, 3), else the tuple, such as "(3, 5)"."""
    return str(sizes[0]) if len(set(sizes)) == 1 else str(sizes)


def require_geometry(op: Op, rank: int, **options: Sequence[object]) -> None:
    """Raise ``OptionError`` unless every one of the options has ``rank`` entries, one for each spatial axis.

    ``options`` are options of ``op`` by name.
    """
    for name, entries in options.items():
        if len(entries) != rank:
            raise OptionError(f"{place(op)}: {name} has {len(entries)} entries for {quantity(rank, 'spatial axis')}")


def positions(x: TensorType) -> Sizes:
    """Return the sizes of the spatial axes of x (N, C, positions…)."""
    return tuple(dim for dim in x.shape[2:] if isinstance(dim, int))


def taps(kernel: Sizes) -> Iterator[tuple[int, Sizes]]:
    """Yield (number, index along each axis) for every tap of a window of the sizes ``kernel``, in row-major order."""
    yield from enumerate(itertools.product(*(range(k) for k in kernel)))


def tap_slices(tap: Sizes, count: Sizes, stride: Sizes, dilation: Sizes) -> tuple[slice | Any, ...]:
    """Return the NumPy index that selects the elements at one tap of all windows from the padded input.

    ``count`` is the number of windows along each axis; they begin ``stride`` positions apart, and their elements are
    ``dilation`` apart.
    """
    return (
        ...,
        *(slice(k * d, k * d + (n - 1) * s + 1, s) for k, n, s, d in zip(tap, count, stride, dilation, strict=True)),
    )


def padded(x: Array, padding: Pairs, number: float = 0.0, extra: Sizes | None = None) -> Array:
    """Return x padded with ``number`` along its spatial axes, in NumPy.

    ``padding`` has a pair (before, after) for each spatial axis. ``extra`` has the number of elements to add after each
    spatial axis beyond ``after``; None means 0. All axes before the spatial ones keep their sizes.
    """
    more = extra or (0,) * len(padding)
    widths = [(before, after + e) for (before, after), e in zip(padding, more, strict=True)]
    return np.pad(x, [(0, 0)] * (x.ndim - len(padding)) + widths, constant_values=number)


def cropped(x: Array, padding: Pairs, size: Sizes) -> Array:
    """Return x without its padding, as a view: ``size`` positions along each spatial axis."""
    return x[(..., *(slice(before, before + s) for (before, _), s in zip(padding, size, strict=True)))]
