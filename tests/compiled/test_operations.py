"""The machine code of each registered operation against its reference: alone, differentiated and fused."""

from __future__ import annotations

import numpy as np
import pytest

from striate import settings
from striate.graph.graph import Graph, Input
from striate.graph.op import Kind
from striate.graph.reshape import reshape
from striate.graph.value import DType, Value
from striate.ops.activation import Relu, Tanh
from striate.ops.reduction import Moments, Sum
from tests.compiled.cases import (
    OPERATIONS,
    Problem,
    assert_close,
    assert_same_bits,
    backward,
    forward,
    samples,
    some_samples,
    total,
)

EVERY = pytest.mark.parametrize("most", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["one sample", "all"])
"""`make test` takes some samples of each operation, spread over its list; the rest of `make test-all` takes all."""


@EVERY
@pytest.mark.parametrize("name", OPERATIONS)
def test_values(name: str, most: int | None) -> None:
    for sample in some_samples(name, most):
        problem = forward(sample, DType.float32)
        assert_close(problem.run(), problem.expected(), problem.label)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_values_in_float64_and_of_a_fixed_batch(name: str) -> None:
    """Compares values only, since the gradient tests below use float64, and a fixed batch in every second case."""
    for sample in samples(name):
        variants = [forward(sample, DType.float64)]
        if sample.batched:
            variants.append(forward(sample, DType.float32, symbolic=False))
        for problem in variants:
            assert_close(problem.run(), problem.expected(), problem.label)


@EVERY
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients(name: str, most: int | None) -> None:
    for number, sample in enumerate(some_samples(name, most)):
        for dtype in (DType.float64, DType.float32)[: 2 if number == 0 or most is None else 1]:
            problem = backward(sample, dtype, symbolic=number % 2 == 0)
            if problem:
                assert_close(problem.run(), problem.expected(), problem.label)


@EVERY
@pytest.mark.parametrize("name", OPERATIONS)
def test_threads_change_no_bit(name: str, most: int | None, kept_settings: settings.Settings) -> None:
    for sample in some_samples(name, most):
        problem = forward(sample, DType.float32)
        executable = problem.compiled()
        expected = None
        for threads in (1, 2, 3, 5):
            settings.override(threads=threads)
            found = executable.run(problem.arrays, problem.n)
            expected = expected or found
            assert_same_bits(found, expected, f"{problem.label}, {threads} threads")


@EVERY
@pytest.mark.parametrize("name", OPERATIONS)
def test_nan_in_gives_nan_out(name: str, most: int | None) -> None:
    for sample in some_samples(name, most):
        problem = forward(sample, DType.float32)
        executable = problem.compiled()
        for key, array in problem.arrays.items():
            if array.dtype.kind == "f" and array.size:
                changed = array.copy()
                changed.flat[array.size // 2] = np.nan
                arrays = {**problem.arrays, key: changed}
                expected = Problem("", problem.graph, arrays, problem.n).expected()
                label = f"{problem.label}, NaN in {key}"
                # Contractions multiply NaN by the zeros of halos and between groups, where the reference skips both.
                more = OPERATIONS[name].kind is Kind.CONTRACTION
                assert_close(executable.run(arrays, problem.n), expected, label, more)


def _chain(y: Value) -> dict[str, Value]:
    """Return elementwise operations and reductions of one value."""
    z = Relu()(y) * 0.5 + Tanh()(y)
    results = {"z": z, "total": total(z * y)}
    if y.type.rank >= 2:
        axes = (0, *range(2, y.type.rank))
        bias = Input("bias", y.type.with_shape((1, y.shape[1], *(1,) * (y.type.rank - 2))))()
        shifted = z + bias
        mean, variance = Moments(axes)(shifted)
        results |= {"shifted": shifted, "mean": mean, "variance": variance, "sum": Sum(axes)(shifted)}
        results["normal"] = (shifted - mean) * (variance + 1.0)
    if y.type.rank > 2:
        pixels = 1
        for dim in y.shape[2:]:
            assert isinstance(dim, int)
            pixels *= dim
        results["flat"] = reshape(z, (y.shape[0], y.shape[1] * pixels)) * 2.0  # type: ignore[operator]
    return results


@pytest.mark.parametrize("name", [n for n, op in OPERATIONS.items() if op.kind not in (Kind.SIZE, Kind.VIEW)])
@pytest.mark.parametrize(
    ("dtype", "count"),
    [
        (DType.float32, 1),
        pytest.param(DType.float32, None, marks=pytest.mark.slow),
        pytest.param(DType.float64, None, marks=pytest.mark.slow),
    ],
    ids=["float32, one sample", "float32", "float64"],
)
def test_fused_work_is_the_same_as_separate_work(name: str, dtype: DType, count: int | None) -> None:
    for number, sample in enumerate(samples(name)[:count]):
        if OPERATIONS[name].kind is Kind.ELEMENTWISE and number > 1:
            continue
        alone = forward(sample, dtype, symbolic=number % 2 == 0)
        y = alone.graph.outputs["y0"]
        if not y.dtype.is_float:
            continue
        dtype_of_y = y.dtype
        results = _chain(y)
        sources = [value for value in _sources(results) if value.node.op.name == "bias"]  # type: ignore[attr-defined]
        random = np.random.default_rng(5)
        names = ["bias"] * len(sources)
        numbers = [random.standard_normal(v.shape).astype(dtype_of_y.numpy) for v in sources]  # type: ignore[arg-type]
        bias = dict(zip(names, numbers, strict=True))
        inputs = {**alone.graph.inputs, **dict(zip(names, sources, strict=True))}
        fused = Problem(
            alone.label, Graph(inputs, {**alone.graph.outputs, **results}), {**alone.arrays, **bias}, alone.n
        )
        first = alone.run()
        middle = Input("y", y.type)()
        chain = _chain(middle)
        extra = {value.node.op.name: value for value in _sources(chain)}  # type: ignore[attr-defined]
        separate = Problem(alone.label, Graph({"y": middle, **extra}, chain), {"y": first["y0"], **bias}, alone.n)
        expected = separate.run()
        assert_close(fused.run(), {**first, **expected}, alone.label)
        if count is None or OPERATIONS[name].kind is not Kind.ELEMENTWISE:
            unstored = Problem(alone.label, Graph(inputs, results), fused.arrays, alone.n)
            assert_close(unstored.run(), expected, f"{alone.label}, not stored")


def _sources(results: dict[str, Value]) -> list[Value]:
    return [node.outputs[0] for node in Graph({}, results).sources()]
