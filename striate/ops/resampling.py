"""Resampling to other spatial sizes by nearest neighbours or linear interpolation, and the gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate import options
from striate.codegen.kernel import Index, Kernel
from striate.errors import OptionError
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, DType, TensorType, Value
from striate.locks import cached_property
from striate.ops.adaptive import adaptive_avg_pool
from striate.ops.axis_map import AxisMap, Entry, Row, Run, Scalar, Terms, chosen, transposed
from striate.ops.cubic_resampling import bicubic
from striate.ops.mapped import Mapped, Maps
from striate.ops.requirement import place, require_floats, require_positions, shape_error
from striate.ops.shaping import expanded
from striate.ops.unbatched import over_samples, position_axes
from striate.ops.window import LARGEST, Sizes, per_axis, positions, times

LONGEST_TABLE = 4096
"""The largest input size plus output size of an axis for which a kernel looks up source indices in a table.

For longer axes, the kernel computes the indices.
"""


@dataclass(frozen=True)
class ResampledAxis(AxisMap):
    """Base class of resampling along one axis (abstract): position p of y corresponds to a coordinate in x.

    The coordinate increases by ``step`` from one position of y to the next; its whole part, but at most ``size`` − 1,
    is the source index of p. ``size`` is the number of elements of x along the axis, and ``length`` that of y.
    """

    length: int
    step: float

    @property
    def count(self) -> int:
        return self.length

    def places(self, p: Array) -> tuple[Array, Array]:
        """Return (source index i, weight a) of each position p, in NumPy: y[p] = (1 − a) · x[i] + a · x[i + 1]."""
        raise NotImplementedError

    def place(self, k: Kernel, p: Index) -> tuple[Index, Scalar]:
        """Emit the computation of ``places`` for one position p: the index i, and the weight a as a float64 scalar."""
        raise NotImplementedError

    def guess(self, k: Kernel, i: Index) -> Index:
        """Emit an estimate of the first position of y whose source index is at least i; ``first`` corrects it."""
        raise NotImplementedError

    @property
    def tabulated(self) -> bool:
        """Whether the kernels look up source indices and weights in tables, because the axis is short enough."""
        return self.size + self.count <= LONGEST_TABLE

    @cached_property
    def _found(self) -> tuple[Array, Array]:
        return self.places(np.arange(self.count))

    @cached_property
    def _firsts(self) -> Array:
        """For every index i of x, the first position of y whose source index is at least i; at the end, y's size."""
        firsts = np.searchsorted(self._found[0], np.arange(self.size + 1))
        firsts[0], firsts[-1] = 0, self.count
        return firsts

    def found(self, k: Kernel, p: Index, dtype: DType) -> tuple[Index, Scalar]:
        """Emit (i, a) of ``places`` for position p, from tables or computed; a is a scalar of ``dtype``."""
        if not self.tabulated:
            i, share = self.place(k, p)
            return i, k.convert(share, dtype)
        elements, shares = self._found
        i = k.look_up(k.table(elements.tolist(), DType.int32), p)
        return i, k.look_up(k.table(shares.tolist(), dtype), p, dtype)

    def first(self, k: Kernel, i: Index) -> Index:
        """Emit the first position of y whose source index is at least i, for −1 ≤ i ≤ size + 1; at most y's size."""
        inside = k.imin(k.imax(i, 0), self.size)
        if self.tabulated:
            return k.look_up(k.table(self._firsts.tolist(), DType.int32), inside)
        guess = self.guess(k, inside)
        first = k.iadd(guess, 2)
        for p in (k.iadd(guess, 1), guess, k.isub(guess, 1)):
            first = chosen(k, k.compare(self.place(k, k.imax(p, 0))[0], ">=", inside), p, first)
        first = k.imin(k.imax(first, 0), self.count)
        first = chosen(k, k.compare(inside, "==", 0), 0, first)
        return chosen(k, k.compare(inside, "==", self.size), self.count, first)


