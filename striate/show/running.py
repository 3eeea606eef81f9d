"""Prints the last two stages as tables: the arrays in scratch memory, and the phases of the program.

A phase is one kernel, whose chunks are divided among the threads before the next phase starts.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from striate.codegen.launch import BoundArray, Buffer, Launch, Operand
from striate.compiler import Compilation
from striate.graph.graph import Input
from striate.graph.op import Kind
from striate.graph.value import Value
from striate.passes.memory import lives, place
from striate.show.loops import WIDTH, reflowed
from striate.show.names import Names, forward_nodes

BAR, LEAST_BAR, _BESIDE = 40, 12, 68  # characters of a bar, and of the columns beside it

MEMORY = """\
Scratch memory of one step at N = {samples}: {total}. Each array lives from the phase that writes it to
the last phase that reads it; its bytes serve other arrays before and after. With separate memory for each
array it would take {apart}. Parameters, gradients and running statistics are not listed: they live in the
model's own memory.

"""

PROGRAM = """\
{phases} phases, {kernels} different kernels, run by one call into native code. A phase is one kernel over its
chunks; threads take chunks as they become free and wait for each other at the end of the phase. The chunks
depend on the shapes alone, never on the number of threads, so the result has the same bits on one thread or
many.

Sizes are at N = {samples}; → marks what a phase writes.

"""


@dataclass
class Traffic:
    """The memory traffic of the phases (kernels) of one layer.

    ``phases`` is the number of phases. ``reads`` is the number of activation arrays that they read, ``writes`` the
    number of those that they write, and ``moved`` the number of bytes of all these arrays.
    """

    phases: int = 0
    reads: int = 0
    writes: int = 0
    moved: int = 0


def size_text(size: int) -> str:
    """Return a number of bytes as text, such as ``64 B``, ``12.5 KiB`` or ``8.0 MiB``."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def memory_text(compiled: Compilation, samples: int, columns: int = WIDTH) -> str:
    """Return a table of the arrays in scratch memory, with offset, size and lifetime, in the order of first use.

    ``compiled`` has the results of the compiler's stages for a graph. ``samples`` is the batch size N; lines have up to
    ``columns`` characters.
    """
    board = _Board(compiled, samples)
    wanted = lives(
        [[board.base(operand) for operand in phase.operands] for phase in compiled.lowered.phases], board.scratch()
    )
    offsets, total = place(wanted)
    last = max(1, len(compiled.lowered.phases) - 1)
    apart = sum(life.size for life in wanted.values())
    width = max(LEAST_BAR, min(BAR, columns - _BESIDE))
    title = "from the first phase to the last"
    lines = [f"{'offset':>11}  {'bytes':>10}  {'phases':<9}  {title if width == BAR else 'lifetime':<{width}}  array"]
    for thing, life in sorted(wanted.items(), key=lambda item: (item[1].first, offsets[item[0]])):
        first, end = (round(phase * (width - 1) / last) for phase in (life.first, life.last))
        bar = "·" * first + "█" * (end - first + 1) + "·" * (width - 1 - end)
        span = f"{life.first}–{life.last}"
        lines.append(f"{offsets[thing]:>11,}  {size_text(life.size):>10}  {span:<9}  {bar}  {board.name(thing)}")
    head = reflowed(MEMORY.format(samples=samples, total=size_text(total), apart=size_text(apart)), columns)
    return head + "\n".join(lines) + "\n"


def program_text(compiled: Compilation, samples: int, columns: int = WIDTH) -> str:
    """Return the phases with their chunks, kernels and operands, then the memory traffic of each layer.

    ``compiled`` has the results of the compiler's stages for a graph. ``samples`` is the batch size N; lines have up to
    ``columns`` characters.
    """
    board = _Board(compiled, samples)
    phases = compiled.lowered.phases
    kernels = len({phase.spec.key for phase in phases})
    lines: list[str] = []
    layers: dict[str, Traffic] = {}
    loop = -1
    for number, phase in enumerate(phases):
        if compiled.lowered.group_of[number] != loop:
            loop = compiled.lowered.group_of[number]
            lines += ["", f"loop {loop}"]
        written = board.written(phase, loop)
        lines += board.phase(number, phase, written, columns)
        board.count(phase, written, layers.setdefault(phase.path or "(no layer)", Traffic()))
    head = reflowed(PROGRAM.format(phases=len(phases), kernels=kernels, samples=samples), columns)
    return (
        head + "\n".join(lines[1:]) + "\n\n" + _traffic_text(layers, samples) + reflowed(board.passes(layers), columns)
    )


def _traffic_text(layers: Mapping[str, Traffic], samples: int) -> str:
    """Return the table of traffic by layer."""
    seen = {path: traffic for path, traffic in layers.items() if traffic.reads + traffic.writes}
    width = max([5, *map(len, seen)])
    lines = [
        f"Passes over activations and their gradients by layer, at N = {samples}", "",
        f"{'layer':<{width}}  {'phases':>6}  {'read':>5}  {'written':>7}  {'moved':>10}",
    ]  # fmt: skip
    total = Traffic()
    for path, traffic in seen.items():
        lines.append(_traffic_row(path, traffic, width))
        total.phases += traffic.phases
        total.reads += traffic.reads
        total.writes += traffic.writes
        total.moved += traffic.moved
    return "\n".join([*lines, _traffic_row("in all", total, width)]) + "\n"


