"""Draw random operations with random parameters and shapes.

Sizes may be 0, 1 or odd, and strides larger than the kernel. ``draw_sample`` draws one registered operation with its
inputs, ``draw_network`` a small graph of two to four layers. Both use only the given random generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from striate.graph.elementwise import Cast
from striate.graph.graph import Graph, Input
from striate.graph.op import Kind, Op, Sample
from striate.graph.reshape import Reshape, reshape
from striate.graph.value import Array, DType, N, Shape, TensorType, Value
from striate.ops.activation import LeakyRelu, Relu, Sigmoid, Tanh
from striate.ops.adaptive import (
    AdaptiveAveragePooling,
    AdaptiveAveragePoolingGradient,
    AdaptiveMaxPooling,
    AdaptiveMaxPoolingGradient,
)
from striate.ops.average_pooling import AveragePooling, AveragePoolingGradient
from striate.ops.axis_softmax import AxisLogSoftmax, AxisSoftmax
from striate.ops.channel_softmax import LogSoftmax, Softmax
from striate.ops.concatenation import Concat
from striate.ops.convolution import Convolution, ConvolutionInputGradient, ConvolutionWeightGradient
from striate.ops.extremes import LogSumExp, Positions, Prod
from striate.ops.matmul import MatMul, MatMulSum
from striate.ops.max_pooling import MaxPooling, MaxPoolingGradient
from striate.ops.normalization import BatchNormalization
from striate.ops.pad_axis import PadMode
from striate.ops.padding import Pad, PadAxes, PadGradient
from striate.ops.pixel_shuffle import PixelShuffle, PixelUnshuffle
from striate.ops.reduction import Moments, Reduction, Sum
from striate.ops.shaping import BroadcastTo
from striate.ops.slicing import Slice, SliceGradient
from striate.ops.transposed_convolution import TransposedConvolution, least_sizes
from striate.ops.transposition import Transpose
from striate.passes.differentiate import differentiate
from tests.compiled.cases import OPERATIONS, Problem, total

Random = np.random.Generator

SAMPLES = (0, 1, 1, 2, 3, 5, 17)
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 16, 17)
CHANNELS = (1, 1, 2, 3, 4, 5, 16, 17, 18, 32, 33)


def one_of(random: Random, choices: Any) -> Any:
    """Return one of some choices with equal probability."""
    return choices[int(random.integers(len(choices)))]


def chance(random: Random, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(random.random() < probability)


def size(random: Random, choices: tuple[int, ...] = SIZES) -> int:
    """Return a random size of an axis, which is 0 in one of 25 cases."""
    return 0 if chance(random, 0.04) else one_of(random, choices)


def shape(random: Random, least: int = 0, most: int = 5) -> tuple[int, ...]:
    """Return the first axes of a random shape (N, C, spatial axes …), from ``least`` to ``most`` axes."""
    rank = int(random.integers(least, most + 1))
    largest = 2000
    sizes = [one_of(random, SAMPLES), size(random, CHANNELS), size(random), size(random), size(random)][:rank]
    while math.prod(max(1, one) for one in sizes) > largest:
        sizes[sizes.index(max(sizes))] = int(random.integers(1, 4))
    return tuple(sizes)


def normal(random: Random, sizes: tuple[int, ...]) -> Array:
    """Return normally distributed numbers that float32 represents exactly."""
    return np.asarray(random.standard_normal(sizes), np.float32).astype(np.float64)


def _smaller(random: Random, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return a random shape that broadcasts to ``sizes``."""
    kind = int(random.integers(4))
    if kind == 0:
        return ()
    if kind == 1 and len(sizes) > 1:
        return (1, sizes[1], *(1,) * (len(sizes) - 2))
    if kind == 2:
        return tuple(1 if chance(random, 0.5) else one for one in sizes)
    return sizes


# Geometry


