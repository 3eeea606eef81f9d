"""Lowering: turns groups (fused loops) into phases (kernel launches).

The elementwise work of a group becomes a region, a straight-line program that is part of the group's kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import cast

from striate.codegen.elementwise import (
    ChannelMerge,
    ElementwiseKernel,
    FinalizeReduction,
    PendingReduction,
    PlainReduction,
)
from striate.codegen.lanes import LANES
from striate.codegen.launch import Buffer, Launch, Operand
from striate.codegen.options import CompileOptions
from striate.codegen.region import (
    FLAT_CHUNK,
    LINE,
    Accumulate,
    AnchorResult,
    Apply,
    Domain,
    ElementCount,
    Instruction,
    Load,
    Number,
    Region,
    Space,
    Store,
)
from striate.codegen.storage import BLOCK, NO_HALO, Storage
from striate.errors import GraphError
from striate.graph.graph import Constant
from striate.graph.op import Kind, Node, foreign_code
from striate.graph.value import Value
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.kernels import rowwise
from striate.ops.reduction import reduction_of
from striate.passes.fuse import Group, Plan, domain_of, reduction_mode
from striate.passes.layout import Layouts

Strides = tuple[int, int, int, int, int]


@dataclass
class Lowered:
    """The result of lowering: all phases (kernel launches) in order.

    ``group_of`` has the index of the group (fused loop) that each phase comes from. ``partials`` are the buffers
    through which partial sums pass from one group to another. ``batch_specialized`` has the nodes whose phases would
    differ in a program for one sample.
    """

    phases: list[Launch] = field(default_factory=list[Launch])
    group_of: list[int] = field(default_factory=list[int])
    partials: dict[Node, Buffer] = field(default_factory=dict[Node, Buffer])
    batch_specialized: list[Node] = field(default_factory=list[Node])

    @property
    def flops(self) -> int:
        """The number of floating-point operations of all kernels for a batch of one sample (N = 1)."""
        return sum(launch.flops + launch.flops_per_sample for launch in self.phases)


STREAMED = 8
"""Arrays at least as large as the L2 caches of this many cores are written past the caches, which would not keep them
until they are read, and would read every line before it is written. (Measured: with arrays of 17 MB, a step is 2 % to
11 % faster; with 9 MB, equally fast; with 6 MB, 7 % slower.)"""


SINGLE_THREADED_WORK = 1 << 23
"""Programs with at most this many operations (each byte moved counts as one) wake no other thread. It is 80 µs of work,
about the time that a sleeping thread needs to wake up and help."""

UNSHARED_WORK = 1 << 19
"""Programs with at most this many operations, 5 µs of work, run on the calling thread alone."""


def lower(plan: Plan, options: CompileOptions) -> Lowered:
    """Return the kernel launches of every group (fused loop) of the plan, in order.

    ``options`` are the options of the compilation. A program for one sample with little work is lowered for a single
    thread; its sums have the same order as with several threads.
    """
    lowered = _Lowerer(plan, options).run()
    if options.single_sample and lowered.flops <= SINGLE_THREADED_WORK:
        return _Lowerer(plan, replace(options, single_threaded=True)).run()
    return lowered


class _Lowerer:
    def __init__(self, plan: Plan, options: CompileOptions) -> None:
        self.plan = plan
        self.options = options
        self.layouts = plan.layouts
        self.done = Lowered()
        self.partial_groups: dict[Node, tuple[int, int]] = {}

    def run(self) -> Lowered:
        for group in self.plan.groups:
            for phase in self._phases(group):
                self.done.phases.append(phase)
                self.done.group_of.append(group.index)
        return self.done

    def _phases(self, group: Group) -> list[Launch]:
        if group.anchor is not None and group.domain is None:
            empty = Region(Domain(Space.FLAT, 1, 1, (1, 1, 1)))
            if group.anchor.op.kind is Kind.REDUCTION:
                return [_reduction_phase(self.layouts, group.anchor)]
            return self._anchor(group, empty, ())
        builder = _RegionBuilder(self, group)
        region, operands = builder.build()
        if group.anchor is not None:
            return self._anchor(group, region, operands)
        path = builder.path()
        if group.finishes:
            items = tuple(self._finished(node) for node in group.finishes)
            partials = tuple(self.done.partials[node] for node in group.finishes)
            domain = region.domain
            chunks = domain.chunks if domain.space is Space.BLOCKED else (-(-domain.pixels // LANES), 0)
            finish = Launch("finish", path, FinalizeReduction(items, region), (*partials, *operands), chunks)
            return [*self._channel_merges(group), finish]
        writes = tuple(item.operand for item in (*region.stores, *region.accumulations))
        return [Launch("map", path, ElementwiseKernel(region), operands, region.domain.chunks, writes=writes)]

    def _anchor(self, group: Group, region: Region, operands: tuple[Operand, ...]) -> list[Launch]:
        node = cast(Node, group.anchor)
        prologue, prologue_operands = _entry(self, group) if group.prologue is not None else (None, ())
        assert isinstance(node.op, Anchor)
        context = LoweringContext(
            node, self.layouts.algorithms[node], self.options, self.layouts.storage, region, operands, prologue,
            prologue_operands, self.done.batch_specialized,
        )  # fmt: skip
        return node.op.lower(context)

    def _channel_merges(self, group: Group) -> list[Launch]:
        """Return the launches that add the partial sums of all channels of a group, for group normalization."""
        merges: list[Launch] = []
        for node in group.finishes:
            (x,) = node.inputs
            reduction = reduction_of(node)
            together = reduction.channels_together(x.type)
            if together > 1:
                kernel = ChannelMerge(reduction, x.dtype, x.type.channels, together)
                chunks = (1, 1) if x.type.batched else (x.type.samples, 0)
                merges.append(Launch("merge channels", node.path, kernel, (self.done.partials[node],), chunks))
        return merges

    def _finished(self, node: Node) -> PendingReduction:
        (x,) = node.inputs
        domain = domain_of(self.layouts, x)
        everything, per_sample = reduction_mode(self.layouts, node)
        result = node.outputs[0].type
        count = x.type.size() // result.size() * reduction_of(node).channels_together(x.type)
        batched = x.type.batched and not result.batched
        groups = self.partial_groups[node]
        return PendingReduction(
            reduction_of(node), x.dtype, everything, per_sample, _blocks(domain), groups, count, batched
        )

    def streams(self, value: Value) -> bool:
        """Return whether the array of a value is so large that it should be written past the caches."""
        large = (
            self.layouts.storage(value).bytes_per_sample * self.options.capacity >= STREAMED * self.options.target.l2
        )
        return large and value.type.batched

    def partial_sums(self, node: Node, domain: Domain, inside_finish: bool) -> Buffer:
        """Create the buffer for the partial sums of a reduction.

        In a flat domain, a kernel that finishes reductions takes chunks of one vector, each with its own partial sums.
        """
        flat_finish = inside_finish and domain.space is Space.FLAT
        groups = (-(-domain.pixels // LANES), 0) if flat_finish else domain.groups
        self.partial_groups[node] = groups
        _, per_sample = reduction_mode(self.layouts, node)
        size = _blocks(domain) * reduction_of(node).partials(node.inputs[0].dtype) * LANES * 8
        if per_sample:
            samples = domain.samples
            buffer = Buffer(f"partials {node.path}", samples * size if samples else 0, 0 if samples else size)
        else:
            per, group = groups
            buffer = Buffer(f"partials {node.path}", 0 if group else per * size, per * size if group else 0, group or 1)
        self.done.partials[node] = buffer
        return buffer


def _entry(lowerer: _Lowerer, group: Group) -> tuple[Region, tuple[Operand, ...]]:
    """Return the region that computes the input of an anchor, and its operands.

    The last value of the region is the result.
    """
    value = cast(Value, group.prologue)
    builder = _RegionBuilder(lowerer, Group(group.index, domain_of(lowerer.layouts, value), reads=group.reads))
    region, operands = builder.build((value,))
    return region, operands


def _blocks(domain: Domain) -> int:
    return 1 if domain.space is Space.FLAT else domain.blocks


class _RegionBuilder:
    """Turns the elementwise work of one group into a region."""

    def __init__(self, lowerer: _Lowerer, group: Group) -> None:
        self.lowerer = lowerer
        self.layouts = lowerer.layouts
        self.group = group
        self.domain = cast(Domain, group.domain)
        self.instructions: list[Instruction] = []
        self.numbers: dict[Value, int] = {}
        self.operands: list[Operand] = []
        self.places: dict[Operand, int] = {}
        self.paths: list[str] = []
        self.registers: dict[Value, int] = {}
        if group.anchor:
            self.registers[group.anchor.outputs[0]] = 0
        for node in group.finishes:
            for value in node.outputs:
                self.registers[value] = len(self.registers)

    def build(self, values: Iterable[Value] = ()) -> tuple[Region, tuple[Operand, ...]]:
        """Return the region and its operands; ``values`` are computed even if they are not stored."""
        for value in values:
            self._value(value)
        stores: list[Store] = []
        for value in self.group.stores:
            number = self._value(value)
            halo = self.layouts.halo.get(value, NO_HALO)
            strides, origin = self._own_strides(value)
            exact = self.domain.space is Space.BLOCKED and self.layouts.block[value] != BLOCK
            dtype = self.layouts.dtype(value)
            whole_lines = LANES * dtype.numpy.itemsize >= LINE
            streams = whole_lines and self.lowerer.streams(value)
            stores.append(Store(number, self._place(value), dtype, strides, origin, halo, exact, streams))
        sums: list[Accumulate] = []
        for node in self.group.reductions:
            number = self._value(node.inputs[0])
            everything, per_sample = reduction_mode(self.layouts, node)
            buffer = self.lowerer.partial_sums(node, self.domain, bool(self.group.finishes))
            reduction, dtype = reduction_of(node), node.inputs[0].dtype
            sums.append(Accumulate(reduction, number, self._place(buffer), per_sample, everything, dtype))
            self.paths.append(node.path)
        return Region(self.domain, tuple(self.instructions), tuple(stores), tuple(sums)), tuple(self.operands)

    def path(self) -> str:
        """Return the path of the layer that most of the work comes from; conversions are not counted."""
        return max(self.paths, key=self.paths.count) if self.paths else ""

    def _place(self, what: Operand) -> int:
        if what not in self.places:
            self.places[what] = len(self.operands)
            self.operands.append(what)
        return self.places[what]

    def _add(self, value: Value, instruction: Instruction) -> int:
        self.instructions.append(instruction)
        self.numbers[value] = len(self.instructions) - 1
        return self.numbers[value]

    def _value(self, value: Value) -> int:
        if value in self.numbers:
            return self.numbers[value]
        op = value.node.op
        kind = op.kind
        if value in self.registers:
            return self._add(value, AnchorResult(self.registers[value]))
        if isinstance(op, Constant):
            return self._add(value, Number(op.number, value.dtype))
        if kind is Kind.SIZE:
            count, batched = reduction_of(value.node).elements(value.node.inputs[0].type)
            return self._add(value, ElementCount(count, batched, value.dtype))
        owner = self.lowerer.plan.in_memory.get(value)
        if owner is not None and owner != self.group.index:
            return self._add(value, self._load(value))
        if kind is Kind.VIEW:  # the same elements in the same order: only a new name
            self.numbers[value] = self._value(value.node.inputs[0])
            return self.numbers[value]
        if kind not in (Kind.ELEMENTWISE, Kind.RANDOM):
            raise GraphError(f"{op} at {value.node.path!r} is not in memory where group {self.group.index} needs it")
        arguments = tuple(self._value(operand) for operand in self._arguments(value.node))
        if not op.is_cast:
            self.paths.append(value.node.path)
        placed = value.dtype if kind is Kind.RANDOM else None
        return self._add(value, Apply(op, arguments, placed, foreign_code(type(op))))

    def _arguments(self, node: Node) -> tuple[Value, ...]:
        """Return the inputs whose elements the node uses; a random operation uses only the shape of its first."""
        return node.inputs[1:] if node.op.kind is Kind.RANDOM else node.inputs

    # -- addressing ---------------------------------------------------------------------------------------------

    def _own_strides(self, value: Value) -> tuple[Strides, int]:
        """Return the strides and the origin of a value in the group's own domain."""
        storage = self.layouts.storage(value)
        if self.domain.space is Space.FLAT:
            return (self._flat_step(), 0, 0, 0, 1), 0
        if self.domain.space is Space.PLANAR and value.type.rank == 2:
            return (storage.strides[0], 0, 0, 0, 1), storage.origin
        return storage.strides, storage.origin

    def _flat_step(self) -> int:
        return FLAT_CHUNK if self.domain.samples else self.domain.pixels

    def _load(self, value: Value) -> Load:
        operand = self._place(value)
        type = value.type
        if type.size() == 1 and not type.batched:
            return Load(operand, self.layouts.dtype(value), (0, 0, 0, 0, 0), self.layouts.storage(value).origin, False)
        if self.domain.space is Space.FLAT:
            return Load(operand, self.layouts.dtype(value), (self._flat_step(), 0, 0, 0, 1), 0, True)
        storage = self.layouts.storage(value)
        if self.domain.space is Space.BLOCKED:
            return self._load_blocked(operand, value, storage)
        return self._load_planar(operand, value, storage)

    def _spatial_strides(self, value: Value, storage: Storage) -> tuple[int, int, int]:
        """Return the strides of (d, h, w) in elements; 0 along axes where the value is broadcast."""
        sizes = storage.sizes
        return cast(
            tuple[int, int, int],
            tuple(s if size != 1 else 0 for s, size in zip(storage.strides[2:], sizes, strict=True)),
        )

    def _load_blocked(self, operand: int, value: Value, storage: Storage) -> Load:
        n = storage.strides[0] if value.shape[0] != 1 else 0
        d, h, w = self._spatial_strides(value, storage)
        channels = storage.channels
        if channels == 1 and (self.domain.channels > 1 or storage.block != BLOCK):
            return Load(operand, storage.dtype, (n, 0, d, h, w), storage.origin, False)
        if storage.block == BLOCK:
            return Load(operand, storage.dtype, (n, storage.strides[1], d, h, w), storage.origin, True)
        c = storage.strides[1]
        return Load(operand, storage.dtype, (n, c * LANES, d, h, w), storage.origin, True, channels, c)

    def _load_planar(self, operand: int, value: Value, storage: Storage) -> Load:
        n = storage.strides[0] if value.shape[0] != 1 else 0
        if value.type.rank == 2:
            w = 0 if storage.channels == 1 else 1
            return Load(operand, storage.dtype, (n, 0, 0, 0, w), storage.origin, w != 0)
        d, h, w = self._spatial_strides(value, storage)
        c = storage.strides[1] if storage.channels != 1 else 0
        lanes = storage.sizes[2] != 1
        if storage.block == BLOCK:
            return Load(operand, storage.dtype, (n, c, d, h, w), storage.origin, lanes, 0, w or 1, split=True)
        return Load(operand, storage.dtype, (n, c, d, h, w), storage.origin, lanes, 0, w or 1)


def _reduction_phase(layouts: Layouts, node: Node) -> Launch:
    """Return the launch of a reduction that reads its operand from memory.

    It sums over the channels of a blocked array, or over any axes of a plain array.
    """
    (x,) = node.inputs
    reduction, operands = reduction_of(node), (x, *node.outputs)
    if layouts.block[x] == BLOCK:
        storage = layouts.storage(x)
        domain = Domain(Space.BLOCKED, x.type.samples, storage.channels, storage.sizes)
        return Launch("reduction", node.path, rowwise.RowReduction(domain, storage, reduction), operands, domain.groups)
    kernel = PlainReduction(reduction, x.dtype, x.type.concrete(1), reduction.axes, x.type.batched)
    return Launch("reduction", node.path, kernel, operands, kernel.chunks)
