"""Names and equations: how a value is called on a page, and how what a loop computes is written.

v5, v5b       made by loop 5 on the way to the loss        d57   made by loop 57 on the way back
t1, t2        in registers of one loop only                 ∂w    the gradient of the parameter w
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from typing import Any, cast

from striate.graph.graph import Constant, Graph, Input, OutputKind, topological
from striate.graph.op import Kind, Node
from striate.graph.value import Value
from striate.passes.fuse import REGISTER_KINDS, Group, Plan

INFIX = {
    "Greater": (" > ", 0.0),
    "Add": (" + ", 1.0),
    "Subtract": (" − ", 1.5),
    "Multiply": (" · ", 2.0),
    "Divide": (" / ", 2.5),
}
"""Signs, and how strongly they bind: equal whole parts need parentheses unless the sign is the same and regroups."""
PREFIX = {"Negate": "−", "Sqrt": "√"}
RESULTS = {"Moments": ("mean", "variance")}
"""What an operation with several results calls them; others count: v5, v5b, v5c."""
SIGN = 3.0
ATOM = 4.0
SILENT = ("shape", "size", "block")
"""Options that equations leave out: the domain says them."""

Expression = tuple[str, float]
"""Text, and how strongly it binds."""


def words(node: Node) -> str:
    """The operation in words: ``convolution weight gradient``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", type(node.op).__name__).lower()


def options(node: Node) -> list[str]:
    """Options other than their defaults, as the operation prints them: ``stride=2``."""
    inside = re.fullmatch(r"\w+\((.*)\)", str(node.op))
    return re.findall(r"\w+=(?:\(\(.*?\)\)|\(.*?\)|[^,(]+)", inside[1]) if inside else []


def forward_nodes(graph: Graph) -> set[Node]:
    """What is computed on the way to the loss (to the outputs, in a graph without one)."""
    losses = graph.outputs_of(OutputKind.LOSS).values()
    return set(topological(losses or graph.outputs.values()))


