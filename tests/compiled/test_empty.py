"""Batches of 0 samples, and axes of size 0: sums over no elements are 0, and no memory is accessed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate.codegen.target import host
from striate.errors import ShapeError
from striate.graph.elementwise import cast
from striate.graph.graph import Graph, Input
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.ops.average_pooling import avg_pool, global_avg_pool
from striate.ops.axis_softmax import softmax
from striate.ops.convolution import conv
from striate.ops.indexing import concat
from striate.ops.linear import linear
from striate.ops.loss import cross_entropy
from striate.ops.max_pooling import max_pool
from striate.ops.normalization import batch_norm_with_statistics
from striate.ops.reduction import max, mean, moments, numel, sum
from tests.compiled.cases import OPERATIONS, Problem

NAMES = list(OPERATIONS)
BATCHES = [NAMES[first : first + 12] for first in range(0, len(NAMES), 12)]
QUICK = [NAMES[first::4] for first in range(4)]  # a process takes a second to start


def _run(folder: Path, target: str, extent: str, names: list[str]) -> None:
    root = Path(st.__file__).parents[1]
    environment = {**os.environ, "STRIATE_CACHE": str(folder), "PYTHONPATH": str(root), "STRIATE_ENGINE": "compiled"}
    command = [sys.executable, "-m", "tests.compiled.empty_run", target, extent, *names]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    last = done.stdout.splitlines()[-1:] or ["before the first problem"]
    assert done.returncode == 0, f"ended by {done.returncode} in {last[0]}\n{done.stderr[-2000:]}"


@pytest.mark.skipif(os.name == "nt", reason="protected pages are written for POSIX systems only")
@pytest.mark.parametrize("names", QUICK, ids=lambda names: f"{names[0]}-{names[-1]}")
def test_no_samples(kernel_folder: Path, names: list[str]) -> None:
    _run(kernel_folder, "host", "quick", names)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="protected pages are written for POSIX systems only")
@pytest.mark.parametrize("names", BATCHES, ids=lambda names: f"{names[0]}-{names[-1]}")
def test_no_samples_and_one(kernel_folder: Path, names: list[str]) -> None:
    _run(kernel_folder, "host", "all", names)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="protected pages are written for POSIX systems only")
@pytest.mark.skipif(host().lanes <= 8, reason="this computer's own vectors are not longer than 8 lanes")
@pytest.mark.parametrize("names", BATCHES, ids=lambda names: f"{names[0]}-{names[-1]}")
def test_no_samples_and_one_with_eight_lanes(kernel_folder: Path, names: list[str]) -> None:
    _run(kernel_folder, "x86-64-v3", "all", names)


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, "f4")


def test_a_sum_over_nothing_is_zero_and_a_mean_is_nan() -> None:
    x = _zeros(0, 3)
    np.testing.assert_array_equal(st.compile(lambda x: sum(x, axis=0))(x), [0, 0, 0])
    assert st.compile(lambda x: sum(x))(x) == 0
    assert np.isnan(st.compile(lambda x: mean(x, axis=0))(x)).all()
    assert all(np.isnan(one).all() for one in st.compile(lambda x: moments(x, axis=0))(x))


def test_no_samples_give_gradients_of_zero() -> None:
    def loss(x: Value, w: Value, b: Value) -> Value:
        return sum(linear(x, w, b))

    value, (dx, dw, db) = st.value_and_grad(loss, argnums=(0, 1, 2))(_zeros(0, 3), _zeros(4, 3) + 1, _zeros(4) + 1)
    assert (float(value), dx.shape) == (0.0, (0, 3))
    np.testing.assert_array_equal(dw, np.zeros((4, 3)))
    np.testing.assert_array_equal(db, np.zeros(4))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: avg_pool(x, 2),
        lambda x: max_pool(x, 2),
        softmax,
        global_avg_pool,
        lambda x: concat([x, x * 2]),
    ],
)
def test_no_samples_give_no_results(function: object, batched: bool) -> None:
    found = st.compile(function, batched=batched)(_zeros(0, 3, 4, 4))  # type: ignore[arg-type]
    assert found.shape[0] == 0


def test_axes_of_size_zero() -> None:
    assert st.compile(softmax)(_zeros(3, 0)).shape == (3, 0)
    assert st.compile(lambda x: batch_norm_with_statistics(x)[0])(_zeros(3, 0, 2, 2)).shape == (3, 0, 2, 2)
    np.testing.assert_array_equal(st.compile(linear)(_zeros(2, 0), _zeros(3, 0)), np.zeros((2, 3)))
    np.testing.assert_array_equal(st.compile(conv)(_zeros(1, 0, 4, 4), _zeros(2, 0, 3, 3)), _zeros(1, 2, 2, 2))
    joined = st.compile(lambda a, b: concat([a, b]))(_zeros(2, 0), _zeros(2, 3) + 1)
    np.testing.assert_array_equal(joined, np.ones((2, 3)))


def test_the_number_of_samples_of_an_array_without_elements() -> None:
    x = Input("x", TensorType(DType.float32, (N, 0)))()
    graph = Graph({"x": x}, {"rows": numel(x, 0), "all": numel(x)})
    found = Problem("", graph, {"x": _zeros(5, 0)}, 5).run()
    assert (found["rows"], found["all"]) == (5, 0)


@pytest.mark.parametrize(
    ("function", "shapes", "words"),
    [
        (lambda x: max(x, axis=0), [(0, 3)], "0 elements"),
        (lambda x: global_avg_pool(x), [(3, 2, 0, 2)], "0 positions"),
        (lambda x: batch_norm_with_statistics(x)[0], [(0, 3, 2, 2)], "without values"),
        (lambda x, w: conv(x, w), [(1, 2, 4, 4), (3, 2, 0, 0)], "no taps"),
        (lambda x: max_pool(x, 2, padding=1), [(1, 2, 0, 4)], "padding"),
        (lambda x: cross_entropy(x, cast(reshape(sum(x, axis=1), (3,)), DType.int64)), [(3, 0)], "class"),
    ],
)
def test_what_has_no_meaning_is_refused(function: object, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        st.compile(function)(*(_zeros(*shape) for shape in shapes))  # type: ignore[arg-type]
