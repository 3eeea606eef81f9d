"""A compiled graph with its memory: its programs, the address of every operand, inputs and outputs."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from striate.codegen import driver, jit
from striate.codegen.elementwise import ElementwiseKernel
from striate.codegen.launch import BoundArray, Buffer, Launch, Operand
from striate.codegen.options import CompileOptions
from striate.codegen.region import FLAT_CHUNK, Domain, Load, Region, Space, Store
from striate.codegen.target import Target
from striate.compiler.pipeline import compile_graph
from striate.compiler.verify import verify_memory
from striate.errors import DTypeError, ShapeError
from striate.graph.graph import Graph, Input
from striate.graph.value import Array, Value, shape_text
from striate.locks import cached_property
from striate.ops.kernels.exchange import Exchange
from striate.passes import lower
from striate.passes.empty import is_empty
from striate.passes.memory import ALIGNMENT, lives, place
from striate.runtime import program as runtime
from striate.runtime.arena import Arena, ScratchArena, address_of, scratch_arena, undefined_array
from striate.runtime.program import External, Fixed, Phase, Program, Scratch
from striate.runtime.threads import Helpers


class Contents(Protocol):
    """Protocol: an owner of parameters and states, such as a model's memory block, that counts writes to them."""

    @property
    def version(self) -> int:
        """A number that increases with every write."""
        ...

    def changed(self) -> None:
        """Record that the parameters or states were written, by increasing ``version``."""
        ...


