"""Views of computed vectors: free where a loop walks that very run of elements, read from memory where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from striate.compiler import compile_graph, prepare_compiled
from striate.engine import ReferenceExecutable
from striate.graph.arithmetic import reshape
from striate.graph.graph import Graph, Input
from striate.graph.value import DType, N, Shape, TensorType, Value
from striate.ops.convolution import convolution
from striate.ops.reduction import moments


def _vector_times(shape: Shape, blocked: bool) -> Graph:
    """(a · b) seen as (1, C, 1…) times x, and the same vector with a running mean."""
    channels = shape[1]
    assert isinstance(channels, int)
    x = Input("x", TensorType(DType.float32, shape))()
    a, b = (Input(name, TensorType(DType.float32, (channels,)))() for name in ("a", "b"))
    inputs = {"x": x, "a": a, "b": b}
    y: Value = x
    if blocked:
        w = inputs["w"] = Input("w", TensorType(DType.float32, (channels, channels, 1, 1)))()
        y = convolution(x, w)
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
    found = prepare_compiled(graph, {}, {}, None).run(arrays, 3)
    expected = ReferenceExecutable(graph, {}, {}).run(arrays, 3)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


def test_running_mean_is_computed_where_its_sum_ends() -> None:
    plan = compile_graph(_vector_times((N, 16, 4, 5), True)).plan
    running = plan.layouts.graph.outputs["running"]
    assert plan.groups[plan.in_memory[running]].finishes
