"""Writes equations: a value as an expression of named values, with each operation in its own notation."""

from __future__ import annotations

from abc import ABC, abstractmethod

from striate.graph.graph import Constant
from striate.graph.notation import Expression
from striate.graph.op import Kind, Node
from striate.graph.value import Value


class EquationWriter(ABC):
    """Base class of writers (abstract). A subclass says which values have a name, and may name more as it writes."""

    @abstractmethod
    def named(self, value: Value) -> Expression | None:
        """The name of a value whose computation is not written out; None for a value that is written out."""

    def finished(self, value: Value, expression: Expression) -> Expression:
        """The expression to use for a value that has been written out: the expression itself, or a name given to it."""
        return expression

    def expression(self, value: Value) -> Expression:
        """The expression of a value."""
        found = self.named(value)
        if found is not None:
            return found
        node = value.node
        if isinstance(node.op, Constant):
            return Expression(str(node.op))
        known = node.op.known_result([one.type for one in node.inputs])
        if known is not None:
            return known
        return self.finished(value, node.op.written(*(self.expression(one) for one in operands(node))))


def operands(node: Node) -> tuple[Value, ...]:
    """The inputs whose elements are used; random operations use only the shape of their first input."""
    return node.inputs[1:] if node.op.kind is Kind.RANDOM else node.inputs
