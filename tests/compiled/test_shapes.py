"""Random shapes, drawn by Hypothesis: convolution, pooling, normalization, linear layers and concatenation.

Each graph contains the operation and its gradients. Compiled with a capacity of seven samples, it must agree with the
references for each number of samples, and bit for bit with a program for exactly that number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from striate.graph.graph import Graph, Input
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.ops.activation import Relu
from striate.ops.average_pooling import AveragePooling
from striate.ops.concatenation import Concat
from striate.ops.convolution import Convolution
from striate.ops.linear import Linear
from striate.ops.max_pooling import MaxPooling
from striate.ops.normalization import BatchNormalization
from striate.ops.reduction import Max, Moments, Sum
from striate.ops.slicing import Slice, SliceGradient
from striate.passes.differentiate import differentiate
from tests.compiled.cases import TOLERANCE, Problem, assert_same_bits, total
from tests.properties import examples

CAPACITY = 7
CHANNELS = (1, 3, 16, 17, 33)
DTYPES = st.sampled_from([DType.float32, DType.float64])
some = settings(max_examples=examples(1, 6), suppress_health_check=list(HealthCheck))
"""Each example compiles a program."""

Shape = tuple[int, ...]
Build = Callable[..., Value]


def check(build: Build, x: Shape, parameters: list[Shape], dtype: DType, short: int) -> None:
    """Check ``build(x, *parameters)`` and its gradients; ``x`` is the shape of one sample."""
    random = np.random.default_rng(1)

    def graph(lead: object) -> Graph:
        values = {"x": Input("x", TensorType(dtype, (lead, *x)))()}  # type: ignore[arg-type]
        values |= {f"p{i}": Input(f"p{i}", TensorType(dtype, shape))() for i, shape in enumerate(parameters)}
        y = build(*values.values())
        draw = Input("draw", y.type)()
        moved = differentiate(total(y * draw), list(values.values()))
        return Graph(
            {**values, "draw": draw}, {"y": y, **{f"d{name}": g for name, g in zip(values, moved, strict=True)}}
        )

    symbolic = graph(N)
    arrays: dict[str, Array] = {
        name: random.standard_normal(value.type.concrete(CAPACITY)).astype(dtype.numpy)
        for name, value in symbolic.inputs.items()
    }
    executable = Problem("", symbolic, arrays, CAPACITY).compiled(CAPACITY)
    for n in (CAPACITY, 1, short):
        given_n = {name: a[:n] if name in ("x", "draw") else a for name, a in arrays.items()}
        found = executable.run(given_n, n)
        expected = Problem("", symbolic, given_n, n).expected()
        for name, y in expected.items():
            assert found[name].shape == y.shape
            # a gradient may cancel to nothing: then it is judged by what it was summed from
            size = max(float(np.abs(y).max(initial=0)), 1e-2)
            error = float(np.abs(found[name].astype("f8") - y).max(initial=0)) / size
            assert error <= 10 * TOLERANCE[y.dtype], f"{name} of {n} samples is off by {error:.1e}"
    exact = Problem("", graph(short), given_n, short).run()
    assert_same_bits(found, exact, f"room for {CAPACITY} against exactly {short} samples")


def windows(rank: int) -> st.SearchStrategy[tuple[Shape, Shape, Shape, tuple[tuple[int, int], ...], Shape]]:
    """Draw (size, kernel, stride, padding, dilation) with at least one window along each axis."""

    def fits(drawn: list[tuple[int, int, int, int, int, int]]) -> bool:
        return all(size + b + a >= (k - 1) * d + 1 for size, k, _, b, a, d in drawn)

    axis = st.tuples(
        st.integers(1, 9 - 2 * rank), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2), st.integers(0, 2),
        st.integers(1, 2),
    )  # fmt: skip
    return st.lists(axis, min_size=rank, max_size=rank).filter(fits).map(
        lambda drawn: (
            tuple(one[0] for one in drawn), tuple(one[1] for one in drawn), tuple(one[2] for one in drawn),
            tuple((one[3], one[4]) for one in drawn), tuple(one[5] for one in drawn),
        )
    )  # fmt: skip


RANKS = st.sampled_from([1, 2, 2, 3])
GROUPS = st.one_of(
    st.tuples(st.just(1), st.sampled_from(CHANNELS), st.sampled_from(CHANNELS)),
    st.tuples(st.sampled_from([2, 3]), st.sampled_from([1, 3, 16]), st.sampled_from([1, 2, 16])),
    st.tuples(st.just(17), st.just(1), st.just(1)),
)


@some
@given(RANKS.flatmap(windows), GROUPS, DTYPES, st.integers(1, CAPACITY))
def test_convolution(window: object, channels: tuple[int, int, int], dtype: DType, short: int) -> None:
    size, kernel, stride, padding, dilation = window  # type: ignore[misc]
    groups, depth, filters = channels
    op = Convolution(stride, padding, dilation, groups)
    check(op, (groups * depth, *size), [(groups * filters, depth, *kernel)], dtype, short)


STRIDED_SIZES = st.tuples(st.integers(7, 21), st.integers(7, 21))
AROUND = st.sampled_from([((0, 0), (0, 1)), ((1, 1), (1, 1)), ((2, 2), (2, 0)), ((1, 0), (0, 1))])


@some
@given(STRIDED_SIZES, AROUND, st.sampled_from([(16, 16), (17, 33), (33, 17)]), DTYPES, st.integers(1, CAPACITY))
def test_convolution_of_stride_two_in_tiles(
    size: Shape, padding: tuple[tuple[int, int], ...], channels: tuple[int, int], dtype: DType, short: int
) -> None:
    inputs, outputs = channels
    op = Convolution((2, 2), padding, (1, 1), 1)
    check(op, (inputs, *size), [(outputs, inputs, 3, 3)], dtype, short)


@some
@given(st.sampled_from(CHANNELS), st.sampled_from(CHANNELS), st.sampled_from([(1, 1), (4, 7), (9, 2)]), DTYPES)
def test_fused_convolution(inputs: int, outputs: int, size: Shape, dtype: DType) -> None:
    """A chain with padded values in between: convolution, bias, activation, convolution, residual sum."""

    def build(x: Value, v: Value, bias: Value, w: Value) -> Value:
        same = ((1, 1), (1, 1))
        h = Relu()(Convolution((1, 1), same, (1, 1), 1)(x, v) + bias)
        return Convolution((1, 1), same, (1, 1), 1)(h, w) + h

    shapes: list[Shape] = [(outputs, inputs, 3, 3), (1, outputs, 1, 1), (outputs, outputs, 3, 3)]
    check(build, (inputs, *size), shapes, dtype, 3)


def _padding_of_pooling(window: object) -> None:
    _, kernel, _, padding, _ = window  # type: ignore[misc]
    assume(all(max(pair) <= k // 2 for pair, k in zip(padding, kernel, strict=True)))


@some
@given(RANKS.flatmap(windows), st.sampled_from(CHANNELS), st.booleans(), DTYPES, st.integers(1, CAPACITY))
def test_max_pooling(window: object, channels: int, ceil_mode: bool, dtype: DType, short: int) -> None:
    _padding_of_pooling(window)
    size, kernel, stride, padding, dilation = window  # type: ignore[misc]
    op = MaxPooling(stride, padding, kernel, dilation, ceil_mode)
    check(lambda x: op(x)[0], (channels, *size), [], dtype, short)


@some
@given(
    RANKS.flatmap(windows), st.sampled_from(CHANNELS), st.booleans(), st.booleans(), DTYPES, st.integers(1, CAPACITY)
)
def test_average_pooling(
    window: object, channels: int, ceil_mode: bool, include: bool, dtype: DType, short: int
) -> None:
    _padding_of_pooling(window)
    size, kernel, stride, padding, dilation = window  # type: ignore[misc]
    assume(all(d == 1 for d in dilation))
    op = AveragePooling(stride, padding, kernel, dilation, ceil_mode, include)
    check(op, (channels, *size), [], dtype, short)


SIZES = st.sampled_from([(), (1,), (5,), (1, 1), (1, 9), (3, 4), (17, 1), (2, 3, 4)])


@some
@given(SIZES, st.sampled_from(CHANNELS), DTYPES, st.integers(2, CAPACITY))
def test_batch_normalization(size: Shape, channels: int, dtype: DType, short: int) -> None:
    assume(int(np.prod(size)) > 1)  # one element normalizes to noise
    shapes = [(1, channels, *(1,) * len(size))] * 2

    def build(x: Value, gamma: Value, beta: Value) -> Value:
        y, _, variance = BatchNormalization(1e-3)(x, gamma, beta)
        return Relu()(y) + variance

    infer = BatchNormalization(1e-3)
    try:
        build(*(Input(f"i{i}", TensorType(dtype, shape))() for i, shape in enumerate([(2, channels, *size), *shapes])))
    except ValueError:
        shapes = [(channels,)] * 2
    assert infer
    check(build, (channels, *size), list(shapes), dtype, short)


@some
@given(st.sampled_from([*CHANNELS, 40]), st.sampled_from([*CHANNELS, 10]), DTYPES, st.integers(1, CAPACITY))
def test_linear(depth: int, units: int, dtype: DType, short: int) -> None:
    check(lambda x, w, b: Relu()(Linear()(x, w) + b), (depth,), [(units, depth), (1, units)], dtype, short)


@some
@given(SIZES, st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3), st.booleans(), DTYPES)
def test_concatenate_slice_and_pad(size: Shape, parts: list[int], aligned: bool, dtype: DType) -> None:
    parts = [16 * part for part in parts[:2]] if aligned else parts

    def build(x: Value) -> Value:
        ends = np.cumsum([0, *parts])
        slices = [Slice((1,), (int(a),), (int(b - a),), (1,))(x) for a, b in itertools.pairwise(ends)]
        joined = Concat()(*[s * float(i + 1) for i, s in enumerate(reversed(slices))])
        return SliceGradient((1,), (2,), (sum(parts),), (1,), (sum(parts) + 3,))(Relu()(joined))

    check(build, (sum(parts), *size), [], dtype, 4)


@pytest.mark.parametrize(
    ("channels", "size"),
    [
        pytest.param(channels, size, marks=() if (channels, size) in ((17, ()), (17, (5, 1))) else pytest.mark.slow)
        for channels in (1, 17)
        for size in ((), (1,), (1, 1), (5, 1), (3, 4))
    ],
    ids=str,
)
def test_reductions_and_what_reads_them(channels: int, size: Shape) -> None:
    """Results over each set of axes (per sample, per channel, over all, over none) return to elementwise work."""
    rank = 2 + len(size)
    choices = {
        (0,),
        (1,),
        (0, 1),
        tuple(range(2, rank)),
        (0, *range(2, rank)),
        tuple(range(rank)),
        tuple(range(1, rank)),
    }
    for axes in sorted(choices - {()}):
        for op in (Sum, Moments, Max):

            def build(x: Value, op: object = op, axes: tuple[int, ...] = axes) -> Value:
                found = op(axes)(x * 2.0)  # type: ignore[operator]
                first = found[0] + found[1] if isinstance(found, tuple) else found
                return x - first + total(first * first)

            random = np.random.default_rng(2)
            for lead in (N, 5):
                x = Input("x", TensorType(DType.float64, (lead, channels, *size)))()  # type: ignore[arg-type]
                arrays = {"x": random.standard_normal((5, channels, *size))}
                problem = Problem(f"{op.__name__}{axes}", Graph({"x": x}, {"y": build(x)}), arrays, 5)
                found, expected = problem.run()["y"], problem.expected()["y"]
                np.testing.assert_allclose(
                    found, expected, rtol=1e-11, atol=1e-11, err_msg=f"{problem.label} of {lead}"
                )
