"""Run every operation and its gradient on 0 samples and on 1, between guarded memory pages.

    python -m tests.compiled.empty_run TARGET quick|all NAME…

A kernel that accesses memory outside of its operands ends the process; the last printed line names the problem.
"""

from __future__ import annotations

import faulthandler
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from striate import settings
from striate.errors import StriateError
from striate.graph.op import Kind, Sample
from striate.graph.value import Array, DType
from striate.ops.reduction import Reduction
from striate.ops.synchronized import OverRanks
from tests.compiled.cases import OPERATIONS, Problem, assert_close, assert_same_bits, backward, forward, some_samples
from tests.compiled.placement import on_guarded_pages
from tests.protected import Side


def with_samples(sample: Sample, n: int) -> Sample:
    """Return the sample with n entries along axis 0 of its first input, and of all inputs of the same length."""
    lead = sample.arrays[0].shape[:1]

    def cut(array: Array) -> Array:
        return array[:n] if array.ndim and array.shape[:1] == lead else array

    return replace(sample, arrays=tuple(map(cut, sample.arrays)))


def problems(name: str, n: int, everything: bool) -> Iterator[Problem]:
    """Yield forward and backward problems in float32 and float64, with fixed and with symbolic N.

    Combinations that are refused with an error are left out. Unless ``everything``, some samples are taken, each in
    only one of these variants.
    """
    variants = list(itertools.product((DType.float32, DType.float64), (True, False)))
    for number, sample in enumerate(some_samples(name, None if everything else 1)):
        cut = with_samples(sample, n)
        for dtype, symbolic in variants if everything and n == 0 else variants[number % 4 :: 4]:
            for make in (forward, backward):
                try:
                    problem = make(cut, dtype, symbolic)
                except StriateError as error:
                    print(f"{name}: {cut.op} of {n} samples is refused: {error}", flush=True)
                    continue
                if problem is not None:
                    yield replace(problem, n=n)


def check(problem: Problem, name: str) -> None:
    """Run the problem with both kinds of guarded pages, on one thread and two, and with spare capacity."""
    found: dict[str, Array] = {}
    for side, threads in zip(Side, (1, 2), strict=True):
        print(f"{name}: {problem.label}, {problem.n} samples, {side.value}", flush=True)
        settings.override(threads=threads)
        found = on_guarded_pages(problem, side).run()
        if problem.n == 0:  # of one sample other tests compare the values
            assert_close(found, problem.expected(), problem.label)
    assert_same_bits(problem.run(capacity=problem.n + 3), found, "with capacity to spare")
    op = OPERATIONS[name]
    nothing = not issubclass(op, Reduction) or op.empty_result in (0.0, -math.inf) or op.empty_result != op.empty_result
    nothing &= not issubclass(op, OverRanks)  # which returns the number of values of the other ranks, too
    if problem.arrays["x0"].size == 0 and op.kind is not Kind.SIZE and nothing:
        for output, array in found.items():
            assert not np.any(np.nan_to_num(array, neginf=0)), f"{problem.label}: {output} is {array}"


def main(target: str, extent: str, names: list[str]) -> None:
    """Run the problems of ``names``; those of one sample only if ``extent`` is "all"."""
    faulthandler.enable()
    settings.override(target=target)
    everything = extent == "all"
    for name, n in itertools.product(names, (0, 1) if everything else (0,)):
        for problem in problems(name, n, everything):
            check(problem, name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
