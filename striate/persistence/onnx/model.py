"""``OnnxModel``, a trainable module made of the operators in an ONNX file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from striate.errors import ModelFileError, ShapeError, StriateError
from striate.graph.op import at_path, current_path
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.nn.module import Module
from striate.nn.parameter import Parameter, Role
from striate.persistence.document import LARGEST_VALUE
from striate.persistence.onnx import operators
from striate.persistence.onnx.call import FOLDED, OPERATORS, Call, Operand
from striate.persistence.onnx.messages import Node
from striate.persistence.onnx.network import Network, read_network
from striate.persistence.onnx.operators.folding import all_known
from striate.persistence.onnx.tensors import element_of
from striate.tracing import Trace, active_trace

_WEIGHTS: Mapping[str, frozenset[int]] = {
    "Conv": frozenset({1, 2}), "ConvTranspose": frozenset({1, 2}), "Gemm": frozenset({0, 1, 2}),
    "MatMul": frozenset({0, 1}), "BatchNormalization": frozenset({1, 2}), "InstanceNormalization": frozenset({1, 2}),
    "LayerNormalization": frozenset({1, 2}), "GroupNormalization": frozenset({1, 2}),
    "RMSNormalization": frozenset({1}), "PRelu": frozenset({1}),
}  # fmt: skip
"""Operator → the positions of its inputs that are weights, whatever their size."""

_OPERANDS = frozenset({"Add", "Sub", "Mul", "Div", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast", "Identity"})
"""Operators whose constant float operands count as weights if they have more than one element."""

_STATISTICS = {"BatchNormalization": frozenset({3, 4})}
_UNBIASED = ("pytorch", "striate")
"""Producers whose batch normalization updates its running variance with the unbiased variance."""

_FIXED = "standardizer."
"""The prefix of arrays that ``export_onnx`` writes for the standardizer; they are not trained."""


@final
class OnnxModel(Module):
    """y = f(x), where f is the network of an ONNX file

    It predicts, trains and saves like any other module; ``state_dict`` has the names of the file's initializers. In
    training, batch normalization and dropout follow the conventions of the framework that wrote the file. The model of
    a file with several outputs returns a dict by output name. Raises ``ShapeError`` for a wrong number or shape of
    inputs.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.classes = network.classes
        kinds = [element_of(one.kind, f"input {one.name[:80]!r}").value for one in network.inputs]
        self.dtype_of_floats = DType.float64 if "float64" in kinds else DType.float32
        self._input_kinds = tuple(kinds)
        roles = _roles(network)
        constants: dict[str, Array] = {}
        for name, array in network.constants.items():
            numbers = array.astype(self.dtype_of_floats.numpy) if array.dtype.kind == "f" else array
            if name in roles:
                # The name comes from the file and may be that of a method; the dot keeps it from becoming an attribute.
                held = Parameter(numbers, role=roles[name], dtype=self.dtype_of_floats)
                setattr(self, f"tensor.{name}", held)
            else:
                constants[name] = numbers
        self._parameters = {key.removeprefix("tensor."): parameter for key, parameter in self._parameters.items()}
        self.constants = constants
        self.fixed = _fixed_batch(network)
        types = self._declared()
        if types is not None:
            self._predictor.example = types

    def _declared(self) -> tuple[TensorType, ...] | None:
        """Return the dtypes and shapes of the inputs with N on axis 0; None if the file leaves other sizes open."""
        found: list[TensorType] = []
        for one, kind in zip(self.network.inputs, self._input_kinds):
            if not one.shape or not all(isinstance(size, int) and size > 0 for size in one.shape[1:]):
                return None
            dtype = self.dtype_of_floats if "float" in kind else DType[kind] if kind in DType.__members__ else None
            if dtype is None:
                return None
            found.append(TensorType(dtype, (N, *(size for size in one.shape[1:] if isinstance(size, int)))))
        return tuple(found)

    def extra_repr(self) -> str:
        counts = Counter(node.operator for node in self.network.nodes).most_common(4)
        return f"opset {self.network.opset}: " + ", ".join(f"{count} {name}" for name, count in counts)

    def forward(self, *inputs: Value) -> Any:
        if len(inputs) != len(self.network.inputs):
            names = ", ".join(one.name for one in self.network.inputs)
            raise ShapeError(f"{len(inputs)} inputs, but the file has {len(self.network.inputs)}: {names}"[:400])
        run = _Run(self, active_trace("OnnxModel"), inputs)
        found = [run.output(name) for name in self.network.outputs]
        return found[0] if len(found) == 1 else dict(zip(self.network.outputs, found))


