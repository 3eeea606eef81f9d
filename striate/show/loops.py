"""Prints the fused stage: one paragraph for every loop nest of the program."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from striate.codegen.region import Domain, Space
from striate.codegen.storage import BLOCK, NO_HALO
from striate.graph.graph import Constant, Input, OutputKind
from striate.graph.op import Node
from striate.graph.value import Value, shape_text
from striate.ops.reduction import Reduction
from striate.passes.fuse import Group, Plan
from striate.show.names import LoopEquations, Names, forward_nodes, paths_of

WIDTH = 110

LEGEND = """\
{count} loops, in the order in which they run. Each loop walks its domain once, and everything in its paragraph
happens during that walk: what is computed between reading and storing stays in registers and costs no pass
over memory.

  reads      arrays fetched from memory
  with       small arrays: a few numbers per channel, loaded once
  computes   what happens to each element, in registers
  sums       totals accumulated on the way; a later, small loop combines the partial sums in a fixed order
  stores     arrays written to memory; no other result of the loop is written

  v5         computed by loop 5 in the forward pass
  d57        computed by loop 57 in the backward pass
  t1         in registers of this loop only
  ∂w         the gradient of the parameter w
  m′         the new value of the running statistic m
  N          the number of samples, known at run time

In blocks of 16 channels: the 16 channels of one pixel lie side by side and fill one vector register.

Zero-padded by 1: stored with a border of 1 zero on each side, which the next convolution reads, so that no
loop needs special code at the edges.

{hint}In this program: {kinds}.
"""


HINT = """\
What to look for: the sums that batch normalization needs are accumulated in the convolution before it.
Subtracting the mean, dividing, scaling, adding a skip connection and activating is one walk, which writes the
array that the next convolution reads. In the backward pass they run in the convolution's input gradient.

"""


@dataclass(frozen=True)
class Loop:
    """One loop nest of a compiled program, described in words.

    index     its number in the program
    backward  whether it belongs to the backward pass
    title     what it does, and over which shape
    paths     paths of the layers that it computes
    rows      pairs (label, texts), such as ("computes", ("v9 = …",))
    """

    index: int
    backward: bool
    title: str
    paths: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def loops_of(plan: Plan) -> list[Loop]:
    """Return descriptions of all loop nests of a plan, the result of fusion, in the order in which they run."""
    return _Page(plan).loops()


def loops_text(plan: Plan, layers: Mapping[str, str], width: int = WIDTH) -> str:
    """Return all loop nests of a plan, the result of fusion, as text with a legend.

    ``layers`` are names to print after the paths of layers, by path; lines are wrapped to ``width`` characters.
    """
    page = _Page(plan)
    lines = _lines(page.loops(), layers, width)
    kinds = ", ".join(f"{count}\u00a0×\u00a0{what}" for what, count in page.kinds.items())
    rides = any(group.reductions for group in plan.groups if group.anchor is not None)
    hint = HINT if rides else ""
    legend = reflowed(LEGEND.format(count=len(plan.groups), kinds=kinds, hint=hint), width).replace("\u00a0", " ")
    return f"{legend}\n" + "\n".join(lines) + "\n"


def reflowed(text: str, width: int) -> str:
    """Return ``text`` with its paragraphs wrapped to ``width`` characters.

    Adjacent lines with the same indentation form a paragraph. A line that consists of a term, at least two spaces and
    an explanation is a paragraph of its own, whose further lines are indented.
    """
    paragraphs: list[tuple[str, str]] = []  # (indentation, words)
    last = None
    for line in text.split("\n"):
        words = line.strip()
        indent = line[: len(line) - len(words)]
        kind = None if not words or "  " in words else indent
        if kind is not None and kind == last:
            paragraphs[-1] = (indent, f"{paragraphs[-1][1]} {words}")
        else:
            paragraphs.append((indent, words))
        last = kind
    return "\n".join(
        textwrap.fill(
            words, width, initial_indent=indent, subsequent_indent=indent + " " * 11 * ("  " in words),
            break_on_hyphens=False,
        )
        for indent, words in paragraphs
    )  # fmt: skip


def domain_text(domain: Domain) -> str:
    """Return the shape that a loop nest runs over as text, such as ``(N, 16, 32, 32) in blocks of 16 channels``."""
    samples = str(domain.samples) if domain.samples else "N"
    if domain.space is Space.FLAT:
        size = domain.pixels * max(1, domain.samples)
        if not domain.samples:
            return f"N·{size} elements" if size > 1 else "N elements"
        return f"{size} elements" if size > 1 else "one number"
    sizes = list(domain.sizes)
    while sizes and sizes[0] == 1:
        sizes = sizes[1:]
    shape = ", ".join([samples, str(domain.channels), *map(str, sizes)])
    return f"({shape}) in blocks of {BLOCK} channels" if domain.space is Space.BLOCKED else f"({shape}) along rows"


def shape_of_work(node: Node) -> str:
    """Return the sizes and options of a node's operation as text, such as ``16→32 channels, 3×3, stride=2``."""
    options = [f"{name}={text}" for name, text in node.op.options().items() if name != "size"]
    work = node.op.work_text([value.type for value in (*node.inputs, *node.outputs)])
    return ", ".join([work, *options] if work else options)