@dataclass(frozen=True)
class NearestAxis(ResampledAxis):
    """Nearest-neighbour resampling along one axis: y[p] = x[⌊p · step⌋], or x[⌊(p + ½) · step⌋] if ``centred``."""

    centred: bool

    @property
    def most(self) -> int:
        return 1

    @property
    def most_transposed(self) -> int:
        return math.ceil(1 / self.step) + 1 if self.step else self.count

    def places(self, p: Array) -> tuple[Array, Array]:
        # PyTorch computes in float32, where p · step may be just below a whole number.
        at = (p.astype(np.float32) + np.float32(0.5 if self.centred else 0)) * np.float32(self.step)
        return np.minimum(np.floor(at).astype(np.int64), self.size - 1), np.zeros(len(p))

    def place(self, k: Kernel, p: Index) -> tuple[Index, Scalar]:
        at = k.convert(k.as_index(p), DType.float32)
        at = k.add(at, k.constant_like(at, 0.5)) if self.centred else at
        at = k.mul(at, k.constant_like(at, float(np.float32(self.step))))
        zero = k.constant_like(k.convert(at, DType.float64), 0)
        return k.imin(k.convert(at, DType.int64), self.size - 1), zero

    def guess(self, k: Kernel, i: Index) -> Index:
        at = k.convert(k.as_index(i), DType.float64)
        return k.convert(k.div(at, k.constant_like(at, self.step)), DType.int64)

    def row(self, p: int) -> Row:
        return ((int(self._found[0][p]), 1.0),)

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        return [Entry(self.found(k, p, dtype)[0])]

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        return Run(self.first(k, i), self.first(k, k.iadd(i, 1)))


@dataclass(frozen=True)
class LinearAxis(ResampledAxis):
    """Linear interpolation along one axis: y[p] = (1 − a) · x[i] + a · x[i + 1] for the coordinate i + a in x.

    The coordinate is (p + ½) · step − ½, but at least 0, or p · step with ``align_corners``; 0 ≤ a ≤ 1. If x[i] is the
    last element of x, it takes the place of x[i + 1].
    """

    align_corners: bool

    @property
    def most(self) -> int:
        return 2

    @property
    def most_transposed(self) -> int:
        return min(self.count, 2 * math.ceil(1 / self.step) + 2) if self.step else self.count

    def places(self, p: Array) -> tuple[Array, Array]:
        at = p * self.step if self.align_corners else (p + 0.5) * self.step - 0.5
        at = np.maximum(at, 0)
        i = np.minimum(np.floor(at).astype(np.int64), self.size - 1)
        return i, np.clip(at - i, 0, 1)

    def place(self, k: Kernel, p: Index) -> tuple[Index, Scalar]:
        at = k.convert(k.as_index(p), DType.float64)
        zero, one, half, step = (k.constant_like(at, number) for number in (0, 1, 0.5, self.step))
        at = k.mul(at, step) if self.align_corners else k.sub(k.mul(k.add(at, half), step), half)
        at = k.choose(k.greater(at, zero), at, zero)
        i = k.imin(k.convert(at, DType.int64), self.size - 1)
        share = k.sub(at, k.convert(k.as_index(i), DType.float64))
        return i, k.choose(k.greater(share, one), one, share)

    def guess(self, k: Kernel, i: Index) -> Index:
        if not self.step:
            return self.count
        at = k.convert(k.as_index(i), DType.float64)
        half, step = k.constant_like(at, 0.5), k.constant_like(at, self.step)
        at = k.div(at, step) if self.align_corners else k.sub(k.div(k.add(at, half), step), half)
        return k.imax(k.convert(at, DType.int64), 0)

    def row(self, p: int) -> Row:
        i, share = int(self._found[0][p]), float(self._found[1][p])
        return (i, 1 - share), (min(i + 1, self.size - 1), share)

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        i, share = self.found(k, p, dtype)
        one = k.constant_like(share, 1)
        return [Entry(i, weight=k.sub(one, share)), Entry(k.imin(k.iadd(i, 1), self.size - 1), weight=share)]

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        def weight(p: Index) -> Scalar:
            own, share = self.found(k, p, dtype)
            zero, one = k.constant_like(share, 0), k.constant_like(share, 1)
            here = k.choose(k.compare(own, "==", i), k.sub(one, share), zero)
            after = k.compare(k.imin(k.iadd(own, 1), self.size - 1), "==", i)
            return k.add(here, k.choose(after, share, zero))

        return Run(self.first(k, k.isub(i, 1)), self.first(k, k.iadd(i, 1)), weight)


