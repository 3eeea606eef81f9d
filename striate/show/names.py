"""Names the values of a program, and writes the equations of a loop.

v5, v5b       computed by loop 5, forward                   d57   computed by loop 57, backward
t1, t2        in registers of one loop only                 ∂w    the gradient of the parameter w
"""

from __future__ import annotations

from collections import Counter

from striate.graph.equation import EquationWriter, operands
from striate.graph.graph import Constant, Graph, Input, OutputKind, topological
from striate.graph.notation import Expression
from striate.graph.op import Kind, Node
from striate.graph.value import Value
from striate.passes.fuse import REGISTER_KINDS, Group, Plan


def forward_nodes(graph: Graph) -> set[Node]:
    """Return the nodes of the forward pass: those on which the loss depends.

    If the graph has no loss, these are the nodes on which its outputs depend.
    """
    losses = graph.outputs_of(OutputKind.LOSS).values()
    return set(topological(losses or graph.outputs.values()))


class Names:
    """The names under which ``striate show`` prints the values of a program, such as v5 and ∂w.

    Values that are stored in memory have names. So have results of operations such as a convolution that a loop of
    ``plan`` keeps in registers and passes to its elementwise operations.
    """

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
            made += [group.prologue] if group.prologue is not None else []
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
        """Return the name of a value that is stored in memory; a view has the name of the array that it shows."""
        base = self.layouts.base(value)
        if isinstance(base.node.op, Input):
            return base.node.op.name
        if isinstance(base.node.op, Constant):
            return str(base.node.op)
        if found := self._names.get(base) or self._names.get(value):
            return found
        # A number that one loop finishes and another one reads, such as Σ w of a loss: s1, s2, … as they come up.
        return self._names.setdefault(
            base, f"s{1 + sum(name[0] == 's' and name[1:].isdecimal() for name in self._names.values())}"
        )


def stem_of(value: Value, forward: bool) -> str:
    """Return the letters with which the name of a value begins, such as "mean" in "mean8".

    If the operation names its results, they are that name. Otherwise they are "v" for a value of the forward pass
    (``forward`` is True) and "d" for a value of the backward pass.
    """
    results = value.node.op.results
    if results:
        return results[value.index]
    return "v" if forward else "d"


def result_name(graph: Graph, name: str) -> str:
    """Return the name under which a graph output is printed.

    It is ``∂w`` for the gradient of the parameter w, ``m′`` for the new contents of a running statistic m, and ``name``
    for other outputs.
    """
    role = graph.role(name)
    if role.kind is OutputKind.GRADIENT:
        return f"∂{role.of}"
    return f"{role.of}′" if role.kind is OutputKind.STATISTIC else name


class LoopEquations(EquationWriter):
    """The equations of one loop, ``group``, as text, in which ``names`` gives the names of the values.

    A value that is used only once has no equation of its own: its expression is part of the equation that uses it.

    lines     the equations
    reads     arrays that the loop reads, by name
    nodes     nodes that the loop computes in registers
    entering  number of lines that precede the operation around which the loop is built, such as a convolution
    """

    def __init__(self, names: Names, group: Group) -> None:
        self.names = names
        self.group = group
        self.lines: list[str] = []
        self.reads: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self._uses: Counter[Value] = Counter()
        self._known: dict[Value, str] = {}
        self._written = {*group.stores, *([group.prologue] if group.prologue is not None else [])}
        roots = [*group.stores, *(node.inputs[0] for node in group.reductions)]
        entries = [group.prologue] if group.prologue is not None else []
        for root in (*entries, *roots):
            self._count(root)
        for root in entries:
            self.result(root)
        self.entering = len(self.lines)
        """The number of lines before the operation that the loop is built around."""
        for root in roots:
            self.result(root)

    def _is_leaf(self, value: Value) -> bool:
        """Whether a value is written by name alone, since this loop does not compute it elementwise."""
        home = self.names.plan.in_memory.get(value)
        elsewhere = home is not None and home != self.group.index
        return value in self.group.registers or elsewhere or value.node.op.kind not in REGISTER_KINDS

    def _count(self, value: Value) -> None:
        """Count the uses of a value and of its operands."""
        self._uses[value] += 1
        if self._uses[value] == 1 and not self._is_leaf(value):
            for operand in operands(value.node):
                self._count(operand)

    def result(self, root: Value) -> str:
        """Return the text for ``root``, a value that the loop stores or sums: its name if stored, else its expression.

        If the loop computes the value and stores it, its equation is added to ``lines``.
        """
        text = self.expression(root).text
        if root in self._written and not self._is_leaf(root):
            return self._define(root, self.names.of(root), text)
        return text

    def _define(self, value: Value, name: str, text: str) -> str:
        """Add a line that defines a name, unless the value has one; returns the name."""
        if value not in self._known:
            self._known[value] = name
            if name != text:
                self.lines.append(f"{name} = {text}")
        return name

    def named(self, value: Value) -> Expression | None:
        if value in self._known:
            return Expression(self._known[value])
        if value.node.op.kind in (Kind.SIZE, Kind.SOURCE) and not isinstance(value.node.op, Input):
            return None
        if self._is_leaf(value):
            name = self.names.of(value)
            if value not in self.group.registers:
                self.reads.setdefault(name, value)
            return Expression(name)
        self.nodes.append(value.node)
        return None

    def finished(self, value: Value, expression: Expression) -> Expression:
        if value in self._written:
            return Expression(self._define(value, self.names.of(value), expression.text))
        if self._uses[value] > 1:
            name = f"t{1 + sum(known[0] == 't' for known in self._known.values())}"
            return Expression(self._define(value, name, expression.text))
        return expression


def paths_of(nodes: list[Node]) -> tuple[str, ...]:
    """Return the paths of the layers that the nodes belong to, without repetition, in the order in which they run."""
    return tuple(dict.fromkeys(node.path for node in sorted(nodes, key=lambda node: node.serial) if node.path))