class Names:
    """The name of every value that lies in memory or that a loop starts from."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.layouts = plan.layouts
        graph = plan.layouts.graph
        forward = forward_nodes(graph)
        self._names: dict[Value, str] = {}
        for name, value in graph.outputs.items():
            self._names.setdefault(plan.layouts.base(value), result_name(graph, name))
        for name, value in graph.updates.items():
            self._names.setdefault(plan.layouts.base(value), f"{name}′")
        for group in plan.groups:
            made = [*group.registers, *group.stores, *(group.anchor.outputs if group.anchor else ())]
            made += [group.entry] if group.entry is not None else []
            ordered = sorted(set(made), key=lambda value: (value.node.serial, value.index))
            count: Counter[str] = Counter()
            for value in ordered:
                if value not in self._names and not isinstance(value.node.op, Input):
                    stem = stem_of(value, value.node in forward)
                    self._names[value] = f"{stem}{group.index}{'abcdefghijklmnopqrstuvwxyz'[count[stem] % 26]}"
                    count[stem] += 1
                    if count[stem] == 1:
                        self._names[value] = f"{stem}{group.index}"

    def of(self, value: Value) -> str:
        """The name of a value in memory; a view is called as what it views."""
        base = self.layouts.base(value)
        if isinstance(base.node.op, Input):
            return base.node.op.name
        if isinstance(base.node.op, Constant):
            return str(base.node.op)
        return self._names.get(base) or self._names.get(value, "?")


def stem_of(value: Value, forward: bool) -> str:
    """The letters before the number of the loop."""
    given = RESULTS.get(type(value.node.op).__name__)
    if given:
        return given[value.index]
    return "v" if forward else "d"


def result_name(graph: Graph, name: str) -> str:
    """``∂w`` for the gradient of w, ``m′`` for the new contents of the statistic m, else the name itself."""
    role = graph.role(name)
    if role.kind is OutputKind.GRADIENT:
        return f"∂{role.of}"
    return f"{role.of}′" if role.kind is OutputKind.STATISTIC else name


class Equations:
    """What one loop computes in registers, as few equations as say it: what is used once is written in place."""

    def __init__(self, names: Names, group: Group) -> None:
        self.names = names
        self.group = group
        self.lines: list[str] = []
        self.reads: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self._uses: Counter[Value] = Counter()
        self._known: dict[Value, str] = {}
        self._written = {*group.stores, *([group.entry] if group.entry is not None else [])}
        roots = [*group.stores, *(node.inputs[0] for node in group.reductions)]
        entries = [group.entry] if group.entry is not None else []
        for root in (*entries, *roots):
            self._count(root)
        for root in entries:
            self.sums_of(root)
        self.entering = len(self.lines)
        """How many of the lines come before the anchor."""
        for root in roots:
            self.sums_of(root)

    def _is_leaf(self, value: Value) -> bool:
        home = self.names.plan.in_memory.get(value)
        elsewhere = home is not None and home != self.group.index
        return value in self.group.registers or elsewhere or value.node.op.kind not in REGISTER_KINDS

    def _count(self, value: Value) -> None:
        self._uses[value] += 1
        if self._uses[value] == 1 and not self._is_leaf(value):
            for operand in operands(value.node):
                self._count(operand)

    def sums_of(self, root: Value) -> str:
        """The name or expression of a value that the loop stores or sums."""
        text, _ = self._expression(root)
        if root in self._written and not self._is_leaf(root):
            return self._define(root, self.names.of(root), text)
        return text

    def _define(self, value: Value, name: str, text: str) -> str:
        if value not in self._known:
            self._known[value] = name
            if name != text:
                self.lines.append(f"{name} = {text}")
        return name

    def _expression(self, value: Value) -> Expression:
        if value in self._known:
            return self._known[value], ATOM
        op = value.node.op
        if isinstance(op, Constant):
            return str(op), ATOM
        if op.kind is Kind.SIZE:
            count, batched = cast(Any, op).elements(value.node.inputs[0].type)
            return (f"{count}·N", 2.0) if batched and count != 1 else ("N", ATOM) if batched else (str(count), ATOM)
        if self._is_leaf(value):
            name = self.names.of(value)
            if value not in self.group.registers:
                self.reads.setdefault(name, value)
            return name, ATOM
        self.nodes.append(value.node)
        text, strength = written(value.node, [self._expression(operand) for operand in operands(value.node)])
        if value in self._written:
            return self._define(value, self.names.of(value), text), ATOM
        if self._uses[value] > 1:
            return self._define(value, f"t{1 + sum(name[0] == 't' for name in self._known.values())}", text), ATOM
        return text, strength


def operands(node: Node) -> tuple[Value, ...]:
    """The operands whose elements are used: random operations want only the shape of their first."""
    return node.inputs[1:] if node.op.kind is Kind.RANDOM else node.inputs


def written(node: Node, arguments: list[Expression]) -> Expression:
    """An operation on written operands."""
    kind = type(node.op).__name__
    if kind in INFIX:
        sign, strength = INFIX[kind]
        (a, left), (b, right) = arguments
        first = f"({a})" if left < int(strength) or (left == 2.5 and strength == 2.0) else a
        right = min(right, strength) if b.startswith("−") else right  # a − (−b)
        regroups = right == strength and kind in ("Add", "Multiply")
        second = b if right >= int(strength) + 1 or regroups else f"({b})"
        return f"{first}{sign}{second}", strength
    if kind in PREFIX:
        ((text, strength),) = arguments
        return PREFIX[kind] + (text if strength == ATOM else f"({text})"), ATOM if kind == "Sqrt" else SIGN
    if kind == "Convert":
        return f"copy({arguments[0][0]})", ATOM
    given = [f"{field.name}={getattr(node.op, field.name)}" for field in fields(node.op) if field.name not in SILENT]
    name = words(node).replace(" ", "_")
    return f"{name}({', '.join([*(text for text, _ in arguments), *given])})", ATOM


def paths_of(nodes: list[Node]) -> tuple[str, ...]:
    """The paths of the layers that the nodes came from, in the order of their work."""
    return tuple(dict.fromkeys(node.path for node in sorted(nodes, key=lambda node: node.serial) if node.path))
