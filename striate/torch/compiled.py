"""A translated part of a PyTorch program, differentiated and compiled, with its forward and backward runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from striate import settings
from striate.compiler import options_for
from striate.compiler.divided import DividedExecutable, Parts, externals_of
from striate.dtypes import DType, Precision
from striate.errors import EngineError
from striate.graph.check import check
from striate.graph.contents import content_checks
from striate.graph.graph import Graph, OutputKind, OutputRole, Seed, topological
from striate.graph.value import Array, TensorType, Value
from striate.locks import Lock
from striate.passes.differentiate import moving_values, pull_back
from striate.runtime.pool import ArenaPool, Lease
from striate.runtime.threads import Helpers
from striate.torch.translate import KEY

TENSORS = {
    DType.float32: torch.float32, DType.float64: torch.float64, DType.int32: torch.int32, DType.int64: torch.int64,
    DType.uint8: torch.uint8, DType.bool: torch.bool,
}  # fmt: skip
"""The dtypes of tensors by the dtypes of values."""

_POOL = ArenaPool()
_EXECUTABLES: OrderedDict[object, DividedExecutable] = OrderedDict()
_MOST_EXECUTABLES = 64
_lock = Lock()


def _signature(graph: Graph) -> object:
    """Return a hashable description of a graph: equal descriptions mean equal programs."""
    places: dict[Value, tuple[int, int]] = {}
    nodes: list[object] = []
    for index, node in enumerate(graph.nodes):
        nodes.append((node.op, tuple(places[value] for value in node.inputs)))
        places.update({value: (index, position) for position, value in enumerate(node.outputs)})
    outputs = tuple((name, places[value]) for name, value in graph.outputs.items())
    return tuple(nodes), outputs, tuple((name, array.tobytes()) for name, array in graph.captured.items())


def executable_of(graph: Graph, gradients: Sequence[str], precision: Precision, samples: int) -> DividedExecutable:
    """Return the compiled form of a graph: a forward program, and a backward program for the outputs ``gradients``.

    ``gradients`` are names of outputs, ``precision`` says how activations are stored, and ``samples`` is the batch size
    for which memory is planned at first. Equal graphs share their programs.
    """
    current = settings.current()
    key = _signature(graph), tuple(gradients), precision, current.winograd, current.target
    with _lock:
        found = _EXECUTABLES.get(key)
        if found is None:
            found = _EXECUTABLES[key] = DividedExecutable(graph, gradients, options_for(precision, samples))
            if len(_EXECUTABLES) > _MOST_EXECUTABLES:
                _EXECUTABLES.popitem(last=False)
        _EXECUTABLES.move_to_end(key)
        return found


class _Array(NamedTuple):
    """An array that a run writes: its name, its name as an operand of the program, its shape and dtype."""

    name: str
    external: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class Binding(NamedTuple):
    """All facts about the arrays of a run that depend only on the batch size, computed once for many runs.

    n          the batch size N
    parts      the forward program and the backward program
    helpers    the threads that share the work of a batch of this size
    inputs     the inputs of the forward program: name, index, dtype and number of elements
    outputs    the outputs that have memory of their own
    updates    the new contents of overwritten inputs: name, name of the operand of the program, index of the input
    gradients  the gradients that have memory of their own
    first      the names of all operands of the forward program
    second     the names of all operands of the backward program
    """

    n: int
    parts: Parts
    helpers: Helpers
    inputs: Sequence[tuple[str, int, torch.dtype, int]]
    outputs: Sequence[_Array]
    updates: Sequence[tuple[str, str, int]]
    gradients: Sequence[_Array]
    first: frozenset[str]
    second: frozenset[str]


@dataclass(frozen=True)
class Run:
    """What the backward program needs from a forward run.

    binding    the programs of both runs and the arrays for this batch size
    lease      the block of memory with the saved activations
    converted  by index, the inputs that were converted to another dtype or order of elements for the forward program
    key        the number that seeded dropout; None without dropout
    """

    binding: Binding
    lease: Lease
    converted: Mapping[int, torch.Tensor]
    key: torch.Tensor | None


@dataclass(frozen=True)
class Form:
    """The form in which PyTorch would return a tensor: its dtype, and the order of its axes in memory.

    ``order`` lists the axes from the outermost in memory to the innermost; None is row-major order. Within autocast,
    the dtype may be bfloat16.
    """

    dtype: torch.dtype
    order: tuple[int, ...] | None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return ``tensor`` with this dtype and order of axes in memory; it is copied only if either differs."""
        tensor = tensor.to(self.dtype)
        if self.order is None:
            return tensor
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return tensor.permute(self.order).contiguous().permute(back)


