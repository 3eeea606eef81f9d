"""The messages of an ONNX file (onnx.proto) that networks need, parsed into dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from striate.errors import ModelFileError
from striate.graph.value import Array
from striate.persistence.onnx.wire import Field, fields

MOST_NODES = 100_000
MOST_ITEMS = 100_000
"""The most initializers, names or attributes in one message."""
MOST_AXES = 32


@dataclass(frozen=True)
class Tensor:
    """A tensor as the file stores it, not yet decoded; ``onnx.tensors`` converts it to an array.

    ``kind`` is the number of its element type, a TensorProto.DataType. The data are in ``raw`` (little-endian bytes),
    in ``numbers`` (a typed field), or in another file that ``external`` describes.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    raw: memoryview | None
    numbers: Array | None
    external: Mapping[str, str] | None


@dataclass(frozen=True)
class Reference:
    """Stands for an attribute in a local function whose value is the attribute ``name`` of the calling node."""

    name: str


@dataclass(frozen=True)
class Refused:
    """Stands for an attribute of an unsupported kind, such as a graph; ``what`` describes it in the error message."""

    what: str


Attribute = float | int | str | Tensor | tuple[float, ...] | tuple[int, ...] | tuple[str, ...] | Reference | Refused


@dataclass(frozen=True)
class Node:
    """One operator application: names of its inputs and outputs, and its attributes.

    ``domain`` is the namespace of the operator, "" for ONNX's own; ``overload`` distinguishes local functions of the
    same name.
    """

    operator: str
    domain: str
    overload: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    name: str

    def __str__(self) -> str:
        kind = f"{self.domain}.{self.operator}" if self.domain else self.operator
        return f'{kind} at "{(self.name or next(iter(self.outputs), ""))[:120]}"'


@dataclass(frozen=True)
class ValueInfo:
    """The declared type of a graph input or output.

    ``kind`` is the number of the element type, a TensorProto.DataType. A size in ``shape`` is an int, the name of a
    symbolic size, or "" if unknown; ``shape`` is None if it is not declared.
    """

    name: str
    kind: int
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Function:
    """A local function of the file: a list of nodes that other nodes call by name, like an operator.

    ``inputs`` and ``outputs`` are the names that its nodes use for the operands and results; ``overload`` distinguishes
    functions of the same name. ``defaults`` are the attributes that a call may omit, and ``opsets`` the opset version
    of each domain that its nodes use.
    """

    name: str
    domain: str
    overload: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    defaults: Mapping[str, Attribute]
    opsets: Mapping[str, int]


@dataclass(frozen=True)
class GraphMessage:
    """The network of a file: its nodes in order, constants (``tensors``, ONNX's initializers), inputs and outputs."""

    name: str
    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]


@dataclass
class ModelMessage:
    """The contents of an ONNX file: its graph, local functions, and metadata.

    ``opsets`` has the opset version of each domain of operators, ``producer`` the name of the framework that wrote the
    file, and ``properties`` the metadata by name.
    """

    ir_version: int = 0
    producer: str = ""
    graph: GraphMessage | None = None
    opsets: dict[str, int] = field(default_factory=dict[str, int])
    properties: dict[str, str] = field(default_factory=dict[str, str])
    functions: list[Function] = field(default_factory=list[Function])


@dataclass
class _Budget:
    """The number of nodes that the file may still contain, over its graph and all functions."""

    nodes: int = MOST_NODES


def model_message(content: memoryview) -> ModelMessage:
    """Parse an ONNX file, given as bytes; raises ``ModelFileError`` if it is malformed or too large."""
    found, budget = ModelMessage(), _Budget()
    for one in fields(content):
        match one.key:
            case 1:
                found.ir_version = one.signed()
            case 2:
                found.producer = one.text()
            case 7:
                if found.graph is not None:
                    raise ModelFileError("the file holds two graphs")
                found.graph = _graph(one.message(), budget)
            case 8:
                _opset(one.message(), found.opsets)
            case 14:
                key, value = _entry(one.message(), 1 << 20)
                found.properties[key] = value
            case 25:
                found.functions.append(_function(one.message(), budget))
            case _:
                pass
        _limit(len(found.properties) + len(found.functions) + len(found.opsets))
    return found


