"""Fusion: decides which work runs in which loop.

Convolutions, matrix products, poolings and similar operations are *anchors*: each starts a *group*, which becomes a
loop. Elementwise work has no loop of its own: it is computed in the registers of the groups that need its result. Only
a few values must be in memory: those that an anchor reads, those that are results of the graph, and those that another
group could not cheaply recompute.

A *root* is a value that must be in memory, or a reduction. Each root joins the earliest group that can compute it:

- the last group that the root depends on, if that group iterates over the same domain, because the root's operands are
  then in registers;
- otherwise a later group that iterates over the same domain and already reads one of the root's operands;
- otherwise a new group at the end.

A value that exists only in the registers of one group is stored for the other groups. A value that can be recomputed
from stored values is recomputed. Neither changes a bit of any result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from striate.codegen.options import CompileOptions
from striate.codegen.region import Domain, Space
from striate.codegen.storage import BLOCK, joined_spatial
from striate.graph.graph import Constant, Input, Seed
from striate.graph.op import Kind, Node
from striate.graph.value import Value
from striate.ops.anchor import Anchor
from striate.ops.reduction import reduction_of
from striate.passes.layout import Layouts

REGISTER_KINDS = (Kind.ELEMENTWISE, Kind.RANDOM)


@dataclass(eq=False)
class Group:
    """One loop of the compiled program: it computes an anchor or finishes reductions, and does elementwise work.

    An anchor is an operation that needs a loop of its own, such as a convolution or a pooling. A loop has at most one
    anchor.

        index       the position of the loop in the plan
        domain      the iteration space; None if no elementwise work can be fused into the anchor
        prologue    the anchor's input if this loop computes it from other values, so that it is never in memory
        finishes    reductions whose partial sums this group combines
        stores      values that the group writes to memory
        reductions  reductions whose partial sums the group computes
        reads       values that the group reads from memory
    """

    index: int
    domain: Domain | None
    anchor: Node | None = None
    prologue: Value | None = None
    finishes: list[Node] = field(default_factory=list[Node])
    stores: list[Value] = field(default_factory=list[Value])
    reductions: list[Node] = field(default_factory=list[Node])
    reads: set[Value] = field(default_factory=set[Value])

    @property
    def registers(self) -> set[Value]:
        """The values that are in registers before the loop does any elementwise work.

        They are the first output of the anchor (the convolution, pooling or similar operation), and the outputs of the
        reductions that the loop finishes.
        """
        produced: set[Value] = set()
        if self.anchor and self.domain:
            produced.add(self.anchor.outputs[0])
        for node in self.finishes:
            produced.update(node.outputs)
        return produced


@dataclass
class Plan:
    """The result of fusion: the groups (loops) in the order in which they run.

    ``layouts`` are the memory layouts from which the plan was made. ``in_memory`` maps each stored value to the index
    of the group that stores it, or to -1 for an input. ``in_place`` says for each update of a state whether its loop
    writes directly to the state; otherwise the update is copied to the state at the end.
    """

    layouts: Layouts
    groups: list[Group]
    in_memory: dict[Value, int]
    in_place: dict[str, bool]


class Sums(Enum):
    """How a loop sums a value for a reduction: not at all, over all samples, or separately for each sample."""

    NONE = "none"
    TOGETHER = "together"
    PER_SAMPLE = "per sample"


@dataclass
class _Cone:
    """The operands from which a root is computed by elementwise work.

    ``memory`` are values in memory; ``register`` are values that so far exist only in the registers of one group, with
    the index of that group; ``inside`` are the elementwise values between these and the root.
    """

    memory: set[Value] = field(default_factory=set[Value])
    register: dict[Value, int] = field(default_factory=dict[Value, int])
    inside: set[Value] = field(default_factory=set[Value])

    def join(self, other: _Cone) -> None:
        self.memory |= other.memory
        self.register |= other.register
        self.inside |= other.inside


def fuse(layouts: Layouts, options: CompileOptions, observed: Iterable[str] = ()) -> Plan:
    """Divide the work of the graph in ``layouts`` into groups, each of which becomes one loop; return the plan.

    Outputs named in ``observed``, statistics that a user watches, are fused last, so that watching changes no other
    work. Work that depends only on ``options.constant_inputs`` comes first, in groups of its own, which run again only
    if these inputs have changed.
    """
    return _Fuser(layouts, set(observed), options.constant_inputs).run()


class _Fuser:
    def __init__(self, layouts: Layouts, observed: set[str], constant_inputs: frozenset[str]) -> None:
        self.layouts = layouts
        self.graph = layouts.graph
        self.consumers = self.graph.consumers()
        self.late = {value for name, value in self.graph.outputs.items() if name in observed}
        self.main = [value for name, value in self.graph.outputs.items() if name not in observed]
        self.results = {*self.main, *self.late, *self.graph.updates.values()}
        self.first = self._nodes([*self.main, *self.graph.updates.values()])
        self.working = set(self.first)  # nodes that do more than observe
        self.constant_inputs = constant_inputs
        self.groups: list[Group] = []
        self.memory: dict[Value, int] = {}  # value → group that stores it (-1: before the first)
        self.computed: dict[Value, int] = {}  # elementwise value → first group that has it in registers
        self.cones: dict[Value, _Cone] = {}
        self.seeds = [node.outputs[0] for node in self.graph.nodes if isinstance(node.op, Seed)]

    def run(self) -> Plan:
        graph = self.graph
        needed = self._must_store(self.main)
        update_only = set(graph.updates.values()) - set(self.main)
        needed -= {value for value in update_only if not self._read_by_anchor(value)}
        done = self._prepared(needed)
        for node in self.first:
            if node not in done:
                self._node(node, needed)
        done |= self.working
        for node in self._nodes(list(self.late)):
            if node not in done:
                self._node(node, needed)
        for value in (*self.main, *sorted(self.late, key=lambda v: v.node.serial)):
            self._keep(value)
        for value in graph.updates.values():
            self._keep(value)
        return Plan(self.layouts, self.groups, self.memory, self._in_place())

    def _prepared(self, needed: set[Value]) -> set[Node]:
        """Store the needed values that depend only on constant inputs; return the nodes that compute them."""
        if not self.constant_inputs:
            return set()
        known: set[Value] = set()
        numbers: set[Value] = set()
        nodes: list[Node] = []
        for node in self.graph.nodes:
            free = node.op.kind in (Kind.ELEMENTWISE, Kind.VIEW)
            if isinstance(node.op, Constant) or (
                free and node.inputs and all(value in numbers for value in node.inputs)
            ):
                numbers.update(node.outputs)
            elif (isinstance(node.op, Input) and node.op.name in self.constant_inputs) or (
                free and all(value in known or value in numbers for value in node.inputs)
            ):
                known.update(node.outputs)
                nodes.append(node)
        inside = set(nodes)
        read = {value for node in self.graph.nodes if node not in inside for value in node.inputs}
        for node in nodes:
            self._node(node, needed | read)
        return inside

    def _nodes(self, results: list[Value]) -> list[Node]:
        """Return the nodes that the results depend on, each after its inputs."""
        seen: set[Node] = set()
        stack = [value.node for value in results]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if node.op.kind is not Kind.SIZE:
                    stack.extend(v.node for v in node.inputs)
        return sorted(seen, key=lambda node: node.serial)

    def _must_store(self, outputs: list[Value]) -> set[Value]:
        """Return the outputs, and the values that anchors and conversions read from memory."""
        needed = set(outputs)
        for node in self.graph.nodes:
            free = (*REGISTER_KINDS, Kind.REDUCTION, Kind.SIZE, Kind.SOURCE)
            if node.op.kind not in free and not self._same_run(node) and not self._may_enter(node):
                needed.update(node.inputs)
            if node.op.kind in REGISTER_KINDS and len(node.inputs) == 1:
                (x,), (y,) = node.inputs, node.outputs
                if self.layouts.block[x] != self.layouts.block[y] and x.type.rank >= 2:
                    needed.add(x)  # a conversion reads its operand in the order of the other layout
            if self._strided(node):
                needed.add(node.inputs[0])
        return needed

    def _read_by_anchor(self, value: Value) -> bool:
        return any(
            value in node.inputs and node.op.kind not in (*REGISTER_KINDS, Kind.SIZE) for node in self.graph.nodes
        )

    def _same_run(self, node: Node) -> bool:
        """Return whether a view's value has the same elements in the same order as its input in a flat domain.

        Such a view costs nothing in registers.
        """
        if node.op.kind is not Kind.VIEW:
            return False
        x, y = (domain_of(self.layouts, value) for value in (node.inputs[0], node.outputs[0]))
        return x == y and x.space is Space.FLAT

    def _strided(self, node: Node) -> bool:
        return node.op.kind is Kind.REDUCTION and is_strided(self.layouts, node)

    # -- nodes in order -----------------------------------------------------------------------------------------

    def _node(self, node: Node, needed: set[Value]) -> None:
        kind = node.op.kind
        if self.seeds and any(value in self.seeds for value in node.inputs):
            # The backward part runs later, so none of its work may join a loop of the forward part.
            self.memory.update(dict.fromkeys(self.seeds, len(self.groups) - 1))
            self.seeds = []
        if kind is Kind.SOURCE:
            if isinstance(node.op, Input):
                self.memory[node.outputs[0]] = -1
        elif kind is Kind.SIZE:
            return
        elif kind is Kind.VIEW and (node.inputs[0] in self.memory or not self._same_run(node)):
            source = node.inputs[0]
            self._keep(source)
            self.memory[node.outputs[0]] = self.memory[source]
        elif kind in (*REGISTER_KINDS, Kind.VIEW):
            if node.outputs[0] in needed:
                self._keep(node.outputs[0])
        elif kind is Kind.REDUCTION and not self._strided(node):
            self._reduction(node)
        else:
            self._anchor(node)

    def _may_enter(self, node: Node) -> bool:
        """Return whether the anchor ``node`` may compute its input instead of loading it from memory.

        No other work may need the input in memory. The outputs of a watch do not count: they compute the input again,
        so that the anchor runs as it does without a watch.
        """
        if not (isinstance(node.op, Anchor) and node.op.accepts_prologue()):
            return False
        (x,) = node.inputs
        others = [other for other in self.consumers.get(x, ()) if other is not node and other in self.working]
        domain = domain_of(self.layouts, x)
        return (
            x.node.op.kind is Kind.ELEMENTWISE
            and domain.space is Space.BLOCKED
            and not domain.sample_major
            and all(other.op.kind is Kind.ELEMENTWISE for other in others)
            and x not in self.results
        )

    def _entry(self, node: Node) -> tuple[Value, _Cone] | None:
        """Return the anchor's input and its cone, if the input would otherwise need a loop of its own."""
        if not self._may_enter(node) or node.inputs[0] in self.memory:
            return None
        (x,) = node.inputs
        domain = domain_of(self.layouts, x)
        cone = self._visit(x, domain, {})
        return None if self._candidate(self._ready(cone), domain, cone) else (x, cone)

    def _anchor(self, node: Node) -> None:
        prologue = self._entry(node)
        for value in node.inputs:
            if not prologue:
                self._keep(value)
        opens = isinstance(node.op, Anchor) and node.op.has_epilogue
        domain = domain_of(self.layouts, node.outputs[0]) if opens else None
        group = self._group(domain)
        group.anchor = node
        if prologue:
            group.prologue, cone = prologue
            self._store_for(group, cone)
        else:
            group.reads.update(node.inputs)
        for position, value in enumerate(node.outputs):
            if not opens or position > 0:
                self.memory[value] = group.index
            else:
                self.computed[value] = group.index

    def _reduction(self, node: Node) -> None:
        (x,) = node.inputs
        per_sample = reduction_mode(self.layouts, node)[1]
        group = self._home(x, domain_of(self.layouts, x), Sums.PER_SAMPLE if per_sample else Sums.TOGETHER)
        group.reductions.append(node)
        result = domain_of(self.layouts, node.outputs[0])
        for later in self.groups[group.index + 1 :]:
            if later.finishes and later.domain == result:
                break
        else:
            later = self._group(result)
        later.finishes.append(node)
        for value in node.outputs:
            self.computed[value] = later.index

    def _group(self, domain: Domain | None) -> Group:
        group = Group(len(self.groups), domain)
        self.groups.append(group)
        return group

    # -- roots --------------------------------------------------------------------------------------------------

    def _keep(self, value: Value) -> None:
        """Make sure that a group stores the value."""
        if value in self.memory:
            return
        if value in self.computed:
            group = self.groups[self.computed[value]]
        elif value.node.op.kind in (*REGISTER_KINDS, Kind.VIEW):
            group = self._home(value, domain_of(self.layouts, value))
        else:  # constants and sizes: a small elementwise loop writes them
            group = self._group(domain_of(self.layouts, value))
        group.stores.append(value)
        self.memory[value] = group.index

    def _home(self, root: Value, domain: Domain, sums: Sums = Sums.NONE) -> Group:
        """Return the group that computes the root, and store what it needs from other groups' registers.

        ``sums`` says whether the root is the operand of a reduction.
        """
        cone = self._visit(root, domain, {})
        group = self._candidate(self._ready(cone), domain, cone, sums) or self._group(domain)
        self._store_for(group, cone)
        for value in cone.inside:
            self.computed.setdefault(value, group.index)
        return group

    def _ready(self, cone: _Cone) -> int:
        """Return the index of the last group that a cone depends on, or -1."""
        return max([-1, *(self.memory[v] for v in cone.memory), *cone.register.values()])

    def _store_for(self, group: Group, cone: _Cone) -> None:
        """Store the values that the group needs from the registers of other groups."""
        for value, owner in cone.register.items():
            if owner != group.index and value not in self.memory:
                self.groups[owner].stores.append(value)
                self.memory[value] = owner
        group.reads.update(cone.memory)

    def _candidate(self, ready: int, domain: Domain, cone: _Cone, sums: Sums = Sums.NONE) -> Group | None:
        """Return the existing group that can compute a root with this cone, or None."""

        def matches(group: Group) -> bool:
            return group.domain == domain and self._can_sum(group, sums)

        if ready >= 0 and matches(self.groups[ready]) and self._has(self.groups[ready], cone, ready):
            return self.groups[ready]
        full = {v for v in (*cone.memory, *cone.register) if v.type.size() > 1}
        fitting = [group for group in self.groups[ready + 1 :] if matches(group) and group.reads & full]
        # A loop without an anchor waits for memory, so that more arithmetic in it costs little.
        return min(fitting, key=lambda group: group.anchor is not None, default=None)

    def _can_sum(self, group: Group, sums: Sums) -> bool:
        """Return whether the group's kernel can compute a reduction of this kind."""
        if group.anchor is None or sums is Sums.NONE:
            return True
        algorithm = self.layouts.algorithms[group.anchor]
        return algorithm.sums and (sums is Sums.TOGETHER or algorithm.sums_per_sample)

    def _has(self, group: Group, cone: _Cone, ready: int) -> bool:
        """Return whether the values of the cone that come from group ``ready`` are all in its registers."""
        own = [v for v in cone.memory if self.memory[v] == ready] + [v for v, g in cone.register.items() if g == ready]
        registers = group.registers | {v for v, g in self.computed.items() if g == ready}
        return all(v in registers for v in own)

    def _visit(self, value: Value, domain: Domain, seen: dict[Value, _Cone]) -> _Cone:
        """Follow elementwise work back to values in memory, or in the registers of a single group.

        A view is free in registers only if the group iterates over exactly its elements. If it is broadcast in a larger
        domain, its axes differ from those of its input, and it must be read from memory. Random numbers depend on their
        position, so they too are computed in their own domain.
        """
        if value in seen:
            return seen[value]
        cone = _Cone()
        kind = value.node.op.kind
        placed = kind in (Kind.VIEW, Kind.RANDOM)
        if placed and value not in self.memory and domain_of(self.layouts, value) != domain:
            self._keep(value)
        if value in self.memory:
            cone.memory.add(value)
        elif kind in (*REGISTER_KINDS, Kind.VIEW):
            for operand in value.node.inputs:
                cone.join(self._visit(operand, domain, seen))
            if value in self.computed and any(v not in self.memory for v in cone.register):
                cone = _Cone(register={value: self.computed[value]})
            else:
                cone.inside.add(value)
        elif value in self.computed:
            cone.register[value] = self.computed[value]
        seen[value] = cone
        return cone

    # -- updates ------------------------------------------------------------------------------------------------

    def _in_place(self) -> dict[str, bool]:
        """Return, for each update, whether it may be written directly to its state.

        It may if no later loop reads the state, and its own loop reads only the element that it overwrites.
        """
        in_place: dict[str, bool] = {}
        outputs = set(self.graph.outputs.values())
        states = {node.op.name: node.outputs[0] for node in self.graph.nodes if isinstance(node.op, Input)}
        written = list(self.graph.updates.values())
        for name, value in self.graph.updates.items():
            owner = self.memory[value]
            state = states.get(name)
            safe = owner >= 0 and value not in outputs and written.count(value) == 1
            safe &= value.node.op.kind is not Kind.VIEW and value.node.op.kind in (*REGISTER_KINDS, Kind.REDUCTION)
            if safe and state is not None:
                aliases = {state} | {v for v, base in self.layouts.alias.items() if base is state}
                for group in self.groups:
                    if group.reads & aliases:
                        same = group.index == owner and group.domain == domain_of(self.layouts, state)
                        safe &= group.index < owner or (same and not (group.reads & (aliases - {state})))
            in_place[name] = safe
        return in_place