class Compiled:
    """The forward and backward programs of a part of a PyTorch program that was translated to a graph.

    inputs     the graph inputs for the tensors that the part reads, in order
    outputs    the values that the part returns, in order
    updates    the new contents of inputs that the part overwrites, by index of the input
    fixed      values through which no gradient passes
    captured   further graph inputs, each with its contents, which are the same in every run
    key        the graph input that seeds dropout, or None
    needed     for each input, whether its gradient is needed
    forms      for each output, the dtype of the tensor to return and the order of its axes in memory
    precision  how the programs store activations
    batch      the index of an input whose axis 0 has the size N; None if all sizes are fixed
    samples    the N for which memory is planned at first
    """

    def __init__(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        updates: Mapping[int, Value],
        fixed: Sequence[Value],
        captured: Sequence[tuple[Value, Array]],
        key: Value | None,
        needed: Sequence[bool],
        forms: Sequence[Form],
        precision: Precision,
        batch: int | None,
        samples: int,
    ) -> None:
        self._batch = batch
        self._types = [value.type for value in inputs]
        self._outputs = [value.type for value in outputs]
        self._forms = list(forms)
        named = {f"x{index}": value for index, value in enumerate(inputs)}
        contents = {f"constant{index}": array for index, (_, array) in enumerate(captured)}
        named |= {name: value for name, (value, _) in zip(contents, captured, strict=True)}
        if key is not None:
            named[KEY] = key
        results = {f"y{index}": value for index, value in enumerate(outputs)}
        results |= {f"u{index}": value for index, value in updates.items()}
        wrt = [value for value, is_needed in zip(inputs, needed, strict=True) if is_needed and value.dtype.is_float]
        moving = moving_values(topological(outputs), wrt, fixed)
        self.differentiable = [value in moving and value.dtype.is_float for value in outputs]
        seeds: dict[Value, Value] = {}
        for index, value in enumerate(outputs):
            if self.differentiable[index]:
                named[f"dy{index}"] = seed = Seed(f"dy{index}", value.type)()
                seeds[value] = seeds[value] + seed if value in seeds else seed
        roles: dict[str, OutputRole] = {}
        self._gradients: list[int] = []
        if seeds:
            places = [index for index, value in enumerate(inputs) if any(value is one for one in wrt)]
            for index, gradient in zip(places, pull_back(seeds, wrt, fixed), strict=True):
                if gradient is not None:
                    results[f"g{index}"] = gradient
                    roles[f"g{index}"] = OutputRole(OutputKind.GRADIENT, f"x{index}")
                    self._gradients.append(index)
        graph = check(Graph(named, results, captured=contents, roles=roles), "translate")
        self._checks = [(int(name[1:]), require) for name, require in content_checks(graph) if name != KEY]
        self._executable = executable_of(graph, list(roles), precision, samples)
        self._random = key is not None
        self._updates = list(updates)
        self._link(samples)

    def _link(self, samples: int) -> None:
        """Find out which addresses each part needs, and what the backward run reads of the forward run."""
        executable, parts = self._executable, self._executable.parts(max(1, samples))
        first, _ = externals_of(parts.first)
        self._first_inputs = [(name, int(name[1:])) for name in first if name != KEY]
        self._own = [name for name in executable.places if executable.places[name] == name]
        self._views = {name: first for name, first in executable.places.items() if first != name}
        second, carried = externals_of(parts.second) if parts.second is not None else ([], [])
        self._second_inputs = [(name, int(name[1:])) for name in second if name[0] == "x"]
        self._seeds = [(name, int(name[2:])) for name in second if name[:2] == "dy"]
        carried = sorted({*carried, *(first for name, first in self._views.items() if name[0] == "g")})
        self._carried = [(f"out:{name}", int(name[1:])) for name in carried if name[0] == "y"]
        read_later = {name for name in carried if name[0] == "u"}
        self._direct = {
            index for index in self._updates
            if not read_later and executable.may_share(f"x{index}", f"u{index}")
        }  # fmt: skip
        self.saved_inputs = [index for _, index in self._second_inputs]
        self.saved_outputs = [index for _, index in self._carried]
        assert not read_later, "the backward pass reads new statistics"
        self._binding = self._bind(max(1, samples), parts)

    def _bind(self, n: int, parts: Parts) -> Binding:
        """Return what runs with a batch of ``n`` samples need to know about their arrays."""

        def array(name: str, type: TensorType) -> _Array:
            return _Array(name, f"out:{name}", type.concrete(n), TENSORS[type.dtype])

        first, second = parts.first.externals, parts.second.externals if parts.second is not None else frozenset[str]()
        return Binding(
            n,
            parts,
            self._executable.helpers(n),
            [(name, i, TENSORS[self._types[i].dtype], self._types[i].size(n)) for name, i in self._first_inputs],
            [array(name, self._outputs[int(name[1:])]) for name in self._own if name[0] == "y"],
            [(name, f"out:{name}", int(name[1:])) for name in self._own if name[0] == "u"],
            [array(name, self._types[int(name[1:])]) for name in self._own if name[0] == "g"],
            first,
            second,
        )

    @property
    def has_backward(self) -> bool:
        """Whether there is a backward program, that is, the gradient of at least one input is needed."""
        return bool(self._gradients)

    def samples(self, tensors: Sequence[torch.Tensor]) -> int:
        """Return the batch size N of the input tensors; 1 if all sizes are fixed."""
        return 1 if self._batch is None else tensors[self._batch].shape[0]

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], Run | None]:
        """Run the forward program on the input tensors; return the outputs, and what the backward run needs.

        The second result is None if there is no backward program. Raises ``EngineError`` for tensors whose sizes differ
        from those that the program was compiled for.
        """
        n = self.samples(tensors)
        parts = self._executable.parts(n)
        bound = self._binding
        if bound.n != n or bound.parts is not parts:
            bound = self._binding = self._bind(n, parts)
        converted: dict[int, torch.Tensor] = {}
        addresses: dict[str, int] = {}
        for name, index, dtype, size in bound.inputs:
            tensor = tensors[index]
            if tensor.dtype is not dtype or not tensor.is_contiguous():
                tensor = converted[index] = tensor.to(dtype).contiguous()
            if tensor.numel() != size:
                raise EngineError(
                    f"an input has shape {tuple(tensor.shape)}, but the program was compiled for {self._types[index]}"
                )
            addresses[name] = tensor.data_ptr()
        for index, require in self._checks:
            require(converted.get(index, tensors[index]).detach().numpy())
        key = torch.empty((), dtype=torch.int64).random_() if self._random else None
        if key is not None:
            addresses[KEY] = key.data_ptr()
        places: dict[str, torch.Tensor] = {}
        for one in bound.outputs:
            made = places[one.name] = torch.empty(one.shape, dtype=one.dtype)
            addresses[one.external] = made.data_ptr()
        for name, external, index in bound.updates:
            direct = index in self._direct and index not in converted
            made = places[name] = tensors[index] if direct else torch.empty_like(converted.get(index, tensors[index]))
            addresses[external] = made.data_ptr()
        lease = _POOL.lease(parts.size) if parts.second is not None else None
        run_program(parts.first, n, _needed(addresses, bound.first), lease, bound.helpers)
        if self._updates:
            self._write_updates(tensors, places, converted)
        outputs = [self._output(f"y{index}", type, n, places) for index, type in enumerate(self._outputs)]
        return outputs, None if lease is None else Run(bound, lease, converted, key)

    def _output(self, name: str, type: TensorType, n: int, places: Mapping[str, torch.Tensor]) -> torch.Tensor:
        form = self._forms[int(name[1:])]
        if name in places:
            return form.of(places[name])
        if name in self._views:
            source = self._views[name]
            return form.of(places[source].reshape(type.concrete(n)).clone())
        return torch.empty(type.concrete(n), dtype=form.dtype)

    def _write_updates(
        self, tensors: Sequence[torch.Tensor], places: Mapping[str, torch.Tensor], converted: Mapping[int, torch.Tensor]
    ) -> None:
        written: list[torch.Tensor] = []
        for index in self._updates:
            name = f"u{index}"
            new = places[name] if name in places else places[self._views[name]].reshape(tensors[index].shape)
            if new is not tensors[index]:
                tensors[index].detach().copy_(new)
            else:
                written.append(new)
        torch.autograd.graph.increment_version(written)  # but not that of inference tensors, which have none

    def backward(
        self, run: Run, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor],
        seeds: Sequence[torch.Tensor | None], again: bool,
    ) -> dict[int, torch.Tensor]:  # fmt: skip
        """Run the backward program and return the gradients of the inputs, by index of the input.

        ``run`` is what ``forward`` returned. ``inputs`` and ``outputs`` are the tensors of that run whose indices
        ``saved_inputs`` and ``saved_outputs`` list. ``seeds`` are the gradients of the loss with respect to all
        outputs; None stands for zeros. ``again`` says that another backward run for the same forward run may follow;
        the saved activations are then kept.
        """
        bound = run.binding
        n, parts = bound.n, bound.parts
        assert parts.second is not None
        addresses: dict[str, int] = {}
        kept: list[torch.Tensor] = []
        gradients: dict[str, torch.Tensor] = {}
        for (name, index), tensor in zip(self._second_inputs, inputs, strict=True):
            addresses[name] = run.converted.get(index, tensor).data_ptr()
        for (name, index), tensor in zip(self._carried, outputs, strict=True):
            dtype = TENSORS[self._outputs[index].dtype]
            kept.append(tensor.to(dtype).contiguous())
            addresses[name] = kept[-1].data_ptr()
            gradients[f"y{index}"] = kept[-1]
        for name, index in self._seeds:
            type, seed = self._outputs[index], seeds[index]
            dtype = TENSORS[type.dtype]
            if seed is None:
                kept.append(torch.zeros(type.concrete(n), dtype=dtype))
            else:
                kept.append(seed.to(dtype).contiguous())
            addresses[name] = kept[-1].data_ptr()
        if run.key is not None:
            addresses[KEY] = run.key.data_ptr()
        for one in bound.gradients:
            made = gradients[one.name] = torch.empty(one.shape, dtype=one.dtype)
            addresses[one.external] = made.data_ptr()
        lease = run.lease
        if again:
            lease = _POOL.lease(parts.size)
            lease.arena.view(0, (parts.size,), "u1")[...] = run.lease.arena.view(0, (parts.size,), "u1")
        run_program(parts.second, n, _needed(addresses, bound.second), lease, bound.helpers)
        lease.end()
        found: dict[int, torch.Tensor] = {}
        for index in self._gradients:
            name = f"g{index}"
            if name in gradients:
                found[index] = gradients[name]
                continue
            shape = self._types[index].concrete(n)
            if name in self._views:
                found[index] = gradients[self._views[name]].reshape(shape).clone()
            else:
                found[index] = torch.empty(shape, dtype=TENSORS[self._types[index].dtype])
        return found


def run_program(program: Any, n: int, addresses: Mapping[str, int], lease: Lease | None, helpers: Helpers) -> None:
    """Run a compiled program for a batch of ``n`` samples, with at most as many threads as PyTorch uses.

    ``addresses`` are the addresses of all operands in memory, by name, and ``helpers`` says which threads may share the
    work. ``lease`` is the program's working memory; if it is None, the program uses a block of its own. Raises
    ``EngineError`` if a kernel fails.
    """
    most = torch.get_num_threads()
    if most < settings.current().threads:
        with settings.using_threads(most):
            return run_program(program, n, addresses, lease, helpers)
    if program.run(n, addresses, helpers=helpers, memory=None if lease is None else lease.arena):
        raise EngineError(f"a kernel failed: {program.failure}")


def _needed(addresses: dict[str, int], names: frozenset[str]) -> dict[str, int]:
    """Return the addresses with these names, which are all or some of those given."""
    if len(addresses) == len(names):
        return addresses
    return {name: address for name, address in addresses.items() if name in names}