def _geometry(random: Random, rank: int, dilated: bool = True) -> tuple[Any, ...]:
    """Return a random (kernel, stride, padding, dilation)."""
    kernel = tuple(int(random.integers(1, 5)) for _ in range(rank))
    stride = tuple(one_of(random, (1, 1, 2, 3, 5)) for _ in range(rank))
    dilation = tuple(one_of(random, (1, 1, 1, 2, 3)) if dilated else 1 for _ in range(rank))
    padding = tuple((int(random.integers(0, 3)), int(random.integers(0, 3))) for _ in range(rank))
    if chance(random, 0.4):
        padding = ((0, 0),) * rank
    return kernel, stride, padding, dilation


def _groups(random: Random) -> tuple[int, int, int]:
    """Return a random (groups, input channels per group, filters): dense, depthwise, or few channels per group."""
    groups = one_of(random, (1, 1, 1, 2, 3, 5, 16, 17, 33))
    if groups == 1:
        return 1, size(random, CHANNELS), size(random, CHANNELS)
    if chance(random, 0.5):
        return groups, 1, groups * one_of(random, (1, 1, 2, 3))
    channels = (1, 2, 3, 4, 6, 8, 12, 16, 20) if groups < 6 else (1, 2, 3, 4)
    return groups, size(random, channels), groups * size(random, channels)


def _convolution(random: Random) -> tuple[Convolution, Array, Array, Array]:
    """Return a random (operation, x, w, y); one in three can use Winograd tiles.

    Those have 3×3 or 5×5 filters and at least 16 channels.
    """
    n = one_of(random, SAMPLES)
    if chance(random, 0.33):
        taps, s = one_of(random, ((3, 1), (3, 1), (5, 1), (3, 2)))
        before = int(random.integers(0, taps))
        kernel, stride, dilation = (taps, taps), (s, s), (1, 1)
        padding = ((before, int(random.integers(0, taps))), (before, int(random.integers(0, taps))))
        groups, depth, filters = 1, one_of(random, (16, 17, 32)), one_of(random, (16, 18, 33))
        positions = tuple(int(random.integers(taps + 2, 20)) for _ in range(2))
        n = min(n, 3)
    else:
        rank = one_of(random, (1, 2, 2, 2, 3))
        kernel, stride, padding, dilation = _geometry(random, rank)
        groups, depth, filters = _groups(random)
        positions = tuple(
            max(1, d * (k - 1) + 1 - b - a) + int(random.integers(0, 6 if rank < 3 else 3))
            for k, d, (b, a) in zip(kernel, dilation, padding, strict=True)
        )
    op = Convolution(stride, padding, dilation, groups)
    x, w = normal(random, (n, depth * groups, *positions)), normal(random, (filters, depth, *kernel))
    types = [TensorType(DType.float64, array.shape) for array in (x, w)]
    return op, x, w, normal(random, op.infer(*types)[0].concrete(n))


def _convolutional(name: str, random: Random) -> Sample:
    if name == "TransposedConvolution":
        return _transposed(random)
    op, x, w, y = _convolution(random)
    options = (op.stride, op.padding, op.dilation, op.groups)
    if name == "ConvolutionInputGradient":
        return Sample(ConvolutionInputGradient(*options, x.shape[2:]), (y, w))
    if name == "ConvolutionWeightGradient":
        return Sample(ConvolutionWeightGradient(*options, w.shape[2:]), (x, y))
    return Sample(op, (x, w))


