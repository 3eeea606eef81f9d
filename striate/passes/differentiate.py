"""Reverse-mode differentiation: adds to a graph the nodes that compute gradients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from striate.errors import GraphError, ShapeError
from striate.graph.graph import topological
from striate.graph.op import Kind, Node, at_path
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.value import Value
from striate.ops.reduction import Sum
from striate.ops.shaping import BroadcastTo, expanded


def differentiate(loss: Value, wrt: Sequence[Value], seed: Value | None = None) -> list[Value]:
    """Return ∂loss/∂v as a value of the graph, for each v in ``wrt``.

    ``seed`` is the gradient of the final objective with respect to ``loss``; None means 1, and then the loss must be a
    single number, else ``ShapeError`` is raised. Only nodes between ``wrt`` and the loss are differentiated. The
    gradient of a v that does not affect the loss is 0. Raises ``GraphError`` if an operation has no gradient.
    """
    if seed is None:
        if loss.type.size() != 1 or loss.type.batched:
            raise ShapeError(f"a gradient needs a loss of one number, not {loss.type}; sum or average it first")
        seed = constant(1.0, loss.dtype)
    gradients = pull_back({loss: seed}, wrt)
    return [_zeros(v) if gradient is None else gradient for v, gradient in zip(wrt, gradients, strict=True)]


def pull_back(seeds: Mapping[Value, Value], wrt: Sequence[Value], fixed: Collection[Value] = ()) -> list[Value | None]:
    """Return Σ_y seeds[y]ᵀ ∂y/∂v as a value of the graph, for each v in ``wrt``, over all keys y of ``seeds``.

    ``seeds`` maps each y to the gradient of the final objective with respect to y. The values in ``fixed`` count as
    constants: no gradient passes through them. The result is None for a v on which no y depends.
    """
    nodes = topological(seeds)
    moving = moving_values(nodes, wrt, fixed)
    gradients = {y: seed for y, seed in seeds.items() if y in moving}
    for node in reversed(nodes):
        needed = tuple(value in moving and value.dtype.is_float for value in node.inputs)
        incoming = tuple(gradients.get(value) for value in node.outputs)
        if node.op.kind is Kind.SOURCE or not any(needed) or all(g is None for g in incoming):
            continue
        with at_path(node.path):
            _accumulate(gradients, node, incoming, needed)
    return [expanded(gradients[value], value) if value in gradients else None for value in wrt]


def moving_values(nodes: list[Node], wrt: Sequence[Value], fixed: Collection[Value] = ()) -> set[Value]:
    """Return ``wrt`` and all outputs of ``nodes`` that depend on it, if the values in ``fixed`` count as constants.

    Each node in ``nodes`` must come after the nodes whose outputs it reads.
    """
    moving = set(wrt) - set(fixed)
    for node in nodes:
        if any(value in moving for value in node.inputs):
            moving.update(value for value in node.outputs if value not in fixed)
    return moving


def _accumulate(
    gradients: dict[Value, Value], node: Node, incoming: tuple[Value | None, ...], needed: tuple[bool, ...]
) -> None:
    # Only operations with several outputs can receive None for one of them, and they accept it.
    gradients_of_inputs = node.op.gradient(node.inputs, node.outputs, cast("tuple[Value, ...]", incoming), needed)
    if len(gradients_of_inputs) != len(node.inputs):
        raise GraphError(
            f"the gradient rule of {node.op} returned {len(gradients_of_inputs)} values for {len(node.inputs)} inputs"
        )
    for value, gradient, is_needed in zip(node.inputs, gradients_of_inputs, needed, strict=True):
        if is_needed and gradient is not None:
            gradient = sum_to_shape(gradient, value)
            gradients[value] = gradient if value not in gradients else gradients[value] + gradient


def sum_to_shape(gradient: Value, value: Value) -> Value:
    """Sum ``gradient`` over the axes along which broadcasting repeated the operand ``value``.

    The result has the shape of ``value``. A scalar ``gradient``, which represents an array of equal elements, is
    returned unchanged.
    """
    if gradient.shape == value.shape:
        return gradient
    if gradient.type.rank == 0:
        return gradient  # a scalar represents an array of equal elements; its readers broadcast it
    rank = gradient.type.rank
    target = (1,) * rank if value.type.rank == 0 else value.shape
    axes = tuple(axis for axis in range(rank) if target[axis] == 1 and gradient.shape[axis] != 1)
    summed = Sum(axes)(gradient) if axes else gradient
    return reshape(summed, value.shape)


def _zeros(value: Value) -> Value:
    return BroadcastTo(value.shape)(constant(0.0, value.dtype))
