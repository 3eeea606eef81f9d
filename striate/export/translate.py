"""Translate a graph for prediction to an ONNX graph.

Each operation adds its own ONNX operators (``Op.onnx``). Two patterns of operations become a single operator each: a
convolution or matrix product and the addition of its bias, and batch normalization by running statistics, which is
arithmetic in the traced graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from onnx import GraphProto

from striate.errors import OptionError
from striate.export.writer import GraphWriter, value_info
from striate.graph.arithmetic import Add
from striate.graph.graph import Constant, Graph, Input, Parameter, State, topological
from striate.graph.op import Composite, Direction, Kind, Node, Op
from striate.graph.reshape import Reshape
from striate.graph.value import Array, Value
from striate.ops.normalization import NormalizedByStatistics, normalized_by_statistics
from striate.tracing.trace import KEY


def translate(graph: Graph, state: Mapping[str, Array], fold: bool, momenta: Mapping[str, float]) -> GraphProto:
    """Return ``graph`` as an ONNX graph; ``fold`` multiplies batch normalizations into the convolutions before them.

    ``state`` holds the parameters and buffers by name. ``momenta`` maps the path of each batch normalization layer to
    its momentum m in PyTorch's convention, in which m is the weight of the new statistics; in ONNX, it is written as 1
    − m. Raises ``OptionError`` for an operation that has no ONNX form.
    """
    return _Translation(graph, state, fold, momenta).graph()


@final
class _Translation:
    def __init__(self, graph: Graph, state: Mapping[str, Array], fold: bool, momenta: Mapping[str, float]) -> None:
        self._graph, self._state, self._fold, self._momenta = graph, state, fold, momenta
        self._readers = graph.consumers()
        self._inputs = graph.given()
        if KEY in self._inputs:
            raise OptionError("the model draws random numbers when it predicts, which ONNX cannot repeat")
        batched = next((name for name, value in self._inputs.items() if value.type.batched), "")
        self._writer = GraphWriter(batched)
        self._names: dict[Value, str] = {}

    def graph(self) -> GraphProto:
        """Translate all nodes in order; those that no output needs are dropped at the end."""
        for name in (*self._inputs, *self._graph.outputs):
            self._writer.claim(name)
        for node in self._graph.nodes:
            self._translate(node)
        for name, value in self._graph.outputs.items():
            self._writer.path = ""
            self._writer.rename(self._name(value), name)
        return self._writer.graph(
            "network",
            [value_info(name, value.type) for name, value in self._inputs.items()],
            [value_info(name, value.type) for name, value in self._graph.outputs.items()],
        )

    def _translate(self, node: Node) -> None:
        if node.outputs[0] in self._names:
            return
        self._writer.path = node.path
        match node.op:
            case Input(name=name) if name in self._inputs:
                self._names[node.outputs[0]] = name
            case Input(name=name):
                self._names[node.outputs[0]] = self._writer.hold(name, self._array(node.outputs[0]))
            case Constant(number=number, dtype=dtype):
                self._names[node.outputs[0]] = self._writer.constant(np.array(number, dtype.numpy))
            case _:
                self._compute(node)

    def _compute(self, node: Node) -> None:
        (y, *_) = node.outputs
        normalized = normalized_by_statistics(y)
        if normalized is not None:
            self._names[y] = self._folded(y, normalized) or self._normalization(normalized, node.path)
            return
        biased = self._biased(node)
        if biased is not None:
            contraction, bias = biased
            names = [*(self._names[value] for value in contraction.inputs), self._names[bias]]
            found = contraction.op.onnx(self._writer, names, [value.type for value in contraction.inputs])
            assert found is not None
            self._names[y] = found[0]
            return
        found = node.op.onnx(
            self._writer, [self._name(value) for value in node.inputs], [value.type for value in node.inputs]
        )
        if found is not None:
            self._names.update({value: name for value, name in zip(node.outputs, found) if name})
        elif isinstance(node.op, Composite):
            self._expand(node, node.op)
        else:
            raise OptionError(
                f'{node.op} at "{node.path}" has no ONNX form\n'
                "  help: define the method onnx in its class, or onnx_operator if ONNX has an operator like it"
            )

    def _name(self, value: Value) -> str:
        """Return the name of a value in the ONNX graph; raise ``OptionError`` for an output that has no ONNX form."""
        if value not in self._names:
            raise OptionError(
                f'{value.node.op} at "{value.node.path}": its output number {value.index + 1} has no ONNX form\n'
                "  help: leave it out of the model that is exported"
            )
        return self._names[value]

    def _expand(self, node: Node, op: Composite) -> None:
        smaller = op.expand(*node.inputs)
        for inner in topological(smaller):
            self._translate(inner)
        self._names.update(zip(node.outputs, (self._names[value] for value in smaller)))

    def _array(self, value: Value) -> Array:
        """Return the contents of a parameter, buffer or captured array."""
        op = value.node.op
        assert isinstance(op, Input)
        return self._graph.captured[op.name] if op.name in self._graph.captured else self._state[op.name]

    # A contraction with its bias

    def _biased(self, node: Node) -> tuple[Node, Value] | None:
        """Return the contraction and the bias vector (C,) that this node adds to it, or None if it is not a bias."""
        if not isinstance(node.op, Add):
            return None
        for y, other in (node.inputs, tuple(reversed(node.inputs))):
            vector = channel_vector(other, y)
            if y.node.op.onnx_takes_bias and vector is not None and len(y.node.inputs) == 2:
                return (y.node, vector) if self._only_read_by(y, node) else None
        return None

    def _only_read_by(self, value: Value, node: Node) -> bool:
        return self._readers.get(value) == [node] and value not in self._graph.outputs.values()

    # Batch normalization

    def _normalization(self, found: NormalizedByStatistics, path: str) -> str:
        count = found.x.type.channels
        dtype = found.x.dtype.numpy
        scale = self._writer.constant(np.ones(count, dtype)) if found.weight is None else self._names[found.weight]
        shift = self._writer.constant(np.zeros(count, dtype)) if found.bias is None else self._names[found.bias]
        statistics = (self._names[found.mean], self._names[found.variance])
        kept = 1 - self._momenta[path] if path in self._momenta else None
        operands = (self._names[found.x], scale, shift, *statistics)
        return self._writer.add("BatchNormalization", *operands, epsilon=found.epsilon, momentum=kept)

    def _folded(self, y: Value, found: NormalizedByStatistics) -> str | None:
        """Write the convolution before a normalization with both combined, and return the name of its output.

        Returns None if there is no such convolution, or something else reads its output too.
        """
        vectors = (found.mean, found.variance, found.weight, found.bias)
        if not self._fold or not all(vector is None or _is_held(vector) for vector in vectors):
            return None
        x, bias = found.x, None
        biased = self._biased(x.node)
        if biased is not None and self._read_once(x):
            x, bias = biased[0].outputs[0], biased[1]
        if not self._read_once(x) or not _convolves(x.node.op):
            return None
        source, weight = x.node.inputs
        if not _is_held(weight) or (bias is not None and not _is_held(bias)):
            return None
        mean, variance = self._array(found.mean).astype(np.float64), self._array(found.variance).astype(np.float64)
        scale = 1 / np.sqrt(variance + found.epsilon)
        if found.weight is not None:
            scale = scale * self._array(found.weight)
        shift = -mean * scale if bias is None else (self._array(bias) - mean) * scale
        if found.bias is not None:
            shift = shift + self._array(found.bias)
        filters = self._array(weight)
        scaled = filters * scale.reshape(-1, *(1,) * (filters.ndim - 1))
        self._writer.path = x.node.path
        names = [
            self._names[source],
            self._writer.hold(f"{self._names[weight]}.folded", scaled.astype(filters.dtype)),
            self._writer.hold(f"{x.node.path}.bias.folded", shift.astype(filters.dtype)),
        ]
        found_names = x.node.op.onnx(self._writer, names, [value.type for value in x.node.inputs])
        return None if found_names is None else found_names[0]

    def _read_once(self, value: Value) -> bool:
        """Return whether only the normalization reads this value, in the subtraction of the mean."""
        return len(self._readers.get(value, [])) == 1 and value not in self._graph.outputs.values()


def channel_vector(value: Value, like: Value) -> Value | None:
    """Return the vector (C,) if ``value`` is this vector reshaped to (1, C, 1, …); None if ``value`` is something else.

    C must be the size of axis 1 of ``like``, and the number of axes must be that of ``like``.
    """
    if not isinstance(value.node.op, Reshape) or like.type.rank < 2:
        return None
    (vector,) = value.node.inputs
    expected = (1, *like.shape[1:2], *(1,) * (like.type.rank - 2))
    return vector if vector.shape == like.shape[1:2] and value.shape == expected else None


def _convolves(op: Op) -> bool:
    """Return whether axis 0 of the operation's weights, its second input, is the axis of output channels."""
    return op.kind is Kind.CONTRACTION and op.direction is Direction.FORWARD and op.onnx_takes_bias


def _is_held(value: Value) -> bool:
    return isinstance(value.node.op, Parameter | State)
