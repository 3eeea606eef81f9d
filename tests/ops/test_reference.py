"""Each registered operation against its own declarations: shapes, dtypes, gradients."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pytest

import striate.ops
from striate.graph.check import check
from striate.graph.graph import Graph, Input
from striate.graph.interpreter import interpret
from striate.graph.op import Kind, Op, Sample, registry
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, N, TensorType, Value, dtype_of
from striate.ops.max_pooling import MaxPooling
from striate.ops.random import DropoutMask
from striate.ops.reduction import Sum
from striate.passes.differentiate import differentiate

OPS = {
    name: op
    for name, op in sorted(registry().items())
    if op.kind is not Kind.SOURCE and op.__module__.startswith("striate.")
}


def samples(name: str) -> list[Sample]:
    found = list(OPS[name].samples(np.random.default_rng(zlib.crc32(name.encode()))))
    assert found, f"{name} has no samples"
    return found


def results(op: Op, arrays: tuple[Array, ...] | list[Array]) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        found = op.reference(*arrays)
    return found if isinstance(found, tuple) else (found,)


def types(sample: Sample, symbolic: bool) -> list[TensorType]:
    """Return the types of the sample's arrays; N is only for inputs whose axis 0 is the batch."""
    lead = sample.arrays[0].shape[:1]
    return [
        TensorType(dtype_of(a.dtype), (N, *a.shape[1:]) if symbolic and a.shape[:1] == lead else a.shape)
        for a in sample.arrays
    ]


def weighted_sum(outputs: Any, draws: list[Value | None]) -> Value:
    total: Value | None = None
    for y, draw in zip(outputs, draws, strict=True):
        if draw is not None:
            part = y * draw
            part = reshape(Sum(tuple(range(part.type.rank)))(part), ()) if part.type.rank else part
            total = part if total is None else total + part
    assert total is not None
    return total


def gradient_graph(sample: Sample, movable: list[int], symbolic: bool) -> Graph:
    inputs = {f"x{i}": Input(f"x{i}", type)() for i, type in enumerate(types(sample, symbolic))}
    outputs = sample.op(*inputs.values())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    draws = {f"c{i}": Input(f"c{i}", y.type)() for i, y in enumerate(outputs) if y.dtype.is_float}
    loss = weighted_sum(outputs, [draws.get(f"c{i}") for i in range(len(outputs))])
    found = differentiate(loss, [inputs[f"x{i}"] for i in movable])
    return Graph({**inputs, **draws}, {f"d{i}": g for i, g in zip(movable, found, strict=True)})


def movable_inputs(sample: Sample) -> list[int]:
    allowed = sample.differentiable or tuple(a.dtype.kind == "f" for a in sample.arrays)
    return [i for i, yes in enumerate(allowed) if yes]


@pytest.mark.parametrize("name", OPS)
def test_shape_rule_matches_reference(name: str) -> None:
    for sample in samples(name):
        outputs = results(sample.op, sample.arrays)
        inferred = sample.op.infer(*types(sample, symbolic=False))
        assert [t.shape for t in inferred] == [y.shape for y in outputs], str(sample.op)
        assert [t.dtype.numpy for t in inferred] == [y.dtype for y in outputs], str(sample.op)
        if sample.batched:
            n = sample.arrays[0].shape[0] if sample.arrays[0].ndim else 1
            free = sample.op.infer(*types(sample, symbolic=True))
            assert [t.concrete(n) for t in free] == [y.shape for y in outputs], str(sample.op)


@pytest.mark.parametrize("name", OPS)
def test_float32_stays_float32(name: str) -> None:
    for sample in samples(name):
        arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in sample.arrays]
        inferred = sample.op.infer(*(TensorType(dtype_of(a.dtype), a.shape) for a in arrays))
        wide = results(sample.op, sample.arrays)
        for y, expected, type in zip(results(sample.op, arrays), wide, inferred, strict=True):
            assert y.dtype == type.dtype.numpy, str(sample.op)
            if not name.startswith("MaxPooling") and name != "DropoutMask":
                np.testing.assert_allclose(y, expected, rtol=2e-4, atol=2e-4, err_msg=str(sample.op))


@pytest.mark.parametrize("name", OPS)
def test_gradient_matches_finite_differences(name: str) -> None:
    random = np.random.default_rng(zlib.crc32(name.encode()) + 1)
    for sample in samples(name):
        movable = movable_inputs(sample)
        if not movable:
            continue
        graph = check(gradient_graph(sample, movable, symbolic=False), "differentiate")
        outputs = results(sample.op, sample.arrays)
        draws = {f"c{i}": random.standard_normal(y.shape) for i, y in enumerate(outputs) if y.dtype.kind == "f"}
        arrays = {f"x{i}": a for i, a in enumerate(sample.arrays)}
        gradients, _ = interpret(graph, {**arrays, **draws})

        def loss(changed: int, by: Array, sample: Sample = sample, draws: dict[str, Array] = draws) -> float:
            moved = [a + by if i == changed else a for i, a in enumerate(sample.arrays)]
            found = results(sample.op, moved)
            return sum(float((draws[f"c{i}"] * y).sum()) for i, y in enumerate(found) if f"c{i}" in draws)

        for i in movable:
            for _ in range(3):
                direction = random.standard_normal(sample.arrays[i].shape)
                step = 1e-5 / max(1.0, math.sqrt(direction.size))
                expected = (loss(i, step * direction) - loss(i, -step * direction)) / (2 * step)
                got = float((gradients[f"d{i}"] * direction).sum())
                size = float(np.abs(gradients[f"d{i}"] * direction).sum())
                assert abs(got - expected) <= 2e-6 * (1 + size), f"{sample.op}, input {i}: {got} is not {expected}"


