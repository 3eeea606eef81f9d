"""Kernels access nothing but their operands, and never compute with memory that was not written.

Each run is a process of its own: a kernel that accesses other memory ends it, and the last printed line names the
problem.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import striate
from striate import settings
from striate.codegen.target import current
from striate.graph.value import DType
from striate.runtime.arena import scratch_arena
from tests.compiled.cases import OPERATIONS, Problem, assert_same_bits, forward, some_samples
from tests.compiled.networks import NARROW, NETWORKS, step_problems
from tests.compiled.placement import POISON

pytestmark = pytest.mark.skipif(os.name == "nt", reason="protected pages are written for POSIX systems only")

NAMES = list(OPERATIONS)
QUICK = ["Convolution", "ConvolutionWeightGradient", "Linear", "MaxPoolingGradient", "Sum"]
BATCHES = [NAMES[first : first + 15] for first in range(0, len(NAMES), 15)] + [[name] for name in NETWORKS]
if NARROW:
    BATCHES.append(list(NARROW))
SUBSET = [
    "BatchNormalization", "Concat", "Convolution", "ConvolutionInputGradient", "ConvolutionWeightGradient",
    "TransposedConvolution",
    "CrossEntropy", "DropoutMask", "MaxPooling", "MaxPoolingGradient", "AveragePooling", "AveragePoolingGradient",
    "Moments", "Max", "Softmax", "Tanh", "Transpose", "Slice", "SliceGradient", "MatMul", "MatMulSum",
    "BroadcastTo", "Convert", *NETWORKS,
]  # fmt: skip


def _run(folder: Path, target: str, extent: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    root = Path(striate.__file__).parents[1]
    environment = {**os.environ, "STRIATE_CACHE": str(folder), "PYTHONPATH": str(root), "STRIATE_ENGINE": "compiled"}
    command = [sys.executable, "-m", "tests.compiled.guarded_run", target, extent, *names]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)


def _assert_clean(done: subprocess.CompletedProcess[str]) -> None:
    last = done.stdout.splitlines()[-1:] or ["before the first problem"]
    assert done.returncode == 0, f"ended by {done.returncode} in {last[0]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize(
    ("extent", "names"),
    [
        ("quick", QUICK),
        ("quick", ["mixed"]),
        *(pytest.param("all", names, marks=pytest.mark.slow) for names in BATCHES),
    ],
    ids=lambda names: f"{names[0]}-{names[-1]}" if isinstance(names, list) else names,
)
def test_on_guarded_pages(kernel_folder: Path, extent: str, names: list[str]) -> None:
    _assert_clean(_run(kernel_folder, settings.current().target, extent, names))


@pytest.mark.slow
@pytest.mark.skipif(current().lanes <= 8, reason="the vectors of the target are not longer than 8 lanes")
def test_on_guarded_pages_with_eight_lanes(kernel_folder: Path) -> None:
    _assert_clean(_run(kernel_folder, "x86-64-v3", "all", SUBSET))


def test_the_guard_bites(kernel_folder: Path) -> None:
    """An operand that is too short ends the process, so the tests above can fail."""
    program = (
        "from tests.compiled import placement as p; from tests.compiled.cases import *;"
        "from tests.protected import Side;"
        "size = CompiledExecutable._size;"
        "CompiledExecutable._size = lambda self, thing, n: max(0, size(self, thing, n) - 64);"
        "problem = forward(samples('Convolution')[0], DType.float32); print('ready', flush=True);"
        "p.on_guarded_pages(problem, Side.RIGHT).run(); print('survived')"
    )
    root = Path(striate.__file__).parents[1]
    environment = {**os.environ, "STRIATE_CACHE": str(kernel_folder), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode < 0, done.stderr
    assert done.stdout.split() == ["ready"]


@pytest.mark.parametrize("most", [4, pytest.param(8, marks=pytest.mark.slow)], ids=["four samples", "eight"])
@pytest.mark.parametrize("name", ["Convolution", "ConvolutionWeightGradient", "MaxPoolingGradient"])
def test_what_scratch_memory_held_before_changes_no_bit_of_an_operation(name: str, most: int) -> None:
    for sample in some_samples(name, most):
        _assert_independent_of_scratch(forward(sample, DType.float32))


@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in NARROW)])
def test_what_scratch_memory_held_before_changes_no_bit_of_a_step(name: str) -> None:
    for problem in step_problems(name):
        _assert_independent_of_scratch(problem)


def _assert_independent_of_scratch(problem: Problem) -> None:
    states = {key: array.copy() for key, array in problem.bindings.items()}
    executable = problem.compiled()
    expected = {key: array.copy() for key, array in executable.run(problem.arrays, problem.n).items()}
    for byte in (POISON, 0, 0x7F):
        for key, array in executable._bindings.items():
            array[...] = states[key]
        arena = scratch_arena()
        with arena.lock:
            arena.view(0, (arena.size,), np.uint8).fill(byte)
        assert_same_bits(executable.run(problem.arrays, problem.n), expected, f"{problem.label} after {byte:#x}")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, *NARROW])
def test_threads_change_no_bit_of_a_step(name: str, kept_settings: settings.Settings) -> None:
    for problem in step_problems(name, batch=19):
        expected = None
        for threads in (1, 2, 3, 5):
            settings.override(threads=threads)
            executable = problem.compiled(problem.n)
            found = executable.run(problem.arrays, problem.n) | executable._bindings
            expected = expected or {key: array.copy() for key, array in found.items()}
            assert_same_bits(found, expected, f"{problem.label}, {threads} threads")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_a_step_agrees_with_the_references(name: str, dtype: str) -> None:
    for problem in step_problems(name, batch=7, dtype=dtype):
        found, expected = problem.run(), problem.expected()
        for key, y in expected.items():
            size = max(float(np.abs(y).max(initial=0)), 1e-2)
            error = float(np.abs(found[key].astype("f8") - y).max(initial=0)) / size
            assert error <= (2e-4 if dtype == "float32" else 1e-11), f"{problem.label}: {key} is off by {error:.1e}"