@final
class _Run:
    """One trace of the file's operators: it adds them to the active graph, for inputs of given shapes."""

    def __init__(self, model: OnnxModel, trace: Trace, inputs: tuple[Value, ...]) -> None:
        self._model, self._trace = model, trace
        network = model.network
        batched = any(value.type.batched for value in inputs)
        self._found: dict[str, Operand] = {}
        for one, value in zip(network.inputs, inputs):
            self._check(one.name, one.shape, value, batched)
            self._found[one.name] = value
        self._unbiased = network.producer.lower() in _UNBIASED
        outside = current_path()
        for node in network.nodes:
            self._compute(node, ".".join(part for part in (outside, _path(node)) if part))

    def _check(self, name: str, shape: tuple[int | str, ...] | None, value: Value, batched: bool) -> None:
        if shape is None:
            return
        given = value.type.concrete(1)
        if len(shape) != len(given) or any(
            isinstance(size, int) and size > 0 and size != found for size, found in list(zip(shape, given))[batched:]
        ):
            text = ", ".join(str(size or "?") for size in shape)
            raise ShapeError(f"the file was written for an input {name} of shape ({text}), not {value.type}"[:400])

    def _operand(self, name: str) -> Operand | None:
        if not name:
            return None
        if name in self._found:
            return self._found[name]
        if name in self._model.constants:
            return self._model.constants[name]
        return self._trace.read(self._model.parameter(name))

    def output(self, name: str) -> Value:
        found = self._operand(name)
        if isinstance(found, Value):
            return found
        if found is None or found.dtype == object:
            raise ModelFileError(f"output {name[:80]!r} is N, the number of samples, which no array holds")
        return self._trace.capture(found)

    def _compute(self, node: Node, path: str) -> None:
        operands = [self._operand(name) for name in node.inputs]
        call = Call(
            node, operands, self._model.network.opset, self._model.dtype_of_floats, self._trace, self._model.fixed,
            lambda place, value: self._update(node.inputs[place], value), self._unbiased,
        )  # fmt: skip
        known = all_known(operands)
        handler = (FOLDED.get(node.operator) if known else None) or OPERATORS.get(node.operator)
        if handler is None:
            raise call.error("it computes with numbers that are known only when the program runs")
        with at_path(path):
            try:
                result = handler(call)
            except ModelFileError:
                raise
            except (ArithmeticError, LookupError, ValueError, TypeError, MemoryError) as error:
                if isinstance(error, StriateError):
                    raise type(error)(f"{node}: {error}") from error
                raise call.error(f"cannot be applied: {error}") from error
        results = [_operand_of(one) for one in result] if isinstance(result, list | tuple) else [_operand_of(result)]
        for name, one in zip(node.outputs, results):
            if isinstance(one, Value) and one.type.size() > LARGEST_VALUE:
                raise call.error(f"its output {one.type} is larger than {LARGEST_VALUE:,} elements")
            if name:
                self._found[name] = one
        if missing := [name for name in node.outputs[len(results) :] if name]:
            raise call.error(f"its output {missing[0][:80]!r} is not computed")

    def _update(self, name: str, value: Value) -> None:
        if name in self._model.own_state():
            self._trace.update(self._model.parameter(name), value)


def _operand_of(found: object) -> Operand:
    """Return graph values unchanged, and other results as arrays (NumPy returns some 0-d arrays as scalars)."""
    return found if isinstance(found, Value) else np.asarray(found)


def _path(node: Node) -> str:
    """Return the path of the layer that a node belongs to: "layer1.conv1" for "/layer1/conv1/Conv"."""
    parts = [part for part in node.name.replace("::", "/").split("/") if part]
    return ".".join(parts[:-1] if len(parts) > 1 else parts)[:200]


def _fixed_batch(network: Network) -> int:
    """Return the batch size that the file's inputs declare, or 0 if it is symbolic or the inputs differ."""
    counts = {one.shape[0] for one in network.inputs if one.shape}
    count = counts.pop() if len(counts) == 1 else 0
    return count if isinstance(count, int) and count > 0 else 0


def _roles(network: Network) -> dict[str, Role]:
    """Return the role of each trainable initializer (LEARNED) and running statistic (BUFFER) by name.

    Initializers that are not listed are constants.
    """
    found: dict[str, Role] = {}
    for node in network.nodes:
        for place, name in enumerate(node.inputs):
            array = network.constants.get(name)
            if array is None or array.dtype.kind != "f":
                continue
            if place in _STATISTICS.get(node.operator, ()):
                found[name] = Role.BUFFER
            elif place in _WEIGHTS.get(node.operator, ()) or (node.operator in _OPERANDS and array.size > 1):
                found.setdefault(name, Role.BUFFER if name.startswith(_FIXED) else Role.LEARNED)
    return found


def known_operators() -> frozenset[str]:
    """Return the names of the supported ONNX operators."""
    return frozenset(operators.TABLE)


def load_onnx(path: Path) -> OnnxModel:
    """Load an ONNX file as a trainable module.

    If the file declares its input sizes, the graph is traced now, so that unsupported options raise their error here
    rather than in the first call. Raises ``ModelFileError`` for a damaged file, or for operators or options that are
    not supported.
    """
    network = read_network(path, known_operators())
    try:
        model = OnnxModel(network)
        types = model.input_types
        if types is not None:
            with Trace() as trace:
                model.trace(tuple(trace.input(f"x{i}" if i else "x", type) for i, type in enumerate(types)))
        model.arena()
        return model
    except StriateError as error:
        text = str(error)
        raise ModelFileError(text if text.startswith(str(path)) else f"{path}: {text}") from error