FORWARD = "forward: from the input to the loss"
BACKWARD = "backward: from the loss to the gradients"


def _lines(loops: Sequence[Loop], layers: Mapping[str, str], width: int) -> list[str]:
    """Return the lines of all loops, divided into forward and backward."""
    lines: list[str] = []
    section = ""
    for loop in loops:
        now = BACKWARD if loop.backward else FORWARD
        if now != section:
            lines += [f"──── {now} ".ljust(width, "─"), ""]
            section = now
        start = f"loop {loop.index}  "
        lines += textwrap.wrap(loop.title, width, initial_indent=start, subsequent_indent=" " * len(start))
        named = [f"{path} {layers[path]}" if path in layers else path for path in loop.paths]
        lines += row("layers", [", ".join(named)] if named else [], width)
        lines += [line for label, texts in loop.rows for line in row(label, texts, width)]
        lines.append("")
    return lines[:-1]


class _Page:
    """Builds the description of each loop of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.layouts = plan.layouts
        self.names = Names(plan)
        self.kinds: Counter[str] = Counter()
        self.forward = forward_nodes(plan.layouts.graph)
        self.pending = {
            plan.layouts.base(value) for value in plan.layouts.graph.outputs_of(OutputKind.STATISTIC).values()
        } | {plan.layouts.base(value) for value in plan.layouts.graph.updates.values()}

    def loops(self) -> list[Loop]:
        loops: list[Loop] = []
        for group in self.plan.groups:
            backward = bool(loops and loops[-1].backward) or not self._leads_to_the_loss(group)
            loops.append(self._loop(group, backward))
        return loops

    def _leads_to_the_loss(self, group: Group) -> bool:
        """Whether a loop belongs to the forward pass, or only updates running statistics."""
        nodes = {value.node for value in group.stores} | set(group.reductions) | set(group.finishes)
        nodes |= {group.anchor} if group.anchor else set()
        return bool(nodes & self.forward) or self._is_statistic(group)

    def _is_statistic(self, group: Group) -> bool:
        """Whether a loop stores nothing but new running statistics or updates."""
        return bool(group.stores) and all(self.layouts.base(value) in self.pending for value in group.stores)

    def _loop(self, group: Group, backward: bool) -> Loop:
        equations = LoopEquations(self.names, group)
        nodes = [*equations.nodes, *group.reductions, *group.finishes, *([group.anchor] if group.anchor else [])]
        reads = dict(equations.reads)
        computes = list(equations.lines)
        if group.anchor:
            given = [value for value in group.anchor.inputs if value is not group.prologue]
            reads = {**{self.names.of(value): value for value in given}, **reads}
            results = ", ".join(self.names.of(value) for value in group.anchor.outputs)
            arguments = ", ".join(self.names.of(value) for value in group.anchor.inputs)
            computes.insert(equations.entering, f"{results} = {group.anchor.op.call_name()}({arguments})")
        computes[:0] = [self._finish(node) for node in group.finishes]
        small = {
            name: value for name, value in reads.items() if not (value.type.batched or self._is_weight(group, value))
        }
        large = {name: value for name, value in reads.items() if name not in small}
        stored = list(group.stores)
        if group.anchor:
            fused = bool(group.domain)
            stored += [v for i, v in enumerate(group.anchor.outputs) if (i > 0 or not fused) and v not in stored]
        rows = {
            "reads": [self._list(list(large.items()))] if large else [],
            "with": [", ".join(small)] if small else [],
            "computes": computes,
            "sums": [self._sum(node, equations) for node in group.reductions],
            "stores": [self._list([(self.names.of(value), value) for value in stored], own=True)] if stored else [],
        }
        filled = tuple((label, tuple(texts)) for label, texts in rows.items() if texts)
        return Loop(group.index, backward, self._title(group), paths_of(nodes), filled)

    @staticmethod
    def _is_weight(group: Group, value: Value) -> bool:
        return group.anchor is not None and value in group.anchor.inputs

    def _title(self, group: Group) -> str:
        if group.anchor is not None:
            what = group.anchor.op.words()
            shape = shape_of_work(group.anchor)
            domain = f"over {domain_text(group.domain)}" if group.domain else "in a kernel of its own"
            text = f"{', '.join(filter(None, (what, shape)))}, {domain}"
        else:
            what = (
                "combined sums"
                if group.finishes
                else "running statistic"
                if self._is_statistic(group)
                else "elementwise"
            )
            text = f"{what}, over {domain_text(cast(Domain, group.domain))}"
        self.kinds[what] += 1
        return text

    def _finish(self, node: Node) -> str:
        """Return the line of a reduction whose partial sums this loop combines."""
        results = ", ".join(self.names.of(value) for value in node.outputs)
        source = self._summed_in(node).index
        return f"{results} = {node.op.words()} of {self._summand(node)}, from the totals of loop {source}"

    def _summand(self, node: Node) -> str:
        """Return the expression that a reduction sums, if it is short."""
        group = self._summed_in(node)
        text = LoopEquations(self.names, group).result(node.inputs[0])
        return text if len(text) <= 40 else "what was summed there"

    def _summed_in(self, node: Node) -> Group:
        """Return the loop that accumulates a reduction."""
        return next(group for group in self.plan.groups if node in group.reductions)

    def _sum(self, node: Node, equations: LoopEquations) -> str:
        """Return the line of a reduction that this loop accumulates."""
        home = next(group.index for group in self.plan.groups if node in group.finishes)
        (x,) = node.inputs
        assert isinstance(node.op, Reduction)
        over = ", ".join(str(x.shape[axis]) for axis in node.op.axes)
        return f"{node.op.words()} of {equations.result(x)} over ({over}) → finished by loop {home}"

    def _list(self, items: Sequence[tuple[str, Value]], own: bool = False) -> str:
        """Return names and shapes of arrays; ``own`` marks those that this loop stores."""
        texts: list[str] = []
        for name, value in items:
            base = self.layouts.base(value)
            type = base.type
            note = f"{name} {shape_text(type.shape)}" if math.prod(type.concrete(2)) > 1 else name
            if isinstance(base.node.op, Constant):
                note = f"the number {name}"
            if type.dtype.short != "f32":
                note += f" {type.dtype.short}"
            halo = self.layouts.halo.get(base, NO_HALO)
            if own and halo != NO_HALO:
                note += f" zero-padded by {max(max(pair) for pair in halo)}"
            if isinstance(base.node.op, Input) and own:
                note += " (in place)"
            texts.append(note)
        return ", ".join(texts)


def row(label: str, texts: Sequence[str], width: int = WIDTH) -> list[str]:
    """Return the lines of a row ``  label     text``: the first of ``texts`` after the label, the others below it.

    The lines are wrapped to ``width`` characters.
    """
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(
            text, width, initial_indent=f"  {'' if lines else label:<11}", subsequent_indent=" " * 15,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return lines
