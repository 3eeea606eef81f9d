"""Small test problems: the samples of every operation as graphs with input arrays."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from striate.compiler import CompiledExecutable, compile_graph, options_for, prepare_compiled, rounded_graph
from striate.dtypes import Precision
from striate.engine import ReferenceExecutable
from striate.graph.graph import Graph, Input
from striate.graph.op import Kind, Op, Sample, registry
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, N, TensorType, Value, dtype_of
from striate.ops.reduction import Sum
from striate.passes.differentiate import differentiate

OPERATIONS: dict[str, type[Op]] = {
    name: op
    for name, op in sorted(registry().items())
    if op.kind is not Kind.SOURCE and op.__module__.startswith("striate.")
}

TOLERANCE = {np.dtype("float64"): 1e-12, np.dtype("float32"): 4e-6}
"""Of the largest value of an array."""


@dataclass
class Problem:
    """A graph and the arrays of its inputs; ``bindings`` are the arrays of its parameters and states."""

    label: str
    graph: Graph
    arrays: dict[str, Array]
    n: int
    bindings: dict[str, Array] = field(default_factory=dict)
    precision: Precision = Precision.full
    single_sample: bool = False  # compiled for one sample alone

    def compiled(self, capacity: int | None = None) -> CompiledExecutable:
        """Compile the problem, with copies of its states."""
        states = {name: array.copy() for name, array in self.bindings.items()}
        options = options_for(self.precision, capacity or 0, self.single_sample)
        return prepare_compiled(self.graph, states, {}, options)

    def alone(self) -> Problem | None:
        """Return the problem for its first sample, or None if a program for one sample does not differ."""
        if self.n < 2 or not compile_graph(self.graph, options_for()).lowered.batch_specialized:
            return None
        arrays = {
            name: array[:1] if self.graph.inputs[name].type.batched else array for name, array in self.arrays.items()
        }
        return replace(self, label=f"{self.label}, one sample", arrays=arrays, n=1, single_sample=True)

    def run(self, capacity: int | None = None) -> dict[str, Array]:
        """Return the outputs of the compiled program."""
        return self.compiled(capacity).run(self.arrays, self.n)

    def expected(self) -> dict[str, Array]:
        """Return the outputs of the NumPy references."""
        states = {name: array.copy() for name, array in self.bindings.items()}
        graph = self.graph
        if self.precision is not Precision.full:
            graph = rounded_graph(graph, options_for(self.precision))
        return ReferenceExecutable(graph, states, {}).run(self.arrays, self.n)


def samples(name: str) -> list[Sample]:
    """Return the samples of an operation; fails if there are none."""
    found = list(OPERATIONS[name].samples(np.random.default_rng(zlib.crc32(name.encode()))))
    assert found, f"{name} has no samples: nothing tests it"
    return found


def some_samples(name: str, most: int | None) -> list[Sample]:
    """Return at most ``most`` samples of an operation, spread evenly over all of them; None means all."""
    found = samples(name)
    count = len(found) if most is None else min(most, len(found))
    return [found[number * len(found) // count] for number in range(count)]


def as_dtype(array: Array, dtype: DType) -> Array:
    """Return a C-ordered copy, with floats converted to ``dtype``."""
    return np.array(array, dtype.numpy if array.dtype.kind == "f" else array.dtype, order="C")


def inputs_of(arrays: Mapping[str, Array], symbolic: bool) -> dict[str, Value]:
    """Return graph inputs for arrays; if ``symbolic``, those as long as the first array get N as axis 0."""
    lead = next(iter(arrays.values())).shape[:1]
    return {
        name: Input(
            name,
            TensorType(dtype_of(a.dtype), (N, *a.shape[1:]) if symbolic and lead and a.shape[:1] == lead else a.shape),
        )()
        for name, a in arrays.items()
    }


def outputs_of(op: Op, inputs: Mapping[str, Value]) -> tuple[Value, ...]:
    """Apply an operation and return its outputs as a tuple, also if there is only one."""
    found: Any = op(*inputs.values())
    return found if isinstance(found, tuple) else (found,)


def forward(sample: Sample, dtype: DType, symbolic: bool = True) -> Problem:
    """Return the problem that applies the operation to its sample."""
    arrays = {f"x{i}": as_dtype(a, dtype) for i, a in enumerate(sample.arrays)}
    inputs = inputs_of(arrays, symbolic and sample.batched)
    outputs = outputs_of(sample.op, inputs)
    shapes = " ".join(str(a.shape) for a in sample.arrays)
    label = f"{sample.op} {shapes} {dtype.value} {'N' if symbolic and sample.batched else 'static'}"
    first = sample.arrays[0].shape
    graph = Graph(inputs, {f"y{i}": y for i, y in enumerate(outputs)})
    return Problem(label, graph, arrays, first[0] if first else 1)


def total(value: Value) -> Value:
    """Return Σ of all elements as a scalar."""
    return reshape(Sum(tuple(range(value.type.rank)))(value), ()) if value.type.rank else value


def movable(sample: Sample) -> list[int]:
    """Return the indices of the inputs that have a gradient."""
    allowed = sample.differentiable or tuple(a.dtype.kind == "f" for a in sample.arrays)
    return [i for i, yes in enumerate(allowed) if yes]


def backward(sample: Sample, dtype: DType, symbolic: bool = True) -> Problem | None:
    """Return the problem of the gradients of Σ c · outputs for random c, or None if no input has a gradient."""
    problem = forward(sample, dtype, symbolic)
    moved = movable(sample)
    random = np.random.default_rng(7)
    draws: dict[str, Value] = {}
    loss: Value | None = None
    for name, y in problem.graph.outputs.items():
        if y.dtype is dtype:
            draws[f"c{name}"] = Input(f"c{name}", y.type)()
            problem.arrays[f"c{name}"] = random.standard_normal(y.type.concrete(problem.n)).astype(dtype.numpy)
            part = total(y * draws[f"c{name}"])
            loss = part if loss is None else loss + part
    if not moved or loss is None:
        return None
    found = differentiate(loss, [problem.graph.inputs[f"x{i}"] for i in moved])
    problem.graph = Graph({**problem.graph.inputs, **draws}, {f"d{i}": g for i, g in zip(moved, found, strict=True)})
    problem.label = "gradient of " + problem.label
    return problem


def assert_close(found: Mapping[str, Array], expected: Mapping[str, Array], label: str, more_nan: bool = False) -> None:
    """Assert equality up to rounding, relative to the largest value of an array, with NaN in the same places.

    With ``more_nan``, further NaN are allowed.
    """
    assert found.keys() == expected.keys()
    for name, y in expected.items():
        got = found[name]
        where = f"{label}: {name}"
        assert (got.shape, got.dtype) == (y.shape, y.dtype), where
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(got, y, err_msg=where)
            continue
        if more_nan:
            got = np.where(np.isnan(got) & ~np.isnan(y), y, got)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(y), err_msg=f"{where}: places of NaN")
        real = np.isfinite(y)
        np.testing.assert_array_equal(got[~real], y[~real], err_msg=where)
        size = max(float(np.abs(y[real]).max(initial=0)), 1e-3)
        error = float(np.abs(got[real].astype("f8") - y[real]).max(initial=0)) / size
        assert error <= TOLERANCE[y.dtype], f"{where}: off by {error:.2e} of the largest value"


def assert_same_bits(found: Mapping[str, Array], expected: Mapping[str, Array], label: str) -> None:
    """Assert equality bit for bit."""
    assert found.keys() == expected.keys()
    for name, y in expected.items():
        same = np.frombuffer(found[name].tobytes(), np.uint8) == np.frombuffer(y.tobytes(), np.uint8)
        assert same.all(), f"{label}: {name} differs in {np.count_nonzero(~same)} of {same.size} bytes"
