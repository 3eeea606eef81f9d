"""Assigns every phase of a program to a layer and to a pass through it (forward, backward, update).

A phase is one kernel of a program, which all threads run before the next one starts. A row holds the sums over all
phases of one layer and pass:

moved   bytes that the phases of the row read and write, each array once, as stored: with halos, channels padded to
        blocks of 16, packed weights and partial sums
least   the fewest bytes that these phases could read and write: each array once, without padding. Arrays that only
        phases of this row use are not counted
passes  the number of whole activations (or their gradients) that the phases of the row read and write
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from striate.codegen.launch import Buffer, Launch, Operand
from striate.compiler import CompiledExecutable
from striate.graph.graph import OutputKind, topological
from striate.graph.op import Direction, Kind, Node
from striate.graph.value import Value
from striate.passes.fuse import Group


class Pass(Enum):
    """The pass through a layer that a phase (kernel) belongs to: forward, a gradient, or the update."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    WEIGHT_GRADIENT = "weight gradient"
    BACKWARD = "backward"  # elementwise, normalization, pooling, loss
    UPDATE = "update"


INPUT, LOSS, OUTPUT, OPTIMIZER = "(input)", "(loss)", "(output)", "(optimizer)"

_PLAIN_NAMES = {"map": "elementwise", "finish": "reduction"}


@dataclass(frozen=True)
class PhaseTime:
    """The measurement of one phase, which is one kernel of the program.

    layer, stage  path of the layer, and the pass through it
    name          name of the phase
    algorithm     such as "direct" or "winograd"
    seconds       mean time
    flops         floating-point operations, counted as for direct convolution
    moved         bytes read and written
    """

    layer: str
    stage: Pass
    name: str
    algorithm: str
    seconds: float
    flops: int
    moved: int


