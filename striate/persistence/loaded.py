"""A model loaded from a file: its weights, and the graph that was traced when it was saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from striate.data.standardizer import Standardizer
from striate.errors import OptionError, ShapeError
from striate.graph.elementwise import cast
from striate.graph.graph import Graph, Input
from striate.graph.graph import Parameter as LearnedInput
from striate.graph.op import Node, current_path
from striate.graph.value import Array, TensorType, Value, shape_text
from striate.nn.module import Module
from striate.nn.parameter import Parameter, Role
from striate.persistence.document import graph_document, graph_from_document
from striate.tracing import KEY, active_trace, nested_tree


@final
class LoadedModel(Module):
    """y = f(x), where f is the saved graph

    The model predicts as the saved one did, without its source code. ``tensors`` are its parameters and buffers by
    name, as in ``state_dict``; ``classes`` are the names of the classes, and ``standardizer`` is the standardizer in
    the graph, or None. The model can be trained further, but its batch normalization then keeps using the running
    statistics of the file and does not update them. Raises ``ShapeError`` for inputs whose shapes, apart from the batch
    size, differ from those of the saved model.
    """

    def __init__(
        self,
        graph: Graph,
        tensors: Mapping[str, Array],
        classes: tuple[str, ...],
        standardizer: Standardizer | None,
    ) -> None:
        self.graph = graph
        self.classes = classes
        self._standardizer_read = standardizer
        learned = {node.op.name for node in graph.sources() if isinstance(node.op, LearnedInput)}
        for name, array in tensors.items():
            role = Role.LEARNED if name in learned else Role.BUFFER if array.dtype.kind == "f" else Role.COUNTER
            dtype = "float32" if role is Role.COUNTER else array.dtype.name
            # The name comes from the file and may be that of a method; the dot keeps it from becoming an attribute.
            setattr(self, f"tensor.{name}", Parameter(np.asarray(array), role=role, dtype=dtype))
        self._parameters = {key.removeprefix("tensor."): parameter for key, parameter in self._parameters.items()}
        self._predictor.example = self.input_types

    def __deepcopy__(self, memory: dict[int, Any]) -> LoadedModel:
        tensors = {name: np.array(parameter.data) for name, parameter in self.named_state()}
        copied = LoadedModel(self.graph, tensors, self.classes, self._standardizer_read)  # graphs never change
        memory[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[object, ...]:
        """Return the parts of a pickle: the graph as JSON, as in a model file, and the arrays."""
        standardizer = self._standardizer_read
        return _unpickled, (
            json.dumps(graph_document(self.graph), allow_nan=False),
            {name: np.array(parameter.data) for name, parameter in self.named_state()},
            dict(self.graph.captured),
            self.classes,
            None if standardizer is None else standardizer.to_json(),
        )

    @property
    def standardizer(self) -> Standardizer | None:
        """The standardizer that the saved graph applies to its inputs, or None; it cannot be replaced."""
        return self._standardizer_read

    @standardizer.setter
    def standardizer(self, value: object) -> None:
        raise OptionError(
            "a loaded model standardizes inside its graph; that cannot be exchanged\n"
            "  help: build the network anew, load_state_dict, then model.standardizer = data.Standardizer.fit(images)"
        )

    def _plain_inputs(self) -> list[Value]:
        return [value for name, value in self.graph.given().items() if name != KEY]

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """The dtypes and shapes of the inputs, in the order in which a call takes them."""
        return tuple(value.type for value in self._plain_inputs())

    def extra_repr(self) -> str:
        outputs = ", ".join(str(value.type) for value in self.graph.outputs.values())
        return f"{', '.join(map(str, self.input_types))} → {outputs}"

    def forward(self, *inputs: Value) -> Any:
        expected = self.input_types
        if [value.shape for value in inputs] != [type.shape for type in expected]:
            raise ShapeError(
                f"this model was saved for inputs {', '.join(map(str, expected))}, "
                f"not {', '.join(str(value.type) for value in inputs)}\n"
                f"  help: give {' and '.join(shape_text(type.shape) for type in expected)}, "
                "or train a model on such data"
            )
        trace, outside = active_trace("LoadedModel"), current_path()
        made = {own: cast(value, own.dtype) for own, value in zip(self._plain_inputs(), inputs)}
        for node in self.graph.nodes:
            if isinstance(node.op, Input):
                name = node.op.name
                if name in self.graph.captured:
                    made[node.outputs[0]] = trace.capture(self.graph.captured[name])
                elif type(node.op) is not Input:
                    made[node.outputs[0]] = trace.read(self.parameter(name))
                elif name == KEY:
                    made[node.outputs[0]] = trace.key()[0]
                continue
            path = ".".join(part for part in (outside, node.path) if part)
            new = Node(node.op, tuple(made[value] for value in node.inputs), path)
            made.update(zip(node.outputs, new.outputs))
        return nested_tree({name: made[value] for name, value in self.graph.outputs.items()})["out"]


def _unpickled(
    document: str,
    tensors: Mapping[str, Array],
    captured: Mapping[str, Array],
    classes: tuple[str, ...],
    standardizer: dict[str, object] | None,
) -> LoadedModel:
    graph = graph_from_document(json.loads(document), captured, "a pickled model")
    fitted = None if standardizer is None else Standardizer.from_json(standardizer)
    return LoadedModel(graph, tensors, classes, fitted)
