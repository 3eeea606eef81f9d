"""Views of computed vectors: free if a loop visits the same elements in order, else read from memory."""

from __future__ import annotations

import numpy as np
import pytest

from striate.compiler import compile_graph, options_for, prepare_compiled
from striate.engine import ReferenceExecutable
from striate.graph.graph import Graph, Input
from striate.graph.reshape import reshape
from striate.graph.value import DType, N, Shape, TensorType, Value
from striate.ops.convolution import conv
from striate.ops.reduction import moments


def _vector_times(shape: Shape, blocked: bool) -> Graph:
    """Return the graph of x · (a · b), with (a · b) viewed as (1, C, 1, …), and of a running mean."""
    channels = shape[1]
    assert isinstance(channels, int)
    x = Input("x", TensorType(DType.float32, shape))()
    a, b = (Input(name, TensorType(DType.float32, (channels,)))() for name in ("a", "b"))
    inputs = {"x": x, "a": a, "b": b}
    y: Value = x
    if blocked:
        w = inputs["w"] = Input("w", TensorType(DType.float32, (channels, channels, 1, 1)))()
        y = conv(x, w)
    vector = reshape(a * b, (1, channels, *(1,) * (len(shape) - 2)))
    mean, _ = moments(y, (0, 2, 3), keepdims=True)
    running = reshape(mean, (channels,)) * 0.1 + a
    return Graph(inputs, {"scaled": y * vector, "running": running})


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("channels", [3, 17])
def test_view_of_a_computed_vector_is_repeated_rightly(channels: int, blocked: bool) -> None:
    graph = _vector_times((N, channels, 4, 5), blocked)
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(value.type.concrete(3)).astype(np.float32) for name, value in graph.inputs.items()
    }
    found = prepare_compiled(graph, {}, {}, options_for()).run(arrays, 3)
    expected = ReferenceExecutable(graph, {}, {}).run(arrays, 3)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


def test_running_mean_is_computed_where_its_sum_ends() -> None:
    plan = compile_graph(_vector_times((N, 16, 4, 5), True), options_for()).plan
    running = plan.layouts.graph.outputs["running"]
    assert plan.groups[plan.in_memory[running]].finishes


@pytest.mark.parametrize("view_first", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 16, 17])
@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
def test_what_a_padded_convolution_reads_is_seen_rightly_by_others(
    size: tuple[int, int], channels: int, view_first: bool
) -> None:
    """As an output, as a view, and as a view with a reader: none of them contains the convolution's padding."""
    x = Input("x", TensorType(DType.float32, (N, channels, *size)))()
    w = Input("w", TensorType(DType.float32, (16, channels, 3, 3)))()
    h = (x - 1.0) * 2.0
    row = (N, channels * size[0] * size[1])
    before = [reshape(h, row), reshape(h, row) * 3.0] if view_first else []
    y = conv(h, w, padding=1)
    views = before or [reshape(h, row), reshape(h, row) * 3.0]
    graph = Graph({"x": x, "w": w}, {"y": y, "view": views[0], "read": views[1], "h": h})
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(value.type.concrete(3)).astype(np.float32) for name, value in graph.inputs.items()
    }
    found = prepare_compiled(graph, {}, {}, options_for()).run(arrays, 3)
    for name, array in ReferenceExecutable(graph, {}, {}).run(arrays, 3).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-4, err_msg=name)