def _limit(count: int) -> None:
    if count > MOST_ITEMS:
        raise ModelFileError(f"more than {MOST_ITEMS:,} items in one message")


def _opset(message: memoryview, into: dict[str, int]) -> None:
    domain, version = "", 0
    for one in fields(message):
        if one.key == 1:
            domain = one.text()
        elif one.key == 2:
            version = one.signed()
    domain = "" if domain == "ai.onnx" else domain
    if into.setdefault(domain, version) != version:
        raise ModelFileError(f"the operators of {domain or 'ONNX'} are imported in two versions")


def _entry(message: memoryview, longest: int) -> tuple[str, str]:
    key, value = "", b""
    for one in fields(message):
        if one.key == 1:
            key = one.text()
        elif one.key == 2:
            if len(one.message()) > longest:
                raise ModelFileError(f"property {key!r} has {len(one.data):,} bytes")
            value = bytes(one.data)
    return key, value.decode("utf-8", "replace")


def _graph(message: memoryview, budget: _Budget) -> GraphMessage:
    name = ""
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    inputs: list[ValueInfo] = []
    outputs: list[ValueInfo] = []
    for one in fields(message):
        match one.key:
            case 1:
                nodes.append(_node(one.message(), budget))
            case 2:
                name = one.text()
            case 5:
                tensors.append(tensor_message(one.message()))
            case 11:
                inputs.append(_value_info(one.message()))
            case 12:
                outputs.append(_value_info(one.message()))
            case 15:
                raise ModelFileError("the graph holds sparse tensors, which are not read")
            case _:
                pass
        _limit(len(tensors) + len(inputs) + len(outputs))
    return GraphMessage(name, tuple(nodes), tuple(tensors), tuple(inputs), tuple(outputs))


def _function(message: memoryview, budget: _Budget) -> Function:
    texts: dict[int, str] = {}
    lists: dict[int, list[str]] = {4: [], 5: []}
    nodes: list[Node] = []
    defaults: dict[str, Attribute] = {}
    opsets: dict[str, int] = {}
    for one in fields(message):
        match one.key:
            case 1 | 10 | 13:
                texts[one.key] = one.text()
            case 4 | 5:
                lists[one.key].append(one.text())
            case 7:
                nodes.append(_node(one.message(), budget))
            case 9:
                _opset(one.message(), opsets)
            case 11:
                key, value = _attribute(one.message())
                defaults[key] = value
            case _:
                pass
        _limit(len(lists[4]) + len(lists[5]) + len(defaults))
    return Function(
        texts.get(1, ""), texts.get(10, ""), texts.get(13, ""), tuple(lists[4]), tuple(lists[5]), tuple(nodes),
        defaults, opsets,
    )  # fmt: skip


def _node(message: memoryview, budget: _Budget) -> Node:
    budget.nodes -= 1
    if budget.nodes < 0:
        raise ModelFileError(f"more than {MOST_NODES:,} nodes")
    texts: dict[int, str] = {}
    lists: dict[int, list[str]] = {1: [], 2: []}
    attributes: dict[str, Attribute] = {}
    for one in fields(message):
        match one.key:
            case 1 | 2:
                lists[one.key].append(one.text())
            case 3 | 4 | 7 | 8:
                texts[one.key] = one.text()
            case 5:
                key, value = _attribute(one.message())
                if key in attributes:
                    raise ModelFileError(f"attribute {key[:80]!r} is given twice")
                attributes[key] = value
            case _:
                pass
        _limit(len(lists[1]) + len(lists[2]) + len(attributes))
    domain = texts.get(7, "")
    return Node(
        texts.get(4, ""), "" if domain == "ai.onnx" else domain, texts.get(8, ""), tuple(lists[1]), tuple(lists[2]),
        attributes, texts.get(3, ""),
    )  # fmt: skip


_SINGLE = {1: 2, 2: 3, 3: 4, 4: 5}
"""AttributeProto.type → the number of the field with the value: a float, an int, a string, a tensor."""
_REPEATED = {6: 7, 7: 8, 8: 9}