@dataclass(frozen=True)
class Resampling(Mapped):
    """Base class of resampling and its gradients (abstract).

    ``count`` holds the spatial sizes of y, and ``step`` the distance of neighbouring positions of y, in positions of x,
    along each spatial axis.
    """

    count: Sizes
    step: tuple[float, ...]

    def options(self) -> dict[str, str]:
        shown = {name: str(value) for name, value in vars(self).items() if name not in ("count", "step", "size")}
        return {"count": times(self.count), **{name: text for name, text in shown.items() if text != "False"}}

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title} to {times(self.count)}"

    def axes(self, size: Sizes) -> Maps:
        """Return the linear map along each spatial axis, for an x with the spatial sizes ``size``."""
        raise NotImplementedError

    def onnx_resize(self, to: OnnxWriter, x: str, size: Sizes, **attributes: Attribute) -> Sequence[str]:
        """Add ONNX's operator Resize with the sizes of y, or with scale factors if ``step`` is not the ratio of sizes.

        ``x`` is the name of the input in the exported graph, ``size`` holds its spatial sizes, and ``attributes`` are
        those of Resize. Returns a list with the name of the output.
        """
        ratios = _steps(size, self.count)
        if attributes["coordinate_transformation_mode"] == "align_corners" or self.step == ratios:
            axes = tuple(range(2, 2 + len(size)))
            return [to.add("Resize", x, "", "", to.integers(*self.count), axes=axes, **attributes)]
        scales = np.asarray([1, 1, *(1 / step for step in self.step)], np.float32)
        return [to.add("Resize", x, "", to.constant(scales), **attributes)]

    def resampled(self, x: TensorType) -> TensorType:
        """Return the type of y for an input of type x.

        Raises ``DTypeError`` unless x is of floats, and ``ShapeError`` for a size of 0 or unless x has one spatial axis
        for each entry of ``count``.
        """
        require_floats(self, [x])
        require_positions(self, x)
        if not x.rank - 2 == len(self.count) == len(self.step):
            raise shape_error(self, f"{len(self.count)} sizes for {x}", "give one size for each axis of positions")
        if 0 in x.shape[2:] or min(self.count) < 1:
            raise shape_error(self, f"{x} cannot be resampled to {times(self.count)} positions", "sizes are at least 1")
        return x.with_shape((*x.shape[:2], *self.count))

    def input_of(self, dy: TensorType, size: Sizes) -> TensorType:
        """Return the type of dx for the gradient dy; raise ``ShapeError`` if dy does not have the shape of y.

        ``size`` holds the spatial sizes of x.
        """
        x = dy.with_shape((*dy.shape[:2], *size))
        if self.resampled(x) != dy:
            raise shape_error(self, f"resampling does not return {dy}", "give the shape of the forward pass")
        return x


@dataclass(frozen=True)
class Neighbours(Resampling):
    """Base class of nearest-neighbour resampling and its gradient (abstract).

    With ``centred``, the neighbour is found from the centre of a position, p + ½, instead of from its start, p.
    """

    centred: bool = False

    def axes(self, size: Sizes) -> Maps:
        return tuple(
            NearestAxis(length, count, step, self.centred)
            for length, count, step in zip(size, self.count, self.step, strict=True)
        )