class CompiledExecutable:
    """A compiled graph with its memory, ready to run.

    ``bindings`` are the arrays of parameters and states by name, and ``results`` the arrays to which outputs are
    written, by output name. ``arenas`` own the arrays in ``bindings``.

    Phases (kernel launches) that depend only on constant inputs (``options.constant_inputs``) are *prepared*: they form
    a separate program with memory of its own. This program runs again only if the ``version`` of an arena has changed,
    that is, after a write to parameters or states.

    Algorithms are chosen for the processor ``options.target``, and the kernels use the instructions of ``runner``, by
    default the same processor. So the results of another processor can be computed on this computer.
    """

    def __init__(
        self,
        graph: Graph,
        bindings: Mapping[str, Array],
        results: Mapping[str, Array],
        options: CompileOptions,
        arenas: Sequence[Contents] = (),
        runner: Target | None = None,
    ) -> None:
        self._arenas = tuple(arenas)
        self.compiled = compile_graph(graph, options)
        self._graph = self.compiled.layouts.graph
        self._bindings = dict(bindings)
        self._results = dict(results)
        self._capacity = options.capacity
        # The lock of the memory in which the program runs. It is taken before every fork, so that no child process
        # finds a program half planned.
        self._scratch = scratch_arena()
        self._lock = self._scratch.lock
        self._inputs = {node.op.name: node.outputs[0] for node in self._graph.sources() if isinstance(node.op, Input)}
        self._phases = [*self.compiled.lowered.phases, *self._copies()]
        specs = {phase.spec.key: phase.spec for phase in self._phases}
        self._addresses = jit.kernels.get(specs.values(), runner or options.target)
        # Loaded here, because it may be compiled in a forked process, and forks wait for the lock on scratch memory.
        self._driver = driver.load()
        self._names = self._output_names()
        self._without_elements = {name: value.type for name, value in graph.outputs.items() if is_empty(value)}
        self._prepared, self._each_run = self._split(options.constant_inputs)
        self._kept: dict[Operand, Fixed] = {}
        self._own_arena: ScratchArena | None = None
        self.preparation = self._bind_prepared() if self._prepared else None
        self._versions: tuple[int, ...] = ()
        self._shapes: _Shapes | None = None
        self._completed: dict[str, int] = {}
        self._exchanged: dict[int, list[Array]] = {}
        self._exchanged_at: tuple[int, Program] | None = None
        self._plain = not self._results and list(self._names.values()) == list(self._graph.outputs)
        firsts = [
            (name, value, self._names[self.compiled.layouts.base(value)]) for name, value in self._graph.outputs.items()
        ]
        self._placed = {
            name: self._results[name] for name, _, first in firsts if name == first and name in self._results
        }
        self._named_otherwise = [one for one in firsts if one[0] not in self._placed]
        self.program: Program | None = None
        if self._capacity or not any(value.type.batched for value in self._inputs.values()):
            self._bind(max(1, self._capacity))

    @property
    def phases(self) -> tuple[Launch, ...]:
        """The phases (kernel launches) that run each time, in order."""
        return tuple(self._each_run)

    @property
    def batch_specialized(self) -> bool:
        """Whether the kernels would differ if the graph were compiled only for batches of one sample."""
        return bool(self.compiled.lowered.batch_specialized)

    @property
    def prepared(self) -> tuple[Launch, ...]:
        """The phases (kernel launches) that run only if parameters or states have changed."""
        return tuple(self._prepared)

    # -- memory -------------------------------------------------------------------------------------------------

    def _output_names(self) -> dict[Value, str]:
        """Return the name of each output value; a value with several names gets the first."""
        names: dict[Value, str] = {}
        for name, value in self._graph.outputs.items():
            names.setdefault(self.compiled.layouts.base(value), name)
        return names

    def _updated(self) -> dict[Value, str]:
        """Return the values that are written directly to the memory of their state, with the state's name."""
        in_place = self.compiled.plan.in_place
        return {value: name for name, value in self._graph.updates.items() if in_place[name]}

    def _copies(self) -> list[Launch]:
        """Return phases that copy the updates which could not be written directly to their state."""
        phases: list[Launch] = []
        for name, value in self._graph.updates.items():
            if not self.compiled.plan.in_place[name]:
                domain = Domain(Space.FLAT, 1, 1, (1, 1, value.type.size()))
                strides = (FLAT_CHUNK, 0, 0, 0, 1)
                region = Region(
                    domain, (Load(0, value.dtype, strides, 0, True),), (Store(0, 1, value.dtype, strides, 0),)
                )
                operands = (value, BoundArray(name))
                phases.append(Launch("copy", value.node.path, ElementwiseKernel(region), operands, domain.chunks))
        return phases

    def _size(self, thing: Operand, capacity: int) -> int:
        if isinstance(thing, Buffer):
            return thing.size(capacity)
        assert isinstance(thing, Value)
        storage = self.compiled.layouts.storage(thing)
        samples = capacity if thing.type.batched else (thing.type.samples if thing.type.rank >= 2 else 1)
        if thing.type.batched and thing.type.rank == 1:
            return capacity * thing.dtype.numpy.itemsize
        return storage.bytes_per_sample * samples

    def _base(self, operand: Operand) -> Operand:
        return self.compiled.layouts.base(operand) if isinstance(operand, Value) else operand

    def _split(self, constant_inputs: frozenset[str]) -> tuple[list[Launch], list[Launch]]:
        """Separate the phases that depend only on constant inputs from all others; return both lists."""
        prepared: list[Launch] = []
        others: list[Launch] = []
        bound = {
            value
            for name, value in self._inputs.items()
            if name in constant_inputs and name not in self._graph.captured
        }
        constant: set[Operand] = set(bound)
        leaving = {*self._names, *self._updated()}
        for phase in self._phases:
            operands = [self._base(operand) for operand in phase.operands]
            written = {operands[place] for place in phase.writes}
            separable = bool(constant_inputs) and bool(written) and not phase.chunks[1]
            separable = separable and not written & (leaving | bound)
            if separable and all(operand in constant or operand in written for operand in operands):
                constant |= written
                prepared.append(phase)
            else:
                others.append(phase)
        return prepared, others

    def _bind_prepared(self) -> Program:
        """Return the program of the prepared phases, with memory that it shares with no other program."""
        sizes = {
            self._base(phase.operands[place]): self._size(self._base(phase.operands[place]), 1)
            for phase in self._prepared
            for place in phase.writes
        }
        offsets: dict[Operand, int] = {}
        total = 0
        for operand, size in sizes.items():
            offsets[operand] = total
            total += -(-size // ALIGNMENT) * ALIGNMENT
        memory = Arena(total)
        self._kept = {operand: Fixed(memory.address(offset)) for operand, offset in offsets.items()}
        return self._program(self._prepared, self._kept, 0, [memory])

    def _program(
        self,
        launches: Sequence[Launch],
        homes: Mapping[Operand, runtime.Operand],
        scratch: int,
        keep: Sequence[object] = (),
    ) -> Program:
        def home(operand: Operand) -> runtime.Operand:
            thing = self._base(operand)
            found = homes.get(thing) or self._fixed_home(thing, {})
            assert found is not None
            return found

        return Program(
            [
                Phase(
                    launch.name, launch.path, self._addresses[launch.spec.key],
                    [home(operand) for operand in launch.operands], *launch.chunks,
                )
                for launch in launches
            ],
            self._driver,
            scratch=scratch,
            thread_scratch=max((launch.thread_scratch for launch in launches), default=0),
            keep=[
                *self._bindings.values(), *self._results.values(), *self._graph.captured.values(),
                self._addresses, *keep,
            ],
            arena=self._own_arena,
        )  # fmt: skip

    def _bind(self, capacity: int) -> None:
        updated = self._updated()
        homes: dict[Operand, runtime.Operand] = dict(self._kept)
        sizes: dict[Operand, int] = {}
        for phase in self._each_run:
            for operand in map(self._base, phase.operands):
                if operand in homes or operand in sizes:
                    continue
                home = self._fixed_home(operand, updated)
                if home is not None:
                    homes[operand] = home
                else:
                    sizes[operand] = self._size(operand, capacity)
        spans = lives([[self._base(operand) for operand in phase.operands] for phase in self._each_run], sizes)
        offsets, total = place(spans)
        verify_memory(spans, offsets, total)
        homes.update({thing: Scratch(offset) for thing, offset in offsets.items()})
        memory = [self.preparation] if self.preparation is not None else []
        self.program = self._program(self._each_run, homes, total, memory)
        self._capacity = capacity
        self.scratch_bytes = total
        self._given = [(name, self._inputs[name]) for name in self._inputs if name in self.program.externals]
        self._fresh = [(value, name) for value, name in self._names.items() if name not in self._results]
        self._handed = {name for _, name in self._fresh if f"out:{name}" in self.program.externals}

    def reserve(self, n: int) -> Program:
        """Return the program that runs each time, with memory for batches of at least ``n`` samples."""
        with self._lock:
            if self.program is None or n > self._capacity:
                self._bind(max(n, self._capacity))
            assert self.program is not None
            return self.program

    def constants(self) -> dict[int, bytes]:
        """Return the contents of the constant arrays that a run reads, by address.

        These are parameters, states, and the results of kernels that ran in advance, such as packed weights.
        """
        with self._lock:
            program = self.reserve(1)
            self._prepare_again()
            found: dict[int, bytes] = {}
            for launch, phase in zip(self._each_run, program.phases, strict=True):
                for operand, home in zip(launch.operands, phase.operands, strict=True):
                    if isinstance(home, Fixed):
                        size = self._size(self._base(operand), 1)
                        if size > len(found.get(home.address, b"")):  # arrays without elements share an address
                            found[home.address] = ctypes.string_at(home.address, size)
            return found

    def helpers(self, n: int) -> Helpers:
        """Return which other threads are to share the work of a batch of ``n`` samples."""
        fixed, each = self._work
        if fixed + each * n > lower.SINGLE_THREADED_WORK:
            return Helpers.ALL
        return Helpers.AWAKE if fixed + each * n > lower.UNSHARED_WORK else Helpers.NONE

    @cached_property
    def _work(self) -> tuple[float, float]:
        """Return the operations plus bytes moved, as (fixed part, part per sample).

        They depend only on shapes.
        """
        fixed = each = 0.0
        for phase in self._each_run:
            fixed += phase.flops
            each += phase.flops_per_sample
            for thing in {self._base(operand) for operand in phase.operands}:
                if isinstance(thing, Buffer):
                    fixed += thing.fixed
                    each += thing.per_group / thing.group
                elif isinstance(thing, Value):
                    size = self._size(thing, 1)
                    fixed, each = (fixed, each + size) if thing.type.batched else (fixed + size, each)
        return fixed, each

    def _fixed_home(self, operand: Operand, updated: Mapping[Value, str]) -> runtime.Operand | None:
        """Return the address of an operand outside scratch memory, or None for one in scratch memory."""
        if isinstance(operand, BoundArray):
            return Fixed(self._bindings[operand.name].ctypes.data)
        if not isinstance(operand, Value):
            return None
        op = operand.node.op
        if isinstance(op, Input):
            array = self._graph.captured.get(op.name)
            array = self._bindings.get(op.name) if array is None else array
            return External(op.name) if array is None else Fixed(array.ctypes.data)
        if operand in updated:
            return Fixed(self._bindings[updated[operand]].ctypes.data)
        if operand in self._names:
            name = self._names[operand]
            return Fixed(self._results[name].ctypes.data) if name in self._results else External(f"out:{name}")
        return None

    # -- running ------------------------------------------------------------------------------------------------

    def run(self, arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Run the graph for a batch of ``n`` samples, and return the outputs by name.

        ``arrays`` are the inputs by name. Raises ``DTypeError`` or ``ShapeError`` if an array does not have the dtype
        and shape that the program was compiled for.
        """
        with self._lock:
            program = self.program if self.program is not None and n <= self._capacity else self.reserve(n)
            shapes = self._shapes_at(n)
            addresses, outputs, kept = self._arguments(arrays, shapes)
            self._prepare_again()  # under the lock: no update may run before the phases that read what it prepares
            try:
                program.run(n, addresses, helpers=shapes.helpers)
            finally:  # Ctrl-C is raised after the run, which has written the updates
                if self._graph.updates:
                    for arena in self._arenas:
                        arena.changed()
            del kept
            found = self._named(outputs, n)
            return found | self._empty_results(n) if self._without_elements else found

    def _arguments(
        self, arrays: Mapping[str, Array], shapes: _Shapes
    ) -> tuple[dict[str, int], dict[str, Array], list[Array]]:
        """Return the addresses of all inputs and outputs, the new output arrays, and the input arrays to keep alive."""
        addresses: dict[str, int] = {}
        kept: list[Array] = []
        for (name, value), shape in zip(self._given, shapes.given):
            array = self._checked(name, value, arrays[name], shape)
            kept.append(array)
            addresses[name] = address_of(array)
        outputs: dict[str, Array] = {}
        for (value, name), shape in zip(self._fresh, shapes.fresh):
            outputs[name] = array = undefined_array(shape, value.dtype.numpy)
            if name in self._handed:
                addresses[f"out:{name}"] = address_of(array)
        return addresses, outputs, kept

    # -- running in parts, for a training on several ranks --------------------------------------------------------

    def twin(self, results: Mapping[str, Array]) -> CompiledExecutable:
        """Return an executable with the same kernels, but with scratch memory of its own.

        ``results`` are the arrays to which the new executable writes its outputs, by name. With two executables, two
        batches can be in the middle of a run at the same time.
        """
        other = copy.copy(self)
        other._results = dict(results)
        other._placed = {name: results[name] for name in self._placed}
        other._scratch = other._own_arena = ScratchArena()
        other._lock = other._scratch.lock
        other._shapes = other.program = other._exchanged_at = None
        other._bind(max(1, self._capacity))
        return other

    def run_in_parts(self, arrays: Mapping[str, Array], n: int, ends: Sequence[int]) -> Generator[None]:
        """Run the graph like ``run``, but yield after the first e phases (kernel launches), for each e in ``ends``.

        ``ends`` must be in increasing order. When the generator is exhausted, the outputs are in the arrays ``results``
        that the executable was created with.
        """
        with self._lock:
            program = self.reserve(n)
            shapes = self._shapes_at(n)
            addresses, outputs, kept = self._arguments(arrays, shapes)
            self._prepare_again()
            first = 0
            for end in (*ends, len(self._each_run)):
                program.run(n, addresses, first, end, helpers=shapes.helpers)
                for name, value, original in self._named_otherwise:
                    if name in self._results and first < self.completed(name) <= end:
                        source = self._results[original] if original in self._results else outputs[original]
                        self._results[name][...] = source.reshape(value.type.concrete(n))
                first = end
                if end in ends:
                    yield
            del kept

    def completed(self, output: str) -> int:
        """Return the number of phases (kernel launches) after which the output named ``output`` is complete.

        Later phases neither write nor read the output. The number is at least 1.
        """
        if output not in self._completed:  # asked for at every stop of a run in parts
            value = self.compiled.layouts.base(self._graph.outputs[output])
            users = [
                place
                for place, phase in enumerate(self._each_run)
                if value in [self._base(one) for one in phase.operands]
            ]
            self._completed[output] = max(users, default=0) + 1
        return self._completed[output]

    def exchanges(self) -> list[tuple[int, Exchange]]:
        """Return the phases (kernel launches) whose results the ranks (processes) exchange, as pairs (number, kernel).

        The phase with the number 1 is the first one.
        """
        return [
            (place + 1, phase.spec) for place, phase in enumerate(self._each_run) if isinstance(phase.spec, Exchange)
        ]

    def exchanged(self, end: int) -> list[Array]:
        """Return the results of phase (kernel launch) number ``end``, counted from 1, as flat arrays.

        ``end`` must be the number of a phase that ``exchanges`` returns. The arrays are views of the memory of the
        current run, and may be read and written while ``run_in_parts`` has yielded at ``end``.
        """
        assert self.program is not None
        place = self._scratch.base, self.program
        if self._exchanged_at != place:  # the memory has moved
            self._exchanged, self._exchanged_at = {}, place
        if end not in self._exchanged:
            self._exchanged[end] = self._views_exchanged(end, self.program)
        return self._exchanged[end]

    def _views_exchanged(self, end: int, program: Program) -> list[Array]:
        launch = self._each_run[end - 1]
        assert isinstance(launch.spec, Exchange)
        homes = program.phases[end - 1].operands[len(launch.spec.sizes) :]
        dtype = launch.spec.dtype.numpy
        found: list[Array] = []
        for home, size in zip(homes, launch.spec.sizes, strict=True):
            match home:
                case Scratch(offset=offset):
                    found.append(self._scratch.view(offset, (size,), dtype))
                case Fixed(address=address):
                    block = (ctypes.c_uint8 * (size * dtype.itemsize)).from_address(address)
                    found.append(np.ctypeslib.as_array(block).view(dtype))
                case _:
                    raise AssertionError(f"the memory of {launch.name} at {launch.path!r} is not known")
        return found

    def _empty_results(self, n: int) -> dict[str, Array]:
        """Return the outputs that have no elements, for which nothing is computed."""
        return {
            name: self._results[name] if name in self._results else np.empty(type.concrete(n), type.dtype.numpy)
            for name, type in self._without_elements.items()
        }

    def _prepare_again(self) -> None:
        """Run the prepared phases if the arrays that they read have changed since the last time."""
        if self.preparation is None:
            return
        versions = tuple([arena.version for arena in self._arenas])
        if versions != self._versions:
            self._versions = ()
            self.preparation.run(1)
            self._versions = versions

    def _shapes_at(self, n: int) -> _Shapes:
        if self._shapes is None or self._shapes.n != n or self._shapes.program is not self.program:
            self._shapes = _Shapes(
                n,
                self.program,
                [value.type.concrete(n) for _, value in self._given],
                [self._graph.outputs[name].type.concrete(n) for _, name in self._fresh],
                self.helpers(n),
            )
        return self._shapes

    def _checked(self, name: str, value: Value, array: Array, shape: tuple[int, ...]) -> Array:
        if array.dtype != value.dtype.numpy:
            raise DTypeError(f"input {name!r} is {array.dtype}, but the program was compiled for {value.dtype.value}")
        if array.shape != shape:
            raise ShapeError(
                f"input {name!r} has shape {array.shape}, "
                f"but the program was compiled for {shape_text(value.shape)}, N = {shape[0] if shape else 1}"
            )
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def _named(self, fresh: dict[str, Array], n: int) -> dict[str, Array]:
        if self._plain:
            return fresh
        results = dict(self._placed)  # written in place: most outputs of a training step
        for name, value, first in self._named_otherwise:
            array = self._results[first] if first in self._results else fresh[first]
            if name != first:
                array = array.reshape(value.type.concrete(n)).copy()
                if name in self._results:
                    self._results[name][...] = array.reshape(self._results[name].shape)
            results[name] = self._results.get(name, array)
        return results


@dataclass(frozen=True)
class _Shapes:
    """The shapes of a program's arrays at N = n, and the threads that share its work."""

    n: int
    program: Program | None
    given: list[tuple[int, ...]]
    fresh: list[tuple[int, ...]]
    helpers: Helpers


def prepare_compiled(
    graph: Graph,
    bindings: Mapping[str, Array],
    results: Mapping[str, Array],
    options: CompileOptions,
    arenas: Sequence[Contents] = (),
) -> CompiledExecutable:
    """Compile a graph to machine code and return it as an executable.

    ``bindings`` are the arrays of parameters and states by name, and ``results`` the arrays to which outputs are
    written, by output name. ``arenas`` own the arrays in ``bindings``; work that depends only on
    ``options.constant_inputs`` runs again only if the version of an arena has changed.
    """
    return CompiledExecutable(graph, bindings, results, options, arenas)