def _attribute(message: memoryview) -> tuple[str, Attribute]:
    name, kind, reference = "", 0, ""
    found: dict[int, list[Field]] = {}
    for one in fields(message):
        match one.key:
            case 1:
                name = one.text()
            case 20:
                kind = one.signed()
            case 21:
                reference = one.text()
            case _:
                found.setdefault(one.key, []).append(one)
    if reference:
        return name, Reference(reference)
    kind = kind or next((key for key, place in (_SINGLE | _REPEATED).items() if place in found), 0)  # IR 1 has no types
    if kind in _SINGLE:
        return name, _single(kind, found.get(_SINGLE[kind], []))
    if kind in _REPEATED:
        return name, _repeated(kind, found.get(_REPEATED[kind], []))
    what = {5: "a graph", 9: "tensors", 10: "graphs", 11: "a sparse tensor"}.get(kind, f"of the unknown type {kind}")
    return name, Refused(what)


def _single(kind: int, found: list[Field]) -> Attribute:
    if not found:
        return (0.0, 0, "", Refused("an empty tensor"))[kind - 1]
    last = found[-1]
    match kind:
        case 1:
            return last.float()
        case 2:
            return last.signed()
        case 3:
            return _bytes_text(last)
        case _:
            return tensor_message(last.message())


def _repeated(kind: int, found: list[Field]) -> Attribute:
    if kind == 8:
        return tuple(_bytes_text(one) for one in found)
    parts = [one.floats("<f4") if kind == 6 else one.numbers() for one in found]
    if sum(map(len, parts)) > 1_000_000:
        raise ModelFileError("an attribute of more than a million numbers")
    return cast("tuple[float, ...] | tuple[int, ...]", tuple(number for part in parts for number in part.tolist()))


def _bytes_text(one: Field) -> str:
    """Decode a string attribute, which is stored as bytes that need not be valid UTF-8."""
    return bytes(one.message()[:100_000]).decode("utf-8", "replace")


def tensor_message(message: memoryview) -> Tensor:
    """Parse the bytes of a TensorProto; the field ``raw`` of the result is a view of these bytes, not a copy.

    Raises ``ModelFileError`` if the message is malformed.
    """
    name, kind, location = "", 0, 0
    shape: list[int] = []
    raw: memoryview | None = None
    parts: list[Array] = []
    external: dict[str, str] = {}
    for one in fields(message):
        match one.key:
            case 1:
                shape += one.numbers().tolist()
            case 2:
                kind = one.signed()
            case 3:
                raise ModelFileError("a tensor in segments is not read")
            case 4:
                parts.append(one.floats("<f4"))
            case 5 | 7 | 11:
                parts.append(one.numbers())
            case 6:
                raise ModelFileError("a tensor of texts is not read")
            case 8:
                name = one.text()
            case 9:
                raw = one.message()
            case 10:
                parts.append(one.floats("<f8"))
            case 13:
                key, value = _entry(one.message(), 4096)
                external[key] = value
            case 14:
                location = one.signed()
            case _:
                pass
        if len(shape) > MOST_AXES or any(size < 0 or size >= 2**62 for size in shape) or len(external) > 16:
            raise ModelFileError(f"tensor {name[:80]!r} has the shape {str(shape)[:200]}")
    numbers = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else None
    return Tensor(name, kind, tuple(shape), raw, numbers, external if location == 1 else None)


def _value_info(message: memoryview) -> ValueInfo:
    name, kind = "", 0
    shape: tuple[int | str, ...] | None = None
    for one in fields(message):
        if one.key == 1:
            name = one.text()
        elif one.key == 2:
            for type_field in fields(one.message()):
                if type_field.key != 1:
                    continue  # sequences, maps and optionals: the kind stays 0, which is refused
                for part in fields(type_field.message()):
                    if part.key == 1:
                        kind = part.signed()
                    elif part.key == 2:
                        shape = _shape(part.message())
    return ValueInfo(name, kind, shape)


def _shape(message: memoryview) -> tuple[int | str, ...]:
    found: list[int | str] = []
    for one in fields(message):
        if one.key == 1:
            size: int | str = ""
            for part in fields(one.message()):
                if part.key == 1:
                    size = part.signed()
                elif part.key == 2:
                    size = part.text()
            found.append(size)
        if len(found) > MOST_AXES:
            raise ModelFileError(f"a shape of more than {MOST_AXES} axes")
    return tuple(found)
