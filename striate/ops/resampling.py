"""Resampling to other spatial sizes by nearest neighbours or linear interpolation, and its gradients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import TensorType
from striate.ops.axis_map import transposed
from striate.ops.mapped import Mapped, Maps
from striate.ops.requirement import require_floats, require_positions, shape_error
from striate.ops.resampled_axis import LONGEST_TABLE, LinearAxis, NearestAxis, ResampledAxis
from striate.ops.shaping import expanded
from striate.ops.window import Sizes, positions, times


@dataclass(frozen=True)
class Resampling(Mapped):
    """Base class of resampling and its gradients (abstract).

    x is resampled to y. ``count`` holds the spatial sizes of y, and ``step`` the distance between neighbouring
    positions of y, in positions of x, along each spatial axis.
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
        ratios = steps_between(size, self.count)
        if attributes["coordinate_transformation_mode"] == "align_corners" or self.step == ratios:
            axes = tuple(range(2, 2 + len(size)))
            return [to.add("Resize", x, "", "", to.integers(*self.count), axes=axes, **attributes)]
        scales = np.asarray([1, 1, *(1 / step for step in self.step)], np.float32)
        return [to.add("Resize", x, "", to.constant(scales), **attributes)]

    def resampled(self, x: TensorType) -> TensorType:
        """Return the type of y for an input of type x.

        Raises ``DTypeError`` unless x has a floating-point dtype, and ``ShapeError`` if a size is 0 or if x does not
        have one spatial axis for each entry of ``count``.
        """
        require_floats(self, [x])
        require_positions(self, x)
        if not x.rank - 2 == len(self.count) == len(self.step):
            raise shape_error(self, f"{len(self.count)} sizes for {x}", "give one size for each spatial axis")
        if 0 in x.shape[2:] or min(self.count) < 1:
            raise shape_error(self, f"{x} cannot be resampled to {times(self.count)} positions", "sizes are at least 1")
        return x.with_shape((*x.shape[:2], *self.count))

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.resampled(inputs[0]),)

    def maps(self, size: Sizes) -> Maps:
        return self.axes(size)


@dataclass(frozen=True)
class ResamplingGradient(Resampling):
    """Base class of the gradients of resampling: dy (N, C, *count) → dx (N, C, *size) (abstract).

    ``count`` holds the spatial sizes of y, and ``size`` those of x.
    """

    size: Sizes = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (dy,) = inputs
        x = dy.with_shape((*dy.shape[:2], *self.size))
        if self.resampled(x) != dy:
            raise shape_error(self, f"resampling does not return {dy}", "give the shape of the forward pass")
        return (x,)

    def maps(self, size: Sizes) -> Maps:
        return tuple(map(transposed, self.axes(self.size)))


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

    x (N, C, positions…) → y (N, C, *count), float32 or float64. ``step`` is the distance between neighbouring positions
    of y, in positions of x, along each axis. These are PyTorch's modes "nearest" and "nearest-exact".
    """

    title: ClassVar[str] = "upsample nearest"

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
            op = cls(count, steps_between(shape[2:], count), number % 3 == 1)
            yield Sample(op, (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class NearestResamplingGradient(ResamplingGradient, Neighbours):
    """dx[n, c, i] = Σ dy[n, c, p] over the positions p whose nearest neighbour is i

    Gradient of ``NearestResampling``: dy (N, C, *count) → dx (N, C, *size), where ``count`` holds the spatial sizes of
    y, and ``size`` those of x.
    """

    title: ClassVar[str] = "upsample nearest gradient"
    reads_once: ClassVar[bool] = True

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        g = expanded(output_gradients[0], outputs[0])
        return (NearestResampling(self.count, self.step, self.centred)(g),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for number, (shape, count) in enumerate(_EXAMPLES):
            op = cls(count, steps_between(shape[2:], count), number % 3 == 1, shape[2:])
            yield Sample(op, (random.standard_normal((*shape[:2], *count)),))


@dataclass(frozen=True)
class Interpolation(Resampling):
    """Base class of linear interpolation and its gradient (abstract).

    With ``align_corners``, the centres of the first and of the last positions of x and y coincide. Otherwise, the outer
    edges of the first positions coincide. If ``step`` is the ratio of the sizes, the outer edges of the last positions
    then coincide too.
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
            op = cls(count, steps_between(shape[2:], count, aligned), aligned)
            yield Sample(op, (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class LinearResamplingGradient(ResamplingGradient, Interpolation):
    """dx[n, c, i] = Σ dy[n, c, p] · the weight of i at p, over all positions p

    Gradient of ``LinearResampling``: dy (N, C, *count) → dx (N, C, *size), where ``count`` holds the spatial sizes of
    y, and ``size`` those of x.
    """

    title: ClassVar[str] = "upsample linear gradient"

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        g = expanded(output_gradients[0], outputs[0])
        return (LinearResampling(self.count, self.step, self.align_corners)(g),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for number, (shape, count) in enumerate(_EXAMPLES):
            aligned = number % 2 == 1
            op = cls(count, steps_between(shape[2:], count, aligned), aligned, shape[2:])
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


def steps_between(size: Sizes, count: Sizes, align_corners: bool = False) -> tuple[float, ...]:
    """Return the distance between neighbouring positions of y along each axis, in positions of x.

    ``size`` holds the sizes of x and ``count`` those of y. The distance is size / count. With ``align_corners``, it is
    (size − 1) / (count − 1), or 0 if count is 1.
    """
    if align_corners:
        return tuple((n - 1) / (c - 1) if c > 1 else 0.0 for n, c in zip(size, count, strict=True))
    return tuple(n / c for n, c in zip(size, count, strict=True))
