"""Run a compiled graph with each operand in chosen memory: between guarded pages, or filled with poison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from striate.codegen import driver
from striate.compiler import options_for, prepare_compiled
from striate.graph.graph import Input
from striate.graph.value import Array, Value
from striate.runtime.program import Fixed, Phase, Program
from tests.compiled.cases import Problem
from tests.protected import Side, guarded, guarded_copy

POISON = 0xFF
"""Each byte: NaN in both float types, −1 in integers, 255 as the number of a tap."""

ALIGNMENT = 64

Place = Callable[[int], Array]
"""A function that allocates a number of bytes."""


class Placed:
    """A compiled problem in which each operand has its own memory; nothing is shared or reused."""

    def __init__(self, problem: Problem, place: Place, copy: Callable[[Array], Array]) -> None:
        self.problem = problem
        executable = problem.compiled(problem.n)
        self.executable = executable
        compiled = executable.compiled
        self.arrays: dict[Any, Array] = {}
        self._place, self._copy = place, copy
        self._states = {name: copy(array) for name, array in problem.bindings.items()}
        self._updated = executable._updated()
        phases: list[Phase] = []
        for draft in executable._phases:
            operands: list[Fixed] = []
            for operand in draft.operands:
                base = compiled.layouts.base(operand) if isinstance(operand, Value) else operand
                if base not in self.arrays:
                    self.arrays[base] = self._home(base)
                operands.append(Fixed(self.arrays[base].ctypes.data))
            address = executable._addresses[draft.spec.key]
            phases.append(Phase(draft.name, draft.path, address, operands, *draft.chunks))
        thread_scratch = max((draft.thread_scratch for draft in executable._phases), default=0)
        self.program = Program(
            phases, driver.load(), thread_scratch=thread_scratch, keep=[*self.arrays.values(), executable]
        )

    def _home(self, operand: Any) -> Array:
        if isinstance(operand, tuple):
            return self._states[operand[1]]
        if isinstance(operand, Value):
            op = operand.node.op
            if isinstance(op, Input):
                found = self.executable._graph.captured.get(op.name)
                if found is None and op.name in self._states:
                    return self._states[op.name]
                return self._copy(np.ascontiguousarray(self.problem.arrays[op.name] if found is None else found))
            if operand in self._updated:
                return self._states[self._updated[operand]]
            if operand in self.executable._names:
                exact = int(np.prod(operand.type.concrete(self.problem.n), dtype=int)) * operand.dtype.numpy.itemsize
                return self._place(exact)
        return self._place(self.executable._size(operand, self.problem.n))

    def run(self) -> dict[str, Array]:
        """Run the program; returns its outputs and the new contents of its states."""
        assert self.program.run(self.problem.n) == 0
        results: dict[str, Array] = {}
        layouts = self.executable.compiled.layouts
        for name, value in self.executable._graph.outputs.items():
            shape = value.type.concrete(self.problem.n)
            raw = self.arrays[layouts.base(value)].reshape(-1).view(np.uint8)
            size = int(np.prod(shape, dtype=int)) * value.dtype.numpy.itemsize
            results[name] = raw[:size].view(value.dtype.numpy).reshape(shape).copy()
        results |= self.executable._empty_results(self.problem.n)
        return results | {f"state {name}": array.copy() for name, array in self._states.items()}


def on_guarded_pages(problem: Problem, side: Side) -> Placed:
    """Place each operand between forbidden pages, exact at one side; unwritten memory is poison."""

    def place(size: int) -> Array:
        array = guarded(size, np.uint8, side)
        array.fill(POISON)
        return array

    return Placed(problem, place, lambda array: guarded_copy(array, side))


def poisoned(problem: Problem, byte: int) -> Placed:
    """Place each operand in memory that is filled with one byte."""

    def place(size: int) -> Array:
        whole = np.full(size + ALIGNMENT, byte, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        return whole[start : start + size]

    def copy(array: Array) -> Array:
        home = place(array.nbytes).view(array.dtype).reshape(array.shape)
        home[...] = array
        return home

    return Placed(problem, place, copy)


def run_normally(problem: Problem) -> dict[str, Array]:
    """Return the same as ``Placed.run``, with memory planned by the engine."""
    states = {name: array.copy() for name, array in problem.bindings.items()}
    options = options_for(problem.precision, problem.n, problem.single_sample)
    executable = prepare_compiled(problem.graph, states, {}, options)
    results = executable.run(problem.arrays, problem.n)
    return results | {f"state {name}": array for name, array in states.items()}