@register
@dataclass(frozen=True)
class NearestResampling(Neighbours):
    """y[n, c, p] = x[n, c, ⌊p · step⌋]; with ``centred``, x[n, c, ⌊(p + ½) · step⌋]

    x (N, C, positions…) → y (N, C, *count), float32 or float64. PyTorch's modes "nearest" and "nearest-exact".
    """

    title: ClassVar[str] = "upsample nearest"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.resampled(inputs[0]),)

    def maps(self, size: Sizes) -> Maps:
        return self.axes(size)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        return (NearestResamplingGradient(self.count, self.step, self.centred, positions(x.type))(dy),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        where = "half_pixel" if self.centred else "asymmetric"
        rounding = "round_prefer_ceil" if self.centred else "floor"
        options = {"mode": "nearest", "coordinate_transformation_mode": where, "nearest_mode": rounding}
        return self.onnx_resize(to, inputs[0], positions(types[0]), **options)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for number, (shape, count) in enumerate(_EXAMPLES):
            op = cls(count, _steps(shape[2:], count), number % 3 == 1)
            yield Sample(op, (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class NearestResamplingGradient(Neighbours):
    """dx[n, c, i] = Σ dy[n, c, p] over the positions p whose nearest neighbour is i

    Gradient of ``NearestResampling``: dy (N, C, *count) → dx (N, C, *size).
    """

    title: ClassVar[str] = "upsample nearest gradient"
    reads_once: ClassVar[bool] = True
    size: Sizes = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.input_of(inputs[0], self.size),)

    def maps(self, size: Sizes) -> Maps:
        return tuple(map(transposed, self.axes(self.size)))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        g = expanded(output_gradients[0], outputs[0])
        return (NearestResampling(self.count, self.step, self.centred)(g),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for number, (shape, count) in enumerate(_EXAMPLES):
            op = cls(count, _steps(shape[2:], count), number % 3 == 1, shape[2:])
            yield Sample(op, (random.standard_normal((*shape[:2], *count)),))


@dataclass(frozen=True)
class Interpolation(Resampling):
    """Base class of linear interpolation and its gradient (abstract).

    With ``align_corners``, the centres of the first and of the last positions of x and y coincide. Otherwise, the outer
    edges of the first positions do, and if ``step`` is the ratio of the sizes, those of the last positions too.
    """

    align_corners: bool = False

    def axes(self, size: Sizes) -> Maps:
        def axis(length: int, count: int, step: float) -> ResampledAxis:
            if count == length:  # PyTorch then ignores a given scale factor
                return NearestAxis(length, count, 1.0, False)
            return LinearAxis(length, count, step, self.align_corners)

        return tuple(itertools.starmap(axis, zip(size, self.count, self.step, strict=True)))


@register
@dataclass(frozen=True)
class LinearResampling(Interpolation):
    """y[n, c, p] = Σ w · x[n, c, i] over the two neighbours i of position p along each axis

    Linear, bilinear or trilinear interpolation: x (N, C, positions…) → y (N, C, *count), float32 or float64. Along each
    axis, position p has the coordinate i + a in x, with whole i and 0 ≤ a ≤ 1 as in ``LinearAxis``. Its neighbours x[i]
    and x[i + 1] have the weights 1 − a and a, and w is the product of the weights along all axes.
    """

    title: ClassVar[str] = "upsample linear"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.resampled(inputs[0]),)

    def maps(self, size: Sizes) -> Maps:
        return self.axes(size)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        return (LinearResamplingGradient(self.count, self.step, self.align_corners, positions(x.type))(dy),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        where = "align_corners" if self.align_corners else "half_pixel"
        options = {"mode": "linear", "coordinate_transformation_mode": where}
        return self.onnx_resize(to, inputs[0], positions(types[0]), **options)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for number, (shape, count) in enumerate(_EXAMPLES):
            aligned = number % 2 == 1
            op = cls(count, _steps(shape[2:], count, aligned), aligned)
            yield Sample(op, (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class LinearResamplingGradient(Interpolation):
    """dx[n, c, i] = Σ dy[n, c, p] · the weight of i at p, over all positions p

    Gradient of ``LinearResampling``: dy (N, C, *count) → dx (N, C, *size).
    """

    title: ClassVar[str] = "upsample linear gradient"
    size: Sizes = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.input_of(inputs[0], self.size),)

    def maps(self, size: Sizes) -> Maps:
        return tuple(map(transposed, self.axes(self.size)))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        g = expanded(output_gradients[0], outputs[0])
        return (LinearResampling(self.count, self.step, self.align_corners)(g),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for number, (shape, count) in enumerate(_EXAMPLES):
            aligned = number % 2 == 1
            op = cls(count, _steps(shape[2:], count, aligned), aligned, shape[2:])
            yield Sample(op, (random.standard_normal((*shape[:2], *count)),))


_EXAMPLES: list[tuple[tuple[int, ...], Sizes]] = [
    ((2, 3, 4, 5), (8, 10)),
    ((1, 17, 3, 4), (7, 4)),
    ((2, 1, 1, 1), (3, 2)),  # one pixel
    ((1, 3, 5, 7), (1, 1)),  # to one pixel
    ((2, 3, 9), (4,)),
    ((1, 1, 3), (LONGEST_TABLE,)),  # without tables
    ((1, 1, LONGEST_TABLE + 1), (5,)),
    ((1, 2, 2, 3, 2), (3, 7, 2)),
    ((1, 2, 17, 5), (40, 3)),
]


def _steps(size: Sizes, count: Sizes, align_corners: bool = False) -> tuple[float, ...]:
    """Return the distance of neighbouring positions of y along each axis, in positions of x.

    It is size / count for the sizes of x and y, or (size − 1) / (count − 1) with ``align_corners``.
    """
    if align_corners:
        return tuple((n - 1) / (c - 1) if c > 1 else 0.0 for n, c in zip(size, count, strict=True))
    return tuple(n / c for n, c in zip(size, count, strict=True))


SMOOTH_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
"""Modes of interpolation, and the number of spatial axes that each one requires."""

MODES = ("nearest", "nearest-exact", *SMOOTH_MODES, "area")


def interpolate(
    input: Value,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Value:
    """Return x resampled to the spatial sizes ``size``, or to ⌊``scale_factor`` · size of x⌋, as in PyTorch.

    ``input`` is x (N, C, positions…) or one sample (C, positions…), float32 or float64; ``size`` and ``scale_factor``
    are one number, or one for each spatial axis. A sample is recognized by the mode, if that fixes the number of axes,
    by the number of entries in ``size`` or ``scale_factor``, or by having two axes. For one to three axes, the ``mode``
    "nearest" takes the element at ⌊p · step⌋, "nearest-exact" the one at ⌊(p + ½) · step⌋, where p is the position in
    y; "area" is ``adaptive_avg_pool``. "linear" (one axis), "bilinear" (two) and "trilinear" (three) interpolate, and
    so does "bicubic" (two axes), by cubic polynomials. With ``align_corners``, the centres of the first and of the last
    positions of x and y coincide. Otherwise the outer edges of the first positions do, and the step is 1 /
    ``scale_factor``; with ``size`` or ``recompute_scale_factor``, it is the ratio of the sizes of x and y, so that the
    outer edges of the last positions coincide too. Raises ShapeError if the number of axes does not suit the mode,
    DTypeError for another dtype, and OptionError for invalid options and unless exactly one of ``size`` and
    ``scale_factor`` is given.
    """
    aligned, again = checked_options("interpolate", size, scale_factor, mode, align_corners, recompute_scale_factor)

    def of_batch(x: Value) -> Value:
        require_positions("interpolate", x.type)
        own = positions(x.type)
        if mode in SMOOTH_MODES and len(own) != SMOOTH_MODES[mode]:
            fitting = next(name for name, rank in SMOOTH_MODES.items() if rank == len(own))
            raise shape_error("interpolate", f'mode="{mode}" for {x.type}', f'mode="{fitting}", or "nearest"')
        count = _counts(own, size, scale_factor)
        if mode == "area":
            return adaptive_avg_pool(x, count)
        steps = _steps(own, count, aligned) if 0 not in count else (1.0,) * len(own)
        if scale_factor is not None and not again and not aligned:
            steps = tuple(1 / scale for scale in _scales(scale_factor, len(own)))
        if mode == "bicubic":
            return bicubic(x, count, steps, aligned)
        if mode in SMOOTH_MODES:
            return LinearResampling(count, steps, aligned)(x)
        return NearestResampling(count, steps, mode == "nearest-exact")(x)

    rank = SMOOTH_MODES.get(mode) or position_axes(input.type, size, scale_factor)
    return over_samples(of_batch, input, rank)


def checked_options(
    what: str,
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    mode: object,
    align_corners: object,
    recompute_scale_factor: object,
) -> tuple[bool, bool]:
    """Check the options of ``interpolate``; return (align_corners, recompute_scale_factor), where None becomes False.

    Raises ``OptionError`` for an unknown mode, unless exactly one of ``size`` and ``scale_factor`` is given, and for
    options that would have no effect. ``what`` is the function or layer that the error names.
    """
    options.choice(f"{what}: mode", mode, MODES)
    if mode not in SMOOTH_MODES and align_corners is not None:
        raise OptionError(
            f'{what}: align_corners={align_corners!r} has no effect with mode="{mode}"\n  help: leave it out'
        )
    aligned = align_corners is not None and options.flag(f"{what}: align_corners", align_corners)
    again = recompute_scale_factor is not None and options.flag(
        f"{what}: recompute_scale_factor", recompute_scale_factor
    )
    if (size is None) == (scale_factor is None):
        raise OptionError(f"{what}: give either size or scale_factor\n  help: scale_factor=2 doubles every axis")
    if again and size is not None:
        raise OptionError(f"{what}: recompute_scale_factor=True has no effect with size\n  help: leave it out")
    if size is not None:
        per_axis(f"{what}: size", size, len(size) if isinstance(size, Sequence) else 1)
    else:
        _scales(scale_factor, len(scale_factor) if isinstance(scale_factor, Sequence) else 1)
    return aligned, again


def _scales(scale_factor: object, rank: int) -> tuple[float, ...]:
    each = isinstance(scale_factor, Sequence)
    given = tuple(cast("Sequence[object]", scale_factor)) if each else (scale_factor,) * rank
    if len(given) != rank:
        raise OptionError(f"scale_factor must be one number or {rank}, one for each axis, not {scale_factor!r}")
    return tuple(options.number("scale_factor", one, above=0.0) for one in given)


def _counts(own: Sizes, size: int | Sequence[int] | None, scale_factor: object) -> Sizes:
    """Return the spatial sizes of the result, from ``size`` or ``scale_factor``; ``own`` are the sizes of the input.

    Raises ``OptionError`` if a size would be 0 or too large.
    """
    if size is not None:
        return per_axis("size", size, len(own))
    scales = _scales(scale_factor, len(own))
    counts = tuple(int(length * scale) for length, scale in zip(own, scales, strict=True))
    if max(counts) > LARGEST or (0 not in own and min(counts) < 1):
        raise OptionError(
            f"{place('interpolate')}: scale_factor={scale_factor!r} makes {times(counts)} positions of {times(own)}\n"
            f"  help: choose a factor for which every axis has 1 to {LARGEST:,} positions"
        )
    return counts
