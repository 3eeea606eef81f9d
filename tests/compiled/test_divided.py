"""Programs in two parts: the second part runs later, on what the first has left in an arena."""

from __future__ import annotations

import numpy as np
import pytest

from striate import ops
from striate.compiler import options_for
from striate.compiler.divided import DividedExecutable, Parts, externals_of
from striate.graph.graph import Graph, Input, Seed
from striate.graph.value import Array, DType, N, TensorType
from striate.passes.differentiate import pull_back
from striate.runtime.arena import Arena
from striate.runtime.pool import ArenaPool
from striate.runtime.program import Program


@pytest.fixture(scope="module")
def executable() -> DividedExecutable:
    x = Input("x", TensorType(DType.float64, (N, 5)))()
    w = Input("w", TensorType(DType.float64, (3, 5)))()
    old = Input("old", TensorType(DType.float64, (3,)))()
    y = ops.tanh(ops.linear(x, w))
    new = old * 0.5 + ops.mean(y, 0)
    seed = Seed("dy", y.type)()
    dx, dw = pull_back({y: seed}, [x, w])
    assert dx is not None
    assert dw is not None
    outputs = {"y": y, "new": new, "dx": dx, "dw": dw}
    return DividedExecutable(Graph({"x": x, "w": w, "old": old, "dy": seed}, outputs), ["dx", "dw"], options_for())


def _run(program: Program | None, arrays: dict[str, Array], arena: Arena, n: int) -> None:
    assert program is not None
    addresses = {name: array.ctypes.data for name, array in arrays.items() if name in program.externals}
    assert program.run(n, addresses, memory=arena) == 0


def test_the_second_part_reads_what_the_first_left(executable: DividedExecutable) -> None:
    random = np.random.default_rng(0)
    parts: Parts = executable.parts(4)
    pool = ArenaPool()
    w, runs = random.standard_normal((3, 5)), []
    for n in (4, 2):  # two first parts before a second part
        arrays: dict[str, Array] = {
            "x": random.standard_normal((n, 5)), "w": w, "old": np.ones(3), "out:y": np.empty((n, 3)),
            "out:new": np.empty(3), "out:dx": np.empty((n, 5)), "out:dw": np.empty((3, 5)),
        }  # fmt: skip
        lease = pool.lease(parts.size)
        _run(parts.first, arrays, lease.arena, n)
        runs.append((n, arrays, lease))
    for n, arrays, lease in runs:
        y = np.tanh(arrays["x"] @ w.T)
        np.testing.assert_allclose(arrays["out:y"], y, rtol=1e-12)
        np.testing.assert_allclose(arrays["out:new"], 0.5 + y.mean(0), rtol=1e-12)
        arrays["dy"] = random.standard_normal((n, 3))
        _run(parts.second, arrays, lease.arena, n)
        before = arrays["dy"] * (1 - y * y)
        np.testing.assert_allclose(arrays["out:dx"], before @ w, rtol=1e-12)
        np.testing.assert_allclose(arrays["out:dw"], before.T @ arrays["x"], rtol=1e-12)
        lease.end()


def test_names_of_the_parts(executable: DividedExecutable) -> None:
    parts = executable.parts(4)
    assert parts.second is not None
    assert set(externals_of(parts.first)[1]) == {"y", "new"}
    assert "dy" in externals_of(parts.second)[0]
    assert {"dx", "dw"} <= set(externals_of(parts.second)[1])


def test_an_ended_lease_gives_its_arena_to_the_next() -> None:
    pool = ArenaPool()
    first = pool.lease(10_000)
    arena = first.arena
    second = pool.lease(10_000)
    assert second.arena is not arena
    first.end()
    first.end()
    assert pool.lease(9_000).arena is arena