def _transposed(random: Random) -> Sample:
    rank = one_of(random, (1, 2, 2, 2, 3))
    kernel, stride, padding, dilation = _geometry(random, rank)
    groups, depth, filters = _groups(random)
    least = [
        max(1, -(-(b + a + 1 - d * (k - 1)) // s) + 1) for k, s, d, (b, a) in zip(kernel, stride, dilation, padding)
    ]
    positions = tuple(one + int(random.integers(0, 5 if rank < 3 else 3)) for one in least)
    more = tuple(int(random.integers(0, s)) for s in stride)
    sizes = least_sizes(positions, kernel, stride, padding, dilation)
    op = TransposedConvolution(
        stride, padding, dilation, groups, tuple(a + b for a, b in zip(sizes, more, strict=True))
    )
    x = normal(random, (one_of(random, SAMPLES), filters, *positions))
    return Sample(op, (x, normal(random, (filters, depth, *kernel))))


def _pooling(name: str, random: Random) -> Sample:
    rank = one_of(random, (1, 2, 2, 2, 3))
    average = name.startswith("Average")
    kernel, stride, padding, dilation = _geometry(random, rank, not average)
    ceil_mode = chance(random, 0.3)
    positions = tuple(
        max(1, d * (k - 1) + 1 - b - a) + int(random.integers(0, 7 if rank < 3 else 3))
        for k, d, (b, a) in zip(kernel, dilation, padding, strict=True)
    )
    x = normal(random, (one_of(random, SAMPLES), size(random, CHANNELS), *positions))
    options: tuple[Any, ...] = (stride, padding, kernel, dilation, ceil_mode)
    if average:
        options += (chance(random, 0.5),)
        divisor = one_of(random, (None, None, 5, -2))
        op: Any = AveragePooling(*options, divisor_override=divisor)
    else:
        op = MaxPooling(*options)
    if not name.endswith("Gradient"):
        return Sample(op, (x,))
    kind = TensorType(DType.float64, x.shape)
    dy = normal(random, op.infer(kind)[0].shape)
    if average:
        return Sample(AveragePoolingGradient(*options, positions, divisor_override=op.divisor_override), (dy,))
    index = op.reference(x)[1]
    return Sample(MaxPoolingGradient(*options, positions), (dy, index), differentiable=(False, False))


def _padding(name: str, random: Random) -> Sample:
    rank = one_of(random, (1, 2, 2, 3))
    mode = one_of(random, list(PadMode))
    lengths = tuple(int(random.integers(1, 7 if rank < 3 else 4)) for _ in range(rank))
    pairs: list[tuple[int, int]] = []
    for length in lengths:
        before, after = (int(random.integers(-(length // 2), 5)), int(random.integers(-((length - 1) // 2), 5)))
        kept = length + min(0, before) + min(0, after)
        most = {PadMode.reflect: length - 1, PadMode.circular: kept}.get(mode, 5)
        pairs.append((min(before, most), min(after, most)))
    op = Pad(tuple(pairs), mode, one_of(random, (0.0, -2.5)) if mode is PadMode.constant else 0.0)
    x = normal(random, (one_of(random, SAMPLES), size(random, CHANNELS), *lengths))
    if name == "Pad":
        return Sample(op, (x,))
    dy = normal(random, op.infer(TensorType(DType.float64, x.shape))[0].shape)
    return Sample(PadGradient(op.padding, mode, lengths), (dy,))


def _adaptive(name: str, random: Random) -> Sample:
    rank = one_of(random, (1, 2, 2, 3))
    lengths = tuple(int(random.integers(1, 12 if rank < 3 else 5)) for _ in range(rank))
    windows = tuple(int(random.integers(1, 8 if rank < 3 else 5)) for _ in range(rank))
    lead = (one_of(random, SAMPLES), size(random, CHANNELS))
    x, dy = normal(random, (*lead, *lengths)), normal(random, (*lead, *windows))
    if name == "AdaptiveAveragePooling":
        return Sample(AdaptiveAveragePooling(windows), (x,))
    if name == "AdaptiveAveragePoolingGradient":
        return Sample(AdaptiveAveragePoolingGradient(windows, lengths), (dy,))
    op = AdaptiveMaxPooling(windows)
    if name == "AdaptiveMaxPooling":
        return Sample(op, (x,))
    index = op.reference(x)[1]
    return Sample(AdaptiveMaxPoolingGradient(windows, lengths), (dy, index), differentiable=(False, False))


def _resampling(name: str, random: Random) -> Sample:
    rank = one_of(random, (1, 1, 2, 2, 3))
    lengths = tuple(int(random.integers(1, 9 if rank < 3 else 4)) for _ in range(rank))
    count = tuple(int(random.integers(1, 15 if rank < 3 else 6)) for _ in range(rank))
    if rank == 1 and chance(random, 0.2):
        lengths = (int(random.integers(1, 4100)),)
    steps = tuple(n / c * one_of(random, (1.0, 1.0, 0.9, 1.1)) for n, c in zip(lengths, count, strict=True))
    option = chance(random, 0.5)
    lead = (one_of(random, SAMPLES), one_of(random, (1, 3, 17)))
    cls: Any = OPERATIONS[name]
    if name.endswith("Gradient"):
        return Sample(cls(count, steps, option, lengths), (normal(random, (*lead, *count)),))
    return Sample(cls(count, steps, option), (normal(random, (*lead, *lengths)),))


def _pixels(name: str, random: Random) -> Sample:
    factor, n, channels = int(random.integers(1, 4)), one_of(random, SAMPLES), size(random, (1, 2, 3, 17))
    height, width = int(random.integers(1, 6)), int(random.integers(1, 6))
    if name == "PixelShuffle":
        return Sample(PixelShuffle(factor), (normal(random, (n, channels * factor**2, height, width)),))
    return Sample(PixelUnshuffle(factor), (normal(random, (n, channels, height * factor, width * factor)),))


def _pad_axes(name: str, random: Random) -> Sample:
    x = normal(random, shape(random, 1))
    pairs = tuple((int(random.integers(-(n // 2), 4)), int(random.integers(-(n // 2), 4))) for n in x.shape)
    if chance(random, 0.7):
        pairs = ((0, 0), *pairs[1:])
    op = PadAxes(pairs, one_of(random, (0.0, 1.5)))
    return Sample(op, (x,), batched=not any(pairs[0]))


# The others


def _elementwise(name: str, random: Random) -> Sample:
    examples = list(OPERATIONS[name].samples(random))
    op, arrays = one_of(random, [(example.op, example.arrays) for example in examples])
    sizes = shape(random, 2 if OPERATIONS[name].kind is Kind.RANDOM else 0)
    drawn: list[Array] = []
    for number, array in enumerate(arrays):
        own = sizes if number == 0 or op.kind is Kind.RANDOM else _smaller(random, sizes)
        if array.dtype.kind == "b":
            drawn.append(random.random(own) < 0.5)
        elif array.dtype.kind != "f":
            drawn.append(array)
        elif array.size and array.min() > 0:  # logarithms, roots, divisors
            drawn.append(np.abs(normal(random, own)) + 0.5)
        else:
            drawn.append(normal(random, own))
    if isinstance(op, Cast):
        op = Cast(one_of(random, (DType.float32, DType.float64)))
    return Sample(op, tuple(drawn))


def _expand(name: str, random: Random) -> Sample:
    sizes = shape(random)
    return Sample(BroadcastTo(sizes), (normal(random, _smaller(random, sizes)),), batched=False)


def _reduction(name: str, random: Random) -> Sample:
    cls: Any = OPERATIONS[name]
    sizes = shape(random, 1)
    axes = tuple(axis for axis in range(len(sizes)) if chance(random, 0.5)) or (0,)
    if len(sizes) > 2 and chance(random, 0.3):
        axes = (0, *range(2, len(sizes)))
    return Sample(cls(axes), (normal(random, sizes) + one_of(random, (0, 0, 100)),))


def _rowwise(name: str, random: Random) -> Sample:
    cls: Any = OPERATIONS[name]
    count = len(next(iter(cls.samples(random))).arrays)
    sizes = shape(random, 2)
    x = 3 * normal(random, sizes)
    if count == 1:
        return Sample(cls(), (x,))
    probability = (Softmax() if name == "SoftmaxGradient" else LogSoftmax()).reference(x) if x.size else x
    return Sample(cls(), (np.asarray(probability, np.float64), normal(random, sizes)))


def _along_axis(name: str, random: Random) -> Sample:
    cls: Any = OPERATIONS[name]
    sizes = shape(random, 1)
    axis = int(random.integers(len(sizes)))
    x, batched = 3 * normal(random, sizes), axis > 0
    if not name.endswith("Gradient"):
        return Sample(cls(axis), (x,), batched=batched)
    forward = AxisSoftmax(axis) if name == "AxisSoftmaxGradient" else AxisLogSoftmax(axis)
    y = np.asarray(forward.reference(x) if x.size else x, np.float64)
    return Sample(cls(axis), (y, normal(random, sizes)), batched=batched)


def _labels(name: str, random: Random) -> Sample:
    sizes = shape(random, 2)
    sizes = (sizes[0], max(1, sizes[1]), *sizes[2:])
    labels = random.integers(0, sizes[1], (sizes[0], *sizes[2:])).astype(np.int64)
    ignored = one_of(random, (-100, 0, 255))
    labels[random.random(labels.shape) < one_of(random, (0.0, 0.0, 0.3, 1.0))] = ignored
    weight = (0.5 + np.abs(normal(random, (sizes[1],))),) if chance(random, 0.5) and name != "OneHot" else ()
    smoothing = one_of(random, (0.0, 0.1, 1.0))
    cls: Any = OPERATIONS[name]
    op = cls(smoothing, ignored) if name.startswith("CrossEntropy") else cls(ignore_index=ignored)
    fixed = (False,) * (1 + len(weight))
    given = (3 * normal(random, sizes), labels, *weight)
    if name in ("CrossEntropy", "NegativeLogLikelihood"):
        return Sample(op, given, differentiable=(True, *fixed))
    arrays = (*given, normal(random, labels.shape))
    return Sample(op, arrays, differentiable=(name != "OneHot", *fixed, True))


def _group_reduction(name: str, random: Random) -> Sample:
    groups, together = one_of(random, (1, 2, 3, 17)), one_of(random, (2, 3, 4, 16))
    sizes = (one_of(random, SAMPLES), groups * together, int(random.integers(2, 6)), int(random.integers(1, 5)))
    cls: Any = OPERATIONS[name]
    return Sample(cls(tuple(range(2, len(sizes))), groups), (normal(random, sizes) + one_of(random, (0, 0, 100)),))


def _sample_normalization(name: str, random: Random) -> Sample:
    cls: Any = OPERATIONS[name]
    epsilon = one_of(random, (1e-5, 0.1))
    if name == "GroupNormalization":
        groups, together = one_of(random, (1, 2, 3, 17)), one_of(random, (2, 3, 4, 16))
        sizes = (one_of(random, SAMPLES), groups * together, int(random.integers(2, 6)), int(random.integers(1, 4)))
        op, affine = cls(epsilon, groups), (1, sizes[1], 1, 1)
    else:
        n, *rest = shape(random, 2)
        sizes = (n, *(max(1, one) for one in rest))
        first = int(random.integers(1, len(sizes)))
        last = first + 1 if chance(random, 0.5) else len(sizes)
        op = cls(epsilon, tuple(range(first, last)))
        affine = tuple(one if place in op.axes else 1 for place, one in enumerate(sizes))
    count = int(random.integers(0, 2 if name.startswith("Rms") else 3))
    return Sample(op, (2 * normal(random, sizes) + 3, *(normal(random, affine) for _ in range(count))))


def _normalization(name: str, random: Random) -> Sample:
    sizes = shape(random, 2)
    affine = (normal(random, sizes[1:2]), normal(random, sizes[1:2])) if chance(random, 0.7) else ()
    return Sample(BatchNormalization(one_of(random, (1e-5, 0.1))), (2 * normal(random, sizes) + 3, *affine))


def _linear(name: str, random: Random) -> Sample:
    n, features, results = one_of(random, SAMPLES), size(random, CHANNELS), size(random, CHANNELS)
    return Sample(OPERATIONS[name](), (normal(random, (n, features)), normal(random, (results, features))))


def _windows(random: Random, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return random (axes, starts, counts, steps) of slices of some axes, never of the first."""
    axes = tuple(axis for axis in range(1, len(sizes)) if chance(random, 0.6))
    starts, counts, steps = [], [], []
    for axis in axes:
        step = one_of(random, (1, 1, 1, 2, 3, -1, -2))
        first, end = sorted(int(one) for one in random.integers(0, sizes[axis] + 1, 2))
        count = -(-(end - first) // abs(step))
        if axis == 1 and chance(random, 0.3) and step == 1:
            first -= first % 16
            count = end - first
        starts.append(first if step > 0 else first + (count - 1) * -step if count else 0)
        counts.append(count)
        steps.append(step)
    return axes, tuple(starts), tuple(counts), tuple(steps)


def _moved(name: str, random: Random) -> Sample:
    sizes = shape(random, 2)
    if name == "Transpose":
        order = (0, *(1 + int(axis) for axis in random.permutation(len(sizes) - 1)))
        return Sample(Transpose(order), (normal(random, sizes),))
    if name in ("Slice", "SliceGradient"):
        windows = _windows(random, sizes)
        if name == "Slice":
            return Sample(Slice(*windows), (normal(random, sizes),))
        found = list(sizes)
        for axis, count in zip(windows[0], windows[2], strict=True):
            found[axis] = count
        return Sample(
            SliceGradient(*windows, tuple(sizes[axis] for axis in windows[0])), (normal(random, tuple(found)),)
        )
    axis = int(random.integers(1, len(sizes)))
    parts = tuple(
        normal(random, (*sizes[:axis], size(random, CHANNELS), *sizes[axis + 1 :]))
        for _ in range(int(random.integers(1, 4)))
    )
    return Sample(Concat(axis), parts)


def _matrices(name: str, random: Random) -> Sample:
    rank = int(random.integers(2, 6))
    batch = [one_of(random, (1, 1, 2, 3)) for _ in range(rank - 2)]
    rows, depth, columns = (one_of(random, (1, 2, 3, 16, 17, 33, 40)) for _ in range(3))
    if chance(random, 0.1):
        depth = one_of(random, (513, 700))
    turned = chance(random, 0.5), chance(random, 0.5)

    def operand(sizes: tuple[int, int], transposed: bool, free: bool) -> Array:
        own = [size if axis == 0 or not free or chance(random, 0.7) else 1 for axis, size in enumerate(batch)]
        return normal(random, (*own, *(reversed(sizes) if transposed else sizes)))

    a, b = operand((rows, depth), turned[0], False), operand((depth, columns), turned[1], True)
    if name == "MatMul":
        return Sample(MatMul(*turned), (a, b), batched=rank > 2 and chance(random, 0.5))
    axes = tuple(axis for axis in range(rank - 2) if chance(random, 0.5))
    return Sample(MatMulSum(*turned, axes), (a, b), batched=rank > 2 and chance(random, 0.5))


def _extreme(name: str, random: Random) -> Sample:
    sizes = shape(random, 2)
    if name == "Positions":
        axis = int(random.integers(0, len(sizes)))
        size, apart = (max(1, sizes[axis]), max(1, math.prod(sizes[axis + 1 :]))) if axis else (0, 0)
        return Sample(Positions(size, apart), (normal(random, sizes),))
    if name == "LogSumExp":
        axes = tuple(axis for axis in range(len(sizes)) if chance(random, 0.5)) or (1,)
        return Sample(LogSumExp(axes), (3 * normal(random, sizes),))
    sizes = tuple(max(1, size) for size in sizes)
    x = random.integers(-3, 4, sizes) / 2
    return Sample(OPERATIONS[name](int(random.integers(0, len(sizes)))), (x,), differentiable=(False,))


def _product(name: str, random: Random) -> Sample:
    sizes = shape(random, 1)
    axes = tuple(axis for axis in range(len(sizes)) if chance(random, 0.5)) or (0,)
    zeros = random.random(sizes) < 0.1
    return Sample(Prod(axes), (np.where(zeros, 0, random.choice([-1.0, -0.5, 1.0, 2.0], sizes)),))


def _reshape(name: str, random: Random) -> Sample:
    x = normal(random, shape(random, 1))
    target = (x.shape[0], math.prod(x.shape[1:])) if chance(random, 0.6) else (x.size,)
    return Sample(Reshape(target), (x,), batched=False)


_BY_NAME: dict[str, Callable[[str, Random], Sample]] = {
    "Transpose": _moved, "Slice": _moved, "SliceGradient": _moved, "Concat": _moved, "MatMul": _matrices,
    "MatMulSum": _matrices, "Positions": _extreme, "ArgMax": _extreme, "ArgMin": _extreme, "LogSumExp": _extreme,
    "Prod": _product, "BroadcastTo": _expand, "Reshape": _reshape, "BatchNormalization": _normalization,
    "Linear": _linear,
    "Pad": _padding, "PadGradient": _padding, "PadAxes": _pad_axes,
    "AdaptiveAveragePooling": _adaptive, "AdaptiveAveragePoolingGradient": _adaptive, "AdaptiveMaxPooling": _adaptive,
    "AdaptiveMaxPoolingGradient": _adaptive, "NearestResampling": _resampling, "NearestResamplingGradient": _resampling,
    "LinearResampling": _resampling, "LinearResamplingGradient": _resampling, "PixelShuffle": _pixels,
    "PixelUnshuffle": _pixels,
    "NegativeLogLikelihood": _labels, "OneHot": _labels, "GroupSum": _group_reduction,
    "GroupMoments": _group_reduction, "GroupNormalization": _sample_normalization,
    "LayerNormalization": _sample_normalization, "RmsNormalization": _sample_normalization,
    "CrossEntropy": _labels, "CrossEntropyGradient": _labels, "AxisSoftmax": _along_axis,
    "AxisSoftmaxGradient": _along_axis, "AxisLogSoftmax": _along_axis, "AxisLogSoftmaxGradient": _along_axis,
}  # fmt: skip
_BY_KIND: dict[Kind, Callable[[str, Random], Sample]] = {
    Kind.ELEMENTWISE: _elementwise, Kind.RANDOM: _elementwise, Kind.SIZE: _reduction, Kind.REDUCTION: _reduction,
    Kind.CONTRACTION: _convolutional, Kind.WINDOW: _pooling, Kind.ROWWISE: _rowwise, Kind.GATHER: _moved,
}  # fmt: skip


def draw_sample(name: str, random: Random) -> Sample:
    """Return a sample of a registered operation, with random parameters and float64 inputs."""
    return _BY_NAME.get(name, _BY_KIND.get(OPERATIONS[name].kind, _elementwise))(name, random)


# Small networks


class _Network:
    """The values and arrays of a graph while it is drawn."""

    def __init__(self, random: Random, dtype: DType, batched: bool) -> None:
        self.random, self.dtype, self.batched = random, dtype, batched
        self.inputs: dict[str, Value] = {}
        self.arrays: dict[str, Array] = {}

    def input(self, array: Array, batched: bool = False) -> Value:
        """Add an input to the graph."""
        name = f"x{len(self.inputs)}"
        sizes: Shape = (N, *array.shape[1:]) if batched else array.shape
        self.inputs[name] = Input(name, TensorType(self.dtype, sizes))()
        self.arrays[name] = array.astype(self.dtype.numpy)
        return self.inputs[name]

    def layer(self, x: Value) -> Value:
        """Apply a random layer to x; returns x unchanged if the layer does not fit."""
        random = self.random
        channels, positions = x.shape[1], x.shape[2:]
        assert isinstance(channels, int)
        kind = int(random.integers(13))
        if kind == 0:
            return one_of(random, (Relu(), LeakyRelu(0.1), Tanh(), Sigmoid()))(x)
        if kind == 1 and positions:
            kernel = tuple(int(random.integers(1, 4)) for _ in positions)
            padding = tuple((k // 2, (k - 1) // 2) for k in kernel)
            stride = tuple(one_of(random, (1, 1, 2)) for _ in positions)
            groups, filters = 1, one_of(random, (1, 3, 16, 17))
            if channels and chance(random, 0.4):
                groups = one_of(random, [one for one in (2, 4, channels) if channels % one == 0])
                filters = groups * one_of(random, (1, 2, channels // groups))
            w = self.input(0.3 * normal(random, (filters, channels // groups, *kernel)))
            return Convolution(stride, padding, (1,) * len(positions), groups)(x, w)
        if kind == 2:
            gamma, beta = (self.input(normal(random, (channels,))) for _ in range(2))
            return BatchNormalization(1e-3)(x, gamma, beta)[0]
        if kind in (3, 4) and positions:
            kernel = tuple(min(2, one) if isinstance(one, int) else 1 for one in positions)
            options = (kernel, ((0, 0),) * len(kernel), kernel, (1,) * len(kernel), False)
            return MaxPooling(*options)(x)[0] if kind == 3 else AveragePooling(*options, True)(x)
        if kind == 5:
            bias = self.input(normal(random, (1, channels, *(1,) * len(positions))))
            return x * bias + x
        if kind == 6:
            return Softmax()(x)
        if kind == 7 and channels <= 33:
            return Concat()(x, Tanh()(x))
        if kind == 8 and positions:
            sizes = [one for one in positions if isinstance(one, int)]
            flat = reshape(x, (x.shape[0], channels * math.prod(sizes)))
            w = self.input(0.3 * normal(random, (one_of(random, (1, 5, 17)), channels * math.prod(sizes))))
            return OPERATIONS["Linear"]()(flat, w)
        if kind == 9:
            axes = (0, *range(2, x.type.rank))
            mean, variance = Moments(axes)(x)
            return (x - mean) * (variance + 1.0)
        last, end = x.type.rank - 1, x.shape[-1]
        if kind == 10 and isinstance(end, int) and end > 1:
            window = one_of(random, (Slice((last,), (1,), (end - 1,), (1,)), Slice((last,), (end - 1,), (end,), (-1,))))
            return window(x)
        if kind == 11 and x.type.rank > 2:
            return Transpose((0, *range(2, x.type.rank), 1))(x)
        if kind == 12 and x.type.rank > 2 and isinstance(end, int):
            w = self.input(0.3 * normal(random, (*(1,) * (x.type.rank - 2), end, one_of(random, (1, 5, 17)))))
            return MatMul()(x, w)
        return x * 0.5


def draw_network(random: Random, dtype: DType) -> Problem:
    """Return a graph of two to four layers, with a sum per channel and all gradients of Σ c · outputs."""
    batched = chance(random, 0.6)
    net = _Network(random, dtype, batched)
    sizes = shape(random, 2, 4)
    x = y = net.input(normal(random, sizes), batched)
    passed: list[Value] = [x]
    for _ in range(int(random.integers(2, 5))):
        y = net.layer(y)
        same = [value for value in passed if value.type == y.type]
        if same and chance(random, 0.3):
            y = y + one_of(random, same)
        passed.append(y)
    c = net.input(normal(random, y.type.concrete(sizes[0])), batched)
    loss = total(y * c)
    wanted = [value for name, value in net.inputs.items() if (value is not c and chance(random, 0.8)) or name == "x0"]
    gradients = differentiate(loss, wanted)
    outputs = {"y": y, "loss": loss, "sum": Sum((0, *range(2, y.type.rank)))(y)}
    outputs |= {f"d{number}": gradient for number, gradient in enumerate(gradients)}
    kept = {name: value for name, value in outputs.items() if chance(random, 0.7)} or {"loss": loss}
    layers = " → ".join(str(value.node.op).partition("(")[0] for value in passed)
    label = f"network {layers} of {sizes} {dtype.value} {'N' if batched else 'static'}"
    return Problem(label, Graph(net.inputs, kept), net.arrays, sizes[0])


def is_reduction(op: Op) -> bool:
    """Return whether the operation sums or compares elements over axes."""
    return isinstance(op, Reduction)