@dataclass(frozen=True)
class Row:
    """The sums over all phases (kernels) of one pass through one layer.

    layer, kind, stage  path of the layer, its class, and the pass
    algorithm           the algorithm of the slowest phase with multiply-adds
    phases              number of phases
    seconds             mean time
    flops               floating-point operations, counted as for direct convolution
    moved, least        bytes read and written, and the fewest that are possible
    passes              number of whole activations that are read and written
    """

    layer: str
    kind: str
    stage: Pass
    algorithm: str
    phases: int
    seconds: float
    flops: int
    moved: int
    least: int
    passes: int

    @property
    def gflops(self) -> float:
        """GFLOP/s, with operations counted as for direct convolution; 0 without multiply-adds."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def bandwidth(self) -> float:
        """Memory traffic in GB/s, reads and writes together."""
        return self.moved / self.seconds / 1e9 if self.seconds else 0.0


@dataclass
class _Gathered:
    """A row while its phases are being collected."""

    phases: list[PhaseTime] = field(default_factory=list[PhaseTime])
    touched: set[Value] = field(default_factory=set[Value])
    passes: int = 0


class Board:
    """The phases (kernels) of a compiled program, with their work and memory traffic for a batch of ``samples``.

    ``update`` says whether the program is the update of a training step.
    """

    def __init__(self, executable: CompiledExecutable, samples: int, update: bool) -> None:
        self.executable = executable
        self.samples = samples
        self.update = update
        self.layouts = executable.compiled.layouts
        self.groups: Mapping[int, Group] = {group.index: group for group in executable.compiled.plan.groups}
        graph = self.layouts.graph
        losses = list(graph.outputs_of(OutputKind.LOSS).values())
        ends = [*losses, *graph.outputs_of(OutputKind.STATISTIC).values()]
        self._trains = bool(losses)
        self._forward = set(topological(ends if losses else graph.outputs.values()))
        self._given = {self.layouts.base(value) for value in (*graph.outputs.values(), *graph.updates.values())}

    def rows(self, seconds: Sequence[float], kinds: Mapping[str, str]) -> tuple[list[Row], list[PhaseTime]]:
        """Return the rows by layer and pass, in the order of the layers, and the times of the phases, in running order.

        ``seconds`` has the time of each phase. ``kinds`` maps the paths of the layers, in the order of the network, to
        the names of their classes.
        """
        gathered: dict[tuple[str, Pass], _Gathered] = {}
        outside: dict[Value, set[tuple[str, Pass]]] = {}
        phases: list[PhaseTime] = []
        for number, (draft, time) in enumerate(zip(self.executable.phases, seconds, strict=True)):
            phase = self._phase(number, draft, time)
            key = (phase.layer, phase.stage)
            row = gathered.setdefault(key, _Gathered())
            phases.append(phase)
            row.phases.append(phase)
            for thing in self._touched(draft):
                row.touched.add(thing)
                row.passes += self._is_activation(thing)
                outside.setdefault(thing, set()).add(key)
        layers = list(dict.fromkeys([INPUT, *kinds, *(layer for layer, _ in gathered)]))
        order = list(Pass)
        ordered = sorted(gathered.items(), key=lambda item: (layers.index(item[0][0]), order.index(item[0][1])))
        return [self._row(key, row, outside, kinds.get(key[0], "")) for key, row in ordered], phases

    def contraction_bytes(self) -> int:
        """Return how many bytes the outputs of convolutions and linear layers occupy in the forward pass."""
        found = {self.layouts.base(node.outputs[0]) for node in self._forward if node.op.kind is Kind.CONTRACTION}
        return sum(self.size(value) for value in found)

    def activation_bytes(self) -> int:
        """Return how many bytes of activations and their gradients all phases together read and write."""
        return sum(
            self.size(thing)
            for draft in self.executable.phases
            for thing in self._touched(draft)
            if self._is_activation(thing)
        )

    def _row(
        self, key: tuple[str, Pass], row: _Gathered, outside: Mapping[Value, set[tuple[str, Pass]]], kind: str
    ) -> Row:
        """Return the row of one layer and pass."""
        working = [phase for phase in row.phases if phase.flops] or row.phases
        main = max(working, key=lambda phase: phase.seconds)
        least = 0
        for thing in row.touched:
            inner = outside[thing] == {key} and thing not in self._given and thing.node.op.kind is not Kind.SOURCE
            stored = self.layouts.dtype(thing).numpy.itemsize
            least += 0 if inner else math.prod(thing.type.concrete(self.samples)) * stored
        return Row(
            *(key[0], kind, key[1], main.algorithm, len(row.phases)),
            seconds=sum(phase.seconds for phase in row.phases),
            flops=sum(phase.flops for phase in row.phases),
            moved=sum(phase.moved for phase in row.phases),
            least=least,
            passes=row.passes,
        )

    def _phase(self, number: int, draft: Launch, seconds: float) -> PhaseTime:
        """Return the measurement of one phase, assigned to a layer and pass."""
        groups = self.executable.compiled.lowered.group_of
        group = self.groups.get(groups[number]) if number < len(groups) else None
        node = _leader(group) if group else None
        # The update has no layers: it processes all parameters in one sweep.
        layer = OPTIMIZER if self.update else draft.path or (node.path if node else "") or self._place(node)
        flops = draft.flops_per_sample * self.samples + draft.flops
        moved = sum(self._stored(thing) for thing in {self._base(operand) for operand in draft.operands})
        return PhaseTime(layer, self._stage(group, node), draft.name, _algorithm(draft), seconds, flops, moved)

    def _place(self, node: Node | None) -> str:
        """Return the name for work that belongs to no layer: converting the input, the loss, the outputs."""
        depends = topological(node.outputs[:1]) if node else []
        if not any(before.path for before in depends):
            return INPUT
        return LOSS if self._trains else OUTPUT

    def _stage(self, group: Group | None, node: Node | None) -> Pass:
        """Return the pass that a loop belongs to."""
        if self.update:
            return Pass.UPDATE
        if node is None:
            return Pass.FORWARD
        contracts = group is not None and group.anchor is not None and group.anchor.op.kind is Kind.CONTRACTION
        if not contracts or node in self._forward:
            return Pass.FORWARD if node in self._forward else Pass.BACKWARD
        # A gradient may have the form of a forward operation, as that of a transposed convolution.
        return Pass.WEIGHT_GRADIENT if node.op.direction is Direction.WEIGHT_GRADIENT else Pass.INPUT_GRADIENT

    def _base(self, operand: Operand) -> Operand:
        """Return the array behind an operand, which may be a view."""
        return self.layouts.base(operand) if isinstance(operand, Value) else operand

    def _touched(self, draft: Launch) -> set[Value]:
        """Return the arrays of the graph that a phase reads or writes, without its own buffers."""
        return {self.layouts.base(operand) for operand in draft.operands if isinstance(operand, Value)}

    @staticmethod
    def _is_activation(value: Value) -> bool:
        """Whether a value is an activation or its gradient: it has an axis N and a rank of 2 or more."""
        return value.type.batched and value.type.rank >= 2

    def _stored(self, thing: Operand) -> int:
        """Return the bytes of an operand as stored; 0 for anything but arrays and buffers."""
        if isinstance(thing, Buffer):
            return thing.size(self.samples)
        return self.size(thing) if isinstance(thing, Value) else 0

    def size(self, value: Value) -> int:
        """Return the number of bytes that an array occupies in memory, with halos and padded channels."""
        if value.type.rank < 2:
            return math.prod(value.type.concrete(self.samples)) * value.dtype.numpy.itemsize
        rows = self.samples if value.type.batched else value.type.concrete(1)[0]
        return self.layouts.storage(value).bytes_per_sample * rows


def _leader(group: Group) -> Node | None:
    """Return the node that determines the layer and pass of a loop."""
    if group.anchor is not None:
        return group.anchor
    stored = [value.node for value in group.stores if value.node.path] or [value.node for value in group.stores]
    return next(iter([*group.finishes, *stored, *group.reductions]), None)


def _algorithm(draft: Launch) -> str:
    """Return the algorithm of a phase.

    It is ``winograd`` for "convolution (winograd)", ``direct`` for other multiply-adds, else the name of the phase.
    """
    _, bracket, rest = draft.name.partition("(")
    if bracket:
        return rest.rstrip(")")
    if draft.flops_per_sample or draft.flops:
        return "direct"
    name = draft.name.replace("_", " ").removesuffix(" gradient")
    return _PLAIN_NAMES.get(name, name)
