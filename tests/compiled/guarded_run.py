"""Run operations between guarded memory pages: ``python -m tests.compiled.guarded_run TARGET quick|all NAME…``.

A line is printed before each problem. A kernel that accesses memory outside of its operands ends the process; the last
printed line names the problem.
"""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator

from striate import settings
from striate.graph.value import DType
from tests.compiled.cases import OPERATIONS, Problem, assert_close, assert_same_bits, backward, forward, some_samples
from tests.compiled.networks import NARROW, NETWORKS, step_problems
from tests.compiled.placement import on_guarded_pages, poisoned, run_normally
from tests.protected import Side


def problems(name: str, most: int | None) -> Iterator[Problem]:
    """Return the problems of an operation, of at most ``most`` of its samples, or of a network."""
    if name in (*NETWORKS, *NARROW):
        yield from step_problems(name)
        return
    assert name in OPERATIONS
    for number, sample in enumerate(some_samples(name, most)):
        dtype = DType.float64 if number % 3 == 2 else DType.float32
        problem = forward(sample, dtype, symbolic=number % 4 != 3)
        yield problem
        if (alone := problem.alone()) is not None:
            yield alone
        if number % 3 == 0:
            gradient = backward(sample, DType.float32)
            if gradient:
                yield gradient


def main(target: str, extent: str, names: list[str]) -> None:
    """Run the problems of ``names``; those of all samples only if ``extent`` is "all"."""
    faulthandler.enable()
    settings.override(target=target, threads=1)
    for name in names:
        for problem in problems(name, None if extent == "all" else 4):
            expected = run_normally(problem)
            if target != "host" and name in OPERATIONS:  # on the host, tests in the first process compare
                assert_close(expected, problem.expected(), problem.label)
            for side in Side:
                print(f"{name}: {problem.label}, {side.value}", flush=True)
                assert_same_bits(on_guarded_pages(problem, side).run(), expected, "in poisoned, guarded memory")
            print(f"{name}: {problem.label}, zeros", flush=True)
            assert_same_bits(poisoned(problem, 0).run(), expected, "in memory full of zeros")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