def _traffic_row(name: str, traffic: Traffic, width: int) -> str:
    counts = f"{traffic.phases:>6}  {traffic.reads:>5}  {traffic.writes:>7}"
    return f"{name:<{width}}  {counts}  {size_text(traffic.moved):>10}"


class _Board:
    """Names and sizes of all arrays that the phases read and write, at N = ``samples``."""

    def __init__(self, compiled: Compilation, samples: int) -> None:
        self.compiled = compiled
        self.layouts = compiled.layouts
        self.samples = samples
        self.names = Names(compiled.plan)
        graph = compiled.layouts.graph
        self._given = {self.layouts.base(value) for value in (*graph.outputs.values(), *graph.updates.values())}
        self._seen: set[Hashable] = set()

    def base(self, operand: Operand) -> Operand:
        """Return the array in memory behind an operand, which may be a view."""
        return self.layouts.base(operand) if isinstance(operand, Value) else operand

    def scratch(self) -> dict[Hashable, int]:
        """Return the bytes of each array in scratch memory."""
        things = {self.base(operand) for phase in self.compiled.lowered.phases for operand in phase.operands}
        return {thing: self.size(thing) for thing in things if self._is_scratch(thing)}

    def _is_scratch(self, thing: Operand) -> bool:
        """Whether an array is in scratch memory: not an input, an output, or the target of an update."""
        if isinstance(thing, Value):
            return not isinstance(thing.node.op, Input) and thing not in self._given
        return isinstance(thing, Buffer)

    def size(self, thing: Operand) -> int:
        """Return the bytes of an array; 0 for an array that is bound from outside."""
        if isinstance(thing, Buffer):
            return thing.size(self.samples)
        if not isinstance(thing, Value):
            return 0
        if thing.type.rank < 2:
            return math.prod(thing.type.concrete(self.samples)) * thing.dtype.numpy.itemsize
        rows = thing.type.concrete(self.samples)[0]
        return self.layouts.storage(thing).bytes_per_sample * rows

    def name(self, thing: Operand) -> str:
        """Return the short name of a value or buffer."""
        if isinstance(thing, Value):
            return self.names.of(thing)
        return thing.name.strip() if isinstance(thing, Buffer | BoundArray) else str(thing)

    def written(self, phase: Launch, loop: int) -> set[Operand]:
        """Return the arrays that a phase writes: those that its loop stores, and buffers in their first use."""
        things = {self.base(operand) for operand in phase.operands}
        home = self.compiled.plan.in_memory
        written: set[Operand] = {thing for thing in things if isinstance(thing, Value) and home.get(thing) == loop}
        written |= {thing for thing in things if isinstance(thing, Buffer) and thing not in self._seen}
        self._seen |= things
        return written

    def phase(self, number: int, phase: Launch, written: set[Operand], columns: int) -> list[str]:
        """Return the lines that describe one phase, at least two."""
        per, group = phase.chunks
        chunks = per * -(-self.samples // group) if group else per
        share = f" ({per} for each {f'{group} samples' if group > 1 else 'sample'})" if group else ""
        things = list(dict.fromkeys(self.base(operand) for operand in phase.operands))
        operands = [f"{'→ ' * (thing in written)}{self.name(thing)} {size_text(self.size(thing))}" for thing in things]
        return [
            f"  phase {number}  {phase.name}  {phase.path}".rstrip(),
            f"    {phase.spec.symbol}, {chunks} chunk{'s' * (chunks != 1)}{share}",
            *textwrap.wrap(
                ", ".join(operands), columns, initial_indent=" " * 4, subsequent_indent=" " * 6,
                break_long_words=False, break_on_hyphens=False,
            ),
        ]  # fmt: skip

    def passes(self, layers: Mapping[str, Traffic]) -> str:
        """Return a sentence on the total traffic, as a multiple of the outputs of contractions."""
        forward = forward_nodes(self.layouts.graph)
        results = [node.outputs[0] for node in forward if node.op.kind is Kind.CONTRACTION]
        size = sum(self.size(value) for value in results)
        moved = sum(traffic.moved for traffic in layers.values())
        if not size:
            return ""
        return (
            f"\nThe outputs of the convolutions and linear layers take {size_text(size)}; "
            f"the step moves {moved / size:.1f} times that.\n"
        )

    def count(self, phase: Launch, written: set[Operand], traffic: Traffic) -> None:
        """Add the traffic of a phase in activations: arrays of rank 2 and more with an axis N."""
        traffic.phases += 1
        for thing in {self.base(operand) for operand in phase.operands}:
            if isinstance(thing, Value) and thing.type.batched and thing.type.rank >= 2:
                traffic.writes += thing in written
                traffic.reads += thing not in written
                traffic.moved += self.size(thing)