@pytest.mark.parametrize("name", OPS)
def test_gradient_keeps_n_open(name: str) -> None:
    for sample in samples(name):
        movable = movable_inputs(sample)
        if sample.batched and movable:
            graph = check(gradient_graph(sample, movable, symbolic=True), "differentiate")
            for i in movable:
                assert graph.outputs[f"d{i}"].type == graph.inputs[f"x{i}"].type, str(sample.op)


@pytest.mark.parametrize("name", [name for name in OPS if OPS[name].kind is Kind.COMPOSITE])
def test_composites_expand_to_themselves(name: str) -> None:
    for sample in samples(name):
        inputs = {f"x{i}": Input(f"x{i}", type)() for i, type in enumerate(types(sample, symbolic=False))}
        expand: Any = sample.op
        outputs = expand.expand(*inputs.values())
        assert tuple(y.type for y in outputs) == sample.op.infer(*(x.type for x in inputs.values()))
        graph = check(Graph(inputs, {f"y{i}": y for i, y in enumerate(outputs)}), "expand")
        assert all(node.op.kind is not Kind.COMPOSITE for node in graph.nodes)
        found, _ = interpret(graph, {f"x{i}": a for i, a in enumerate(sample.arrays)})
        for i, expected in enumerate(results(sample.op, sample.arrays)):
            np.testing.assert_allclose(found[f"y{i}"], expected, rtol=1e-9, atol=1e-9)


COMPARED = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


class Scalars:
    """Replaces a kernel's code generator, so that ``emit`` computes on NumPy arrays."""

    def __getattr__(self, name: str) -> Any:
        return {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
            "fma": lambda a, b, c: a * b + c, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
            "tanh": np.tanh, "cos_pi": lambda x: np.cos(np.pi * x), "round": np.rint,
            "expm1": np.expm1, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "power": np.power,
            "erf": np.vectorize(math.erf), "normal_cdf": np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2))),
            "floor": np.floor, "ceil": np.ceil, "multiply_add": lambda a, b, c: a * b + c,
            "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "max": np.maximum, "min": np.minimum,
            "greater": np.greater, "select": np.where, "is_finite": np.isfinite, "is_nan": np.isnan,
            "compared": lambda a, sign, b: COMPARED[sign](a, b), "truth": np.asarray, "holds": np.asarray,
            "both": np.logical_and, "either": np.logical_or, "negation": np.logical_not,
            "constant_like": lambda x, number: np.full_like(x, number),
            "convert": lambda x, dtype: x.astype(dtype.numpy),
        }[name]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in OPS if OPS[name].kind is Kind.ELEMENTWISE])
def test_emit_says_the_same_as_reference(name: str) -> None:
    for sample in samples(name):
        op: Any = sample.op
        emitted = np.broadcast_to(op.emit(Scalars(), *sample.arrays), results(op, sample.arrays)[0].shape)
        np.testing.assert_allclose(emitted, results(op, sample.arrays)[0], rtol=1e-12)


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Maximum", "Minimum", "Max", "Tanh", "Sigmoid", "Softmax"])
def test_nan_stays_nan(name: str) -> None:
    for sample in samples(name):
        for position in range(len(sample.arrays)):
            arrays = [a.copy() for a in sample.arrays]
            arrays[position].flat[0] = np.nan
            assert np.isnan(results(sample.op, arrays)[0].flat[0]), str(sample.op)


def test_max_pooling_of_nan_infinity_and_ties() -> None:
    op = MaxPooling((2,), ((1, 0),), (3,), (1,), False)  # windows of taps (padding, 0, 1), (1, 2, 3), (3, 4, 5)
    x = np.array([[[5.0, 5.0, np.nan, 9.0, -np.inf, -np.inf]]])
    y, index = op.reference(x)
    np.testing.assert_array_equal(y, [[[5.0, np.nan, 9.0]]])
    np.testing.assert_array_equal(index, [[[1, 1, 0]]])
    y, index = op.reference(np.full((1, 1, 6), -np.inf))
    np.testing.assert_array_equal(index, [[[1, 0, 0]]])  # never the padding


def test_every_public_function_is_documented() -> None:
    for name in striate.ops.__all__:
        assert (getattr(striate.ops, name).__doc__ or "").strip(), name


def test_dropout_masks() -> None:
    x, key = np.ones((64, 5, 70)), np.asarray(12345, np.int64)
    for p in (0.1, 0.5, 0.9):
        op = DropoutMask(p, 3)
        mask = op.reference(x, key)
        assert set(np.unique(mask)) == {0.0, op.scale}
        assert abs((mask == 0).mean() - p) < 4 * math.sqrt(p * (1 - p) / mask.size)
        np.testing.assert_array_equal(mask[:10], op.reference(x[:10], key))  # a sample does not see its batch
        assert (mask != op.reference(x, key + 1)).any()
        assert (mask != DropoutMask(p, 4).reference(x, key)).any()
        rows = np.corrcoef(mask.reshape(64, -1))
        assert np.abs(rows - np.eye(64)).max() < 0.4  # samples do not repeat each other


def test_type_of_index_grows_with_the_window() -> None:
    for kernel, dtype in (((15, 17), DType.uint8), ((16, 16), DType.int32)):
        op = MaxPooling((1, 1), ((0, 0), (0, 0)), kernel, (1, 1), False)
        assert op.infer(TensorType(DType.float32, (N, 3, 20, 20)))[1].dtype is dtype
