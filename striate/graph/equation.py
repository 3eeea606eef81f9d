"""Writes equations: a value as an expression of named values, each operation in its own notation."""

from __future__ import annotations

from abc import ABC, abstractmethod

from striate.graph.graph import Constant
from striate.graph.notation import Expression
from striate.graph.op import Kind, Node
from striate.graph.value import Value


class EquationWriter(ABC):
    """The abstract base class of writers that turn values (arrays of a graph) into equations.

    A subclass decides which values are referred to by a name, and may name more values while it writes.
    """

    @abstractmethod
    def named(self, value: Value) -> Expression | None:
        """Return the name of a value, or None if its computation is to be written out."""

    def finished(self, value: Value, expression: Expression) -> Expression:
        """Return the expression for a value that was written out: ``expression``, or a name for it."""
        return expression

    def expression(self, value: Value) -> Expression:
        """Return the expression of a value: a name, a constant, or an operation applied to expressions."""
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
    """Return the inputs whose elements a node uses.

    The first input of a random operation is left out, because only its shape is used.
    """
    return node.inputs[1:] if node.op.kind is Kind.RANDOM else node.inputs
