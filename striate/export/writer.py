"""Build an ONNX graph operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from striate.dtypes import DType
from striate.graph.onnx import Attribute
from striate.graph.value import Array, Batch, Shape, TensorType

BATCH = "N"
"""The symbolic name of the batch size, axis 0 of inputs and outputs."""

KINDS = {
    DType.float32: TensorProto.FLOAT, DType.float64: TensorProto.DOUBLE, DType.int32: TensorProto.INT32,
    DType.int64: TensorProto.INT64, DType.uint8: TensorProto.UINT8, DType.bool: TensorProto.BOOL,
}  # fmt: skip


@final
class GraphWriter:
    """Collects operators and constants of an ONNX graph; implements ``graph.onnx.OnnxWriter``.

    ``path`` is the path of the layer whose operators are being added. The names of the operators begin with this path,
    as in "layer1.conv1/Conv". ``batched_input`` is the name of a graph input from whose shape operators can read the
    batch size.
    """

    def __init__(self, batched_input: str) -> None:
        self.path = ""
        self._batched_input = batched_input
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._taken: set[str] = set()
        self._outputs: set[str] = set()

    def claim(self, name: str) -> str:
        """Reserve a name and return it, with a number appended if it is taken."""
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found

    def add(self, operator: str, *inputs: str, **attributes: Attribute | None) -> str:
        return self.add_outputs(1, operator, *inputs, **attributes)[0]

    def add_outputs(self, count: int, operator: str, *inputs: str, **attributes: Attribute | None) -> list[str]:
        given: dict[str, Any] = {
            name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in attributes.items()
            if value is not None
        }
        outputs = [self.claim(f"{self.path}/{operator}") for _ in range(count)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, name=outputs[0], **given))
        return outputs

    def cast(self, x: str, dtype: DType) -> str:
        return self.add("Cast", x, to=KINDS[dtype])

    def hold(self, name: str, array: Array) -> str:
        """Add a named constant array, such as a parameter, and return its name in the graph."""
        found = self.claim(name)
        self._constants[found] = array
        return found

    def constant(self, array: Array) -> str:
        return self.hold(f"{self.path}/constant", array)

    def integers(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def shape(self, shape: Shape) -> str:
        known = [dim for dim in shape if not isinstance(dim, Batch)]
        if len(known) == len(shape):
            return self.integers(*known)
        count = self.add("Shape", self._batched_input, start=0, end=1)
        return self.add("Concat", count, self.integers(*known), axis=0) if known else count

    def rename(self, name: str, output: str) -> None:
        """Rename the value called ``name`` to ``output``, the name of a graph output.

        A value that is an input, a constant or already an output keeps its name, and is copied to ``output``.
        """
        if name in self._outputs or not any(name in node.output for node in self._nodes):
            self._nodes.append(helper.make_node("Identity", [name], [output], name=f"{output}/Identity"))
        else:
            for node in self._nodes:
                for names in (node.input, node.output):
                    names[:] = [output if one == name else one for one in names]
        self._outputs.add(output)

    def graph(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> GraphProto:
        """Return the finished graph, called ``name``, with these declared inputs and outputs.

        Operators and constants that no output needs are left out.
        """
        needed = {output.name for output in outputs}
        kept: list[NodeProto] = []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                while node.output[-1] not in needed:
                    del node.output[-1]
                kept.append(node)
                needed.update(node.input)
        arrays = [
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            for name, array in self._constants.items()
            if name in needed
        ]
        return helper.make_graph(list(reversed(kept)), name, list(inputs), list(outputs), arrays)


def value_info(name: str, type: TensorType) -> ValueInfoProto:
    """Return the declaration of a graph input or output: its name, element type and shape.

    The batch size is the symbolic size "N".
    """
    shape = [BATCH if isinstance(dim, Batch) else dim for dim in type.shape]
    return helper.make_tensor_value_info(name, KINDS[type.dtype], shape)