def is_strided(layouts: Layouts, node: Node) -> bool:
    """Return whether the reduction ``node`` needs a kernel of its own, which reads the operand from memory.

    Otherwise, the reduction is fused into the loop that computes the operand. This is possible for a sum over all
    elements. If the loop runs over blocks of channels, a sum for each channel, or for each channel and sample, is
    possible too.
    """
    (x,) = node.inputs
    shape, axes = x.shape, reduction_of(node).axes
    everything = all(size == 1 for axis, size in enumerate(shape) if axis not in axes)
    return not everything and (layouts.block[x] != BLOCK or (1 in axes and shape[1] != 1))


def reduction_mode(layouts: Layouts, node: Node) -> tuple[bool, bool]:
    """Return (everything, per_sample) for the reduction ``node``, which is fused into another loop.

    ``everything`` says whether the reduction sums over all axes, ``per_sample`` whether it keeps the samples separate.
    """
    result = node.outputs[0].type
    everything = result.size() == 1 and not result.batched
    return everything, not everything and layouts.block[node.outputs[0]] == BLOCK


def domain_of(layouts: Layouts, value: Value) -> Domain:
    """Return the iteration space of a loop over ``value``, which follows from the value's memory layout."""
    shape = value.type.concrete(1)
    samples = value.type.samples
    if layouts.block[value] == BLOCK:
        return Domain(Space.BLOCKED, samples, shape[1], joined_spatial(shape[2:]))
    if value in layouts.planar and len(shape) >= 2:
        if len(shape) == 2:
            return Domain(Space.PLANAR, samples, 1, (1, 1, shape[1]))
        return Domain(Space.PLANAR, samples, shape[1], joined_spatial(shape[2:]))
    return Domain(Space.FLAT, 0 if samples == 0 else 1, 1, (1, 1, value.type.size()))
