"""The programs of a native object: the model's graph for each type of input, compiled for each level.

A *level* is an instruction set, such as x86-64-v3. The numbers that a program computes depend only on its kernels, not
on the processor that runs them, so a program for another processor can be prepared and tried on this computer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from striate import settings
from striate.codegen import target as targets
from striate.codegen.artefact import ArtefactPhase, ArtefactProgram, Base
from striate.codegen.options import CompileOptions
from striate.codegen.target import Target
from striate.compiler import CompiledExecutable
from striate.errors import OptionError, ShapeError
from striate.graph.contents import content_checks
from striate.graph.graph import Graph
from striate.graph.value import Array, DType, N, TensorType
from striate.nn.module import Module
from striate.persistence.deployment import with_labels, with_softmax, without_standardizer
from striate.runtime.arena import ALIGNMENT
from striate.runtime.program import External, Fixed, Operand, Scratch
from striate.tracing import KEY, Trace, output_values


@dataclass(frozen=True)
class Ends:
    """What is added to the model's prediction: its standardizer, a softmax, and the choice of labels from scores."""

    standardizer: bool = True
    softmax: bool = False
    labels: bool = False


class Prediction:
    """The graph of a model's prediction for one input type (dtype and shape), with the batch size N on axis 0.

    ``ends`` says whether the graph contains the standardizer, a softmax, and the choice of labels. Raises
    ``OptionError`` for a model that has several outputs, draws random numbers, or uses its input as an index.
    """

    def __init__(self, model: Module, type: TensorType, ends: Ends) -> None:
        with Trace() as trace:
            outputs: Any = model.trace((trace.input("x", type),))
            named = output_values(outputs)
            graph = trace.graph(named)
        if len(named) != 1 or KEY in graph.inputs or trace.updates:
            reason = "draws random numbers" if KEY in graph.inputs else f"has {len(named)} outputs"
            raise OptionError(f"not exported: a native network has one input and one output, and this model {reason}")
        if content_checks(graph):
            raise OptionError(
                "not exported: the model indexes with its input, whose range a native network cannot check"
            )
        if not ends.standardizer:
            graph = without_standardizer(graph)
        if ends.softmax:
            graph = with_softmax(graph)
        if ends.labels:
            graph = with_labels(graph)
        self.graph: Graph = graph
        self.bindings = trace.bindings()
        self.arenas = trace.arenas()
        self.checks = tuple(trace.checks)
        (self.output,) = graph.outputs
        self.input_type = type

    @property
    def output_type(self) -> TensorType:
        """The dtype and shape of the output, with N on axis 0."""
        return self.graph.outputs[self.output].type

    def compiled(self, target: Target, single_sample: bool) -> CompiledExecutable:
        """Return the program for a target, with the kernels that the model itself would use on such a processor.

        With ``single_sample``, the kernels are those for a batch of one sample.
        """
        constant = frozenset(self.bindings if self.arenas else ())
        options = CompileOptions(
            target, settings.current().winograd, single_sample=single_sample, constant_inputs=constant
        )  # fmt: skip
        return CompiledExecutable(self.graph, self.bindings, {}, options, self.arenas, _runner(target))

    def run(self, program: CompiledExecutable, x: Array) -> Array:
        """Return the output of a program for the samples ``x``."""
        for verify in self.checks:
            verify(len(x))
        return program.run({"x": x}, len(x))[self.output]


def _runner(target: Target) -> Target:
    """Return the target whose code this computer can run in place of ``target``, to compute the same numbers.

    The numbers depend on the kernels, and on whether a · b + c is rounded once.
    """
    host = targets.host()
    if targets.has_fma(target) == targets.has_fma(host) or not targets.runs_here(target):
        return host
    return replace(target, triple=targets.native_triple())


@dataclass(frozen=True)
class Programs:
    """The programs of one level (instruction set): ``single`` for one sample, ``several`` for more.

    Often the two are the same object.
    """

    single: CompiledExecutable
    several: CompiledExecutable


def programs_for(prediction: Prediction, target: Target, batch: int) -> Programs:
    """Compile a prediction for a target: one program for a single sample, and one for up to ``batch`` samples.

    The two are the same object if the kernels do not depend on the size of the batch, or if ``batch`` is 1.
    """
    single = prediction.compiled(target, single_sample=True)
    if batch == 1:
        several = single
    else:
        several = prediction.compiled(target, single_sample=False) if single.batch_specialized else single
    single.reserve(1)
    several.reserve(batch)
    return Programs(single, several)


class Constants:
    """The constant arrays of a native object; equal arrays are stored once."""

    def __init__(self) -> None:
        self._offsets: dict[bytes, int] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, contents: bytes) -> int:
        """Store an array with these contents, and return its offset, a multiple of 64 bytes."""
        if contents not in self._offsets:
            padded = contents + bytes(-len(contents) % ALIGNMENT)
            self._offsets[contents] = self._size
            self._parts.append(padded)
            self._size += len(padded)
        return self._offsets[contents]

    def joined(self) -> bytes:
        """Return the bytes of all arrays together, with each at its offset."""
        return b"".join(self._parts)


def image_of(program: CompiledExecutable, constants: Constants) -> ArtefactProgram:
    """Return the phases (kernel launches) of a program for an object file; add its constant arrays to ``constants``.

    The operands are offsets in the arrays and the scratch memory that the network gets when it runs, not addresses in
    this process. Raises ``OptionError`` if no phase writes the output.
    """
    contents = program.constants()
    bound = program.reserve(1)

    def place(operand: Operand) -> tuple[Base, int]:
        match operand:
            case Scratch(offset=offset):
                return Base.SCRATCH, offset
            case Fixed(address=address):
                return Base.CONSTANTS, constants.add(contents.get(address, b""))
            case External(name=name):
                return (Base.OUTPUT if name.startswith("out:") else Base.INPUT), 0

    phases = tuple(
        ArtefactPhase(launch.spec, tuple(map(place, phase.operands)), *launch.chunks)
        for launch, phase in zip(program.phases, bound.phases, strict=True)
    )
    if not any(base is Base.OUTPUT for phase in phases for base, _ in phase.operands):
        raise OptionError("not exported: the model computes nothing")
    return phases


def thread_scratch(programs: Sequence[CompiledExecutable]) -> int:
    """Return how many bytes of scratch memory a thread needs to run any of the programs."""
    return max((launch.thread_scratch for program in programs for launch in program.phases), default=0)


def input_type_of(model: Module, input_shape: Sequence[int] | None, dtype: DType) -> TensorType | None:
    """Return the type of the model's only input: elements of ``dtype``, and shape (N, *input_shape).

    ``input_shape`` None means the shape in the last call of the model; if there was none, the result is None. Raises
    ``OptionError`` for a model with several inputs.
    """
    if input_shape is not None:
        return TensorType(dtype, (N, *input_shape))
    types = model.input_types
    if types is None:
        return None
    if len(types) != 1:
        raise OptionError(
            f"not exported: a native network has one input and one output, and this model {len(types)} inputs"
        )
    return types[0].with_dtype(dtype)


def as_samples(x: Array, type: TensorType) -> Array:
    """Return the samples ``x`` as a contiguous array of the input's dtype.

    Raises ``ShapeError`` if x has no samples, or another shape than the input on an axis other than 0.
    """
    if x.ndim != type.rank or x.shape[1:] != type.concrete(1)[1:] or len(x) == 0:
        raise ShapeError(f"samples of shape {x.shape} for an input {type}\n  help: give one sample or more")
    return np.ascontiguousarray(x, type.dtype.numpy)
