"""Pooling over sliding windows: what maximum and average pooling and their gradients share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import Operand
from striate.codegen.storage import spatial
from striate.errors import OptionError
from striate.graph.onnx import Attribute
from striate.graph.op import Kind, Purpose
from striate.graph.value import Array, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.kernels.geometry import Part, forward_part, gradient_parts
from striate.ops.requirement import require_floats, require_positions, shape_error
from striate.ops.window import (
    Padding,
    Pairs,
    PerAxis,
    Sizes,
    Windowed,
    brief,
    cropped,
    onnx_pads,
    padded,
    padding_pairs,
    per_axis,
    positions,
    reach,
    require_geometry,
    stride_text,
    tap_slices,
    taps,
    times,
    window_count,
)

if TYPE_CHECKING:
    from striate.ops.kernels.pooling import Prologue


MOST_UNROLLED = 32
"""The most taps of a window, or positions modulo the strides, for which a kernel is unrolled; above this it loops."""


@dataclass(frozen=True)
class Pooling(Windowed, Anchor):
    """Base class of pooling operations and their gradients (abstract).

    ``kernel``, ``stride`` and ``dilation`` have one number for each spatial axis, and ``padding`` has a pair (before,
    after) for each. With ``ceil_mode``, the last window along an axis may extend beyond the padded input.
    """

    kind: ClassVar[Kind] = Kind.WINDOW
    letters: ClassVar[Mapping[str, str]] = {"stride": "stride", "dilation": "dilation", "before": "padding"}
    has_epilogue: ClassVar[bool] = True
    kernel: Sizes
    dilation: Sizes
    ceil_mode: bool

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        return True

    def _before(self) -> tuple[int, int, int]:
        return spatial([before for before, _ in self.padding], 0)

    @property
    def purpose(self) -> Purpose:
        return Purpose.WINDOW

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title or self.words()} {times(self.kernel)}{stride_text(self.stride)}"

    @property
    def large(self) -> bool:
        """Whether the forward kernel loops over the taps of a window, because there are too many to unroll."""
        return math.prod(self.kernel) > MOST_UNROLLED

    def scatters_widely(self, size: Sizes) -> bool:
        """Return whether the gradient's kernel loops over windows, because there are too many cases to unroll.

        Otherwise its code is unrolled: there is one case for each residue of a position modulo the stride. ``size``
        holds the spatial sizes of the pooling's input.
        """
        residues = math.prod(min(step, length) for step, length in zip(self.stride, size, strict=True))
        return self.large or residues > MOST_UNROLLED

    def windows_of(self, size: Sizes) -> Part:
        """Return which input positions each window contains, as a ``Part``, the kernels' description of such sets.

        ``size`` holds the spatial sizes of the input.
        """
        counts = spatial(self.output_sizes(size))
        return forward_part(spatial(self.kernel), spatial(self.stride), self._before(), spatial(self.dilation), counts)

    def holders_of(self, size: Sizes) -> tuple[Part, ...]:
        """Return which windows contain each input position: one ``Part`` per residue of the position modulo the stride.

        A ``Part`` is the kernels' description of such sets; ``size`` holds the spatial sizes of the input.
        """
        return gradient_parts(
            spatial(self.kernel), spatial(self.stride), self._before(), spatial(self.dilation), spatial(size)
        )

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {
            "kernel_shape": self.kernel, "strides": self.stride, "pads": onnx_pads(self.padding),
            "ceil_mode": int(self.ceil_mode),
        }  # fmt: skip

    def output_sizes(self, size: Sizes) -> Sizes:
        """Return the number of windows along each spatial axis, for an input with the spatial sizes ``size``."""
        return window_count(self, size, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def pooled(self, x: TensorType) -> TensorType:
        """Return the type of the output y for an input of type x.

        Raises ``DTypeError`` unless x has a floating-point dtype, ``OptionError`` for invalid options, and
        ``ShapeError`` for a wrong number of axes, a window larger than the padded input, or a window that would contain
        only padding.
        """
        require_floats(self, [x])
        require_positions(self, x)
        require_geometry(
            self, x.rank - 2, kernel=self.kernel, stride=self.stride, padding=self.padding, dilation=self.dilation
        )
        size = positions(x)
        count = self.output_sizes(size)
        if not all(map(self._reaches, range(len(size)), count, size)):
            raise shape_error(self, f"a window holds only padding for {x}", "use less padding, or less dilation")
        return x.with_shape((*x.shape[:2], *count))

    def _reaches(self, axis: int, count: int, length: int) -> bool:
        """Return whether each of the ``count`` windows along an axis of ``length`` has a tap inside the input."""
        stride, (before, _) = self.stride[axis], self.padding[axis]
        taps, apart = self.kernel[axis], self.dilation[axis]
        last = (count - 1) * stride - before
        if count < 1 or last >= length or before > (taps - 1) * apart:
            return count < 1
        # The first tap inside the input of a window that begins before it is at the window's start modulo the dilation.
        early = min(count, -(-before // stride))
        return apart <= length or all((p * stride - before) % apart < length for p in range(early))

    def overhang(self, size: Sizes) -> Sizes:
        """Return by how many positions the last window along each axis exceeds the padded input.

        This is 0 without ``ceil_mode``. ``size`` holds the spatial sizes of the unpadded input.
        """
        count, span = self.output_sizes(size), reach(self.kernel, self.dilation)
        return tuple(
            max(0, (n - 1) * s + r - (length + before + after))
            for n, s, r, length, (before, after) in zip(count, self.stride, span, size, self.padding, strict=True)
        )

    def scatter(self, sent: Iterator[Array], size: Sizes, like: Array) -> Array:
        """Add the gradient of each tap to the input positions that the tap reads, in NumPy; return (N, C, *size).

        A tap is one element of the window. ``sent`` yields the gradients, each (N, C, windows…), in the order of the
        taps; ``like`` is any array with the shape and dtype of one of them. ``size`` holds the spatial sizes of the
        input.
        """
        shape = (*like.shape[:2], *size)
        target = padded(np.zeros(shape, like.dtype), self.padding, extra=self.overhang(size))
        for (_, tap), values in zip(taps(self.kernel), sent, strict=True):
            target[tap_slices(tap, like.shape[2:], self.stride, self.dilation)] += values
        return cropped(target, self.padding, size)


def entering(context: LoweringContext, x: Value) -> tuple[Prologue | None, tuple[Value, ...], tuple[Operand, ...]]:
    """Return how a pooling kernel obtains its input x: (prologue, operands before, operands after).

    ``context`` is the lowering context of the pooling's node. A prologue is elementwise work that computes x inside the
    kernel. With a prologue, the result is (prologue, (), operands of the prologue). Without one, the kernel reads x
    from memory, and the result is (None, (x,), ()). The operands of the elementwise work after the pooling come between
    the operands before and the operands after.
    """
    if context.prologue is None:
        return None, (x,), ()
    return (
        kernels.pooling.Prologue(context.prologue, len(context.prologue.instructions) - 1),
        (),
        context.prologue_operands,
    )


def examples(random: np.random.Generator) -> Iterator[tuple[Array, Sizes, Sizes, Pairs, Sizes, bool]]:
    """Yield test cases of pooling, (x, kernel, stride, padding, dilation, ceil_mode), with x drawn from ``random``."""
    zero, one = (0, 0), (1, 1)
    cases: list[tuple[Sizes, Sizes, Sizes, Pairs, Sizes, bool]] = [
        ((2, 3, 4, 6), (2, 2), (2, 2), (zero, zero), (1, 1), False),
        ((1, 17, 5, 4), (3, 2), (2, 1), (one, zero), (1, 1), False),  # windows overlap
        ((2, 1, 1, 1), (1, 1), (1, 1), (zero, zero), (1, 1), False),  # one pixel
        ((1, 3, 1, 1), (3, 3), (2, 2), (one, one), (1, 1), False),  # one pixel surrounded by padding
        ((2, 3, 7, 5), (2, 1), (3, 2), (zero, zero), (1, 1), False),  # stride larger than the kernel
        ((1, 3, 6, 7), (3, 2), (2, 3), (one, (0, 1)), (1, 1), True),  # incomplete windows, asymmetric
        ((2, 2, 7, 6), (2, 3), (1, 2), (zero, one), (3, 2), False),  # dilation
        ((2, 3, 8), (3,), (2,), (one,), (1,), True),
        ((2, 3, 14, 9), (6, 7), (3, 1), ((3, 2), (2, 3)), (1, 1), True),  # large windows
        ((1, 17, 13, 12), (6, 6), (2, 3), ((2, 2), (3, 0)), (2, 2), False),
        ((2, 2, 9, 40), (1, 35), (1, 9), (zero, (7, 17)), (1, 1), True),  # a large window, one row high
        ((1, 2, 20, 21), (2, 3), (9, 8), (one, zero), (1, 1), False),  # large strides
        ((1, 3, 6, 7), (6, 7), (6, 7), (zero, zero), (1, 1), False),  # one large window
        ((1, 2, 3, 4, 5), (2, 2, 3), (1, 2, 2), (zero, zero, one), (1, 1, 1), False),
    ]
    for shape, kernel, stride, padding, dilation, ceil_mode in cases:
        yield random.standard_normal(shape), kernel, stride, padding, dilation, ceil_mode


def window_geometry(
    what: str, x: Value, kernel_size: PerAxis, stride: PerAxis | None, padding: Padding, dilation: PerAxis
) -> tuple[Sizes, Pairs, Sizes, Sizes]:
    """Return (stride, padding, kernel, dilation) with one entry for each spatial axis of the batch x.

    The arguments are those of ``max_pool``. A ``stride`` of None means the kernel size. Raises ``ShapeError`` for a
    wrong number of axes of x, and ``OptionError`` for invalid options and for padding above half the kernel size;
    ``what`` is the function that the error message names.
    """
    require_positions(what, x.type)
    rank = x.type.rank - 2
    if isinstance(kernel_size, Sequence) and len(kernel_size) == rank + 1:
        raise shape_error(
            what,
            f"a window of {times(kernel_size)} needs an input (N, C, {', '.join('DHW'[-rank - 1 :])}), got {x.type}",
            "give grey images their channel axis, x[:, None]",
        )
    kernel, spread = per_axis("kernel_size", kernel_size, rank), per_axis("dilation", dilation, rank)
    strides = kernel if stride is None else per_axis("stride", stride, rank)
    pairs = padding_pairs(padding, kernel, strides, spread)
    require_half(what, kernel, pairs)
    return strides, pairs, kernel, spread


def require_half(what: str, kernel: Sizes, padding: Pairs) -> None:
    """Raise ``OptionError`` if a padding exceeds half the kernel size, so that a window could contain only padding.

    ``what`` is the function or layer that the error message names.
    """
    if any(max(pair) > size // 2 for pair, size in zip(padding, kernel, strict=True)):
        shown = tuple(before if before == after else (before, after) for before, after in padding)
        raise OptionError(
            f"{what}: padding={brief(shown)} is more than half of kernel_size={brief(kernel)}\n"
            "  help: st.ops.pad(x, pad) pads by any number"
        )
