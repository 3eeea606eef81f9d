"""Judges the results of random cases: the NumPy references in float64, and how much of an error is rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from striate.engine import ReferenceExecutable, with_batch
from striate.graph.graph import Graph, Input, rewrite
from striate.graph.op import Node
from striate.graph.value import Array, DType, Value
from tests.compiled.cases import Problem


class WrongResultError(Exception):
    """A result differs from the reference."""


def widened_graph(graph: Graph) -> Graph:
    """Return the graph with float64 in place of float32."""

    def wide(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        op = node.op
        if isinstance(op, Input) and op.type.dtype is DType.float32:
            return Node(replace(op, type=op.type.with_dtype(DType.float64)), (), node.path).outputs
        if getattr(op, "dtype", None) is DType.float32:  # constants and casts
            return Node(replace(op, dtype=DType.float64), inputs, node.path).outputs  # type: ignore[call-arg]
        return None

    return rewrite(graph, wide)


def widened(problem: Problem) -> dict[str, Array]:
    """Return the problem's reference outputs in float64, whatever its dtype."""
    graph = widened_graph(with_batch(problem.graph, problem.n))
    arrays = {k: a.astype("f8") if a.dtype == np.float32 else a for k, a in problem.arrays.items()}
    return ReferenceExecutable(graph, {}, {}).run(arrays, problem.n)


def compare(found: Mapping[str, Array], problem: Problem, where: str) -> None:
    """Raise ``WrongResultError`` unless the outputs equal those of the references up to rounding."""
    exact, rounded = widened(problem), problem.expected()
    most = max(value.type.size(problem.n) for node in problem.graph.nodes for value in node.outputs)
    if found.keys() != exact.keys():
        raise WrongResultError(f"{where}: outputs {sorted(found)} instead of {sorted(exact)}")
    for name, want in exact.items():
        got, near = found[name], rounded[name]
        if (got.shape, got.dtype) != (near.shape, near.dtype):
            raise WrongResultError(f"{where}: {name} is {got.dtype} {got.shape} instead of {near.dtype} {near.shape}")
        if got.dtype.kind != "f":
            if not np.array_equal(got, near):
                raise WrongResultError(f"{where}: {name} is\n{got}\ninstead of\n{near}")
            continue
        if not np.array_equal(np.isfinite(got), np.isfinite(near)):
            raise WrongResultError(f"{where}: {name} is finite elsewhere:\n{got}\ninstead of\n{near}")
        real = np.isfinite(want) & np.isfinite(near)
        if not real.any():
            continue
        largest = max(float(np.abs(want[real]).max()), 1e-6)
        noise = float(np.abs(near[real] - want[real]).max())
        # In float64 nothing tells how much of the sum of so many terms cancels.
        terms = 4 * most if got.dtype == np.float64 else 0
        allowed = float(np.finfo(got.dtype).eps) * (64 * max(largest, 1.0) + terms) + 16 * noise
        error = float(np.abs(got[real] - want[real]).max())
        if not error <= allowed:
            raise WrongResultError(
                f"{where}: {name} is off by {error:.3g} where {allowed:.3g} is allowed:\n{got}\nnot\n{want}"
            )


def same_bits(found: Mapping[str, Array], expected: Mapping[str, Array], where: str) -> None:
    """Raise ``WrongResultError`` if a bit differs."""
    for name, y in expected.items():
        if found[name].tobytes() != y.tobytes():
            raise WrongResultError(f"{where}: {name} has other bits:\n{found[name]}\nthan\n{y}")
