"""Convert graphs to JSON and back, without executing anything from the file.

    {"nodes": [{"op": "Convolution", "fields": {"stride": {"tuple": [1, 1]}, …}, "inputs": [[0, 0], [3, 0]],
                "path": "conv1"}, …],
     "inputs": ["x"], "outputs": {"out": [17, 0]}, "captured": ["constant.0"]}

The input [3, 0] is output 0 of node 3, which must precede the node that reads it. ``captured`` names the arrays that
``forward`` closed over. Operations are looked up by name in the registry, and each field must have the type that the
operation's class declares for it.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from striate.dtypes import KNOWN
from striate.errors import GraphError, ModelFileError, StriateError, unknown_option
from striate.graph.check import check
from striate.graph.graph import Graph, Input
from striate.graph.op import Node, Op, registry
from striate.graph.value import Array, Batch, DType, N, TensorType, Value
from striate.ops import (
    activation,
    adaptive,
    convolution,
    linear,
    loss,
    matmul,
    movement,
    normalization,
    padding,
    pixel_shuffle,
    pooling,
    random,
    reduction,
    resampling,
    shaping,
)
from striate.persistence.container import LONGEST_NAME, list_of, names_of, numbers_of, object_of

FAMILIES = (
    activation, adaptive, convolution, linear, loss, matmul, movement, normalization, padding, pixel_shuffle, pooling,
    random, reduction, resampling, shaping,
)  # fmt: skip
"""Importing these modules registers the operations that a file may name."""

MOST_NODES = 100_000
LARGEST_VALUE = 2**33
"""The most elements that one value may have for one sample: 32 GiB in float32, far more than any known network."""


# Writing


def graph_document(graph: Graph) -> dict[str, object]:
    """Return the graph as dicts, lists, numbers and strings that ``json`` can write.

    Raises ``ModelFileError`` for an operation that is not registered, or a field whose type cannot be stored.
    """
    nodes = graph.nodes
    place = {value: [index, value.index] for index, node in enumerate(nodes) for value in node.outputs}
    known = registry()
    for node in nodes:
        if known.get(type(node.op).__name__) is not type(node.op):
            raise ModelFileError(
                f"operation {type(node.op).__name__} at {node.path!r} is not registered, so no file can name it\n"
                "  help: put @register above its class"
            )
    return {
        "nodes": [
            {
                "op": type(node.op).__name__,
                "fields": {f.name: _encoded(getattr(node.op, f.name), f"{node.op}.{f.name}") for f in fields(node.op)},
                "inputs": [place[value] for value in node.inputs],
                "path": node.path,
            }
            for node in nodes
        ],
        "inputs": list(graph.given()),
        "outputs": {name: place[value] for name, value in graph.outputs.items()},
        "captured": [name for node in nodes if (name := _name(node)) in graph.captured],
    }


def _name(node: Node) -> str:
    return node.op.name if isinstance(node.op, Input) else ""


def _encoded(value: object, where: str) -> object:
    """Return numbers, strings, None and booleans unchanged, and other values as {kind: content}."""
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Batch):
        return {"batch": "N"}
    if isinstance(value, TensorType):
        return {"type": [value.dtype.value, _encoded(value.shape, where)]}
    if isinstance(value, DType):
        return {"dtype": value.value}
    if isinstance(value, Enum):
        return {"enum": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(one, where) for one in cast("tuple[object, ...]", value)]}
    raise ModelFileError(f"{where}: a {type(value).__name__} cannot be saved; use numbers, texts, enums and tuples")


# Reading


def graph_from_document(document: object, captured: Mapping[str, Array], where: str) -> Graph:
    """Build and check the graph of ``document``, a result of ``graph_document`` that was read from JSON.

    ``captured`` has the arrays to which the document refers, by name. Raises ``ModelFileError``, whose message begins
    with ``where`` and names the faulty part of the document.
    """
    entries = _exactly(document, {"nodes", "inputs", "outputs", "captured"}, where)
    listed = list_of(entries["nodes"], f"{where}: nodes")
    if len(listed) > MOST_NODES:
        raise ModelFileError(f"{where}: {len(listed):,} nodes; the limit is {MOST_NODES:,}")
    nodes: list[Node] = []
    for index, entry in enumerate(listed):
        nodes.append(_node(entry, nodes, f"{where}: node {index}"))
    sources: dict[str, Value] = {}
    for node in nodes:
        if isinstance(node.op, Input):
            if node.op.name in sources:
                raise ModelFileError(f"{where}: two inputs are named {node.op.name[:80]!r}")
            sources[node.op.name] = node.outputs[0]
    inputs = names_of(entries["inputs"], f"{where}: inputs")
    if missing := [name for name in inputs if name not in sources or type(sources[name].node.op) is not Input]:
        raise ModelFileError(f"{where}: input {missing[0][:80]!r} is not a node")
    outputs = {
        name: _value(reference, nodes, f"{where}: output {name[:80]!r}")
        for name, reference in object_of(entries["outputs"], f"{where}: outputs").items()
    }
    if not outputs or not inputs:
        raise ModelFileError(f"{where}: a graph needs inputs and outputs")
    closed_over = names_of(entries["captured"], f"{where}: captured")
    if missing := [name for name in closed_over if name not in captured]:
        raise ModelFileError(f"{where}: tensor {missing[0][:80]!r} is missing")
    held = {name: captured[name] for name in closed_over}
    for name, value in sources.items():
        if type(value.node.op) is Input and name not in inputs and name not in held:
            raise ModelFileError(f"{where}: input {name[:80]!r} is never given")
    ordered = {name: sources[name] for name in (*inputs, *(name for name in sources if name not in inputs))}
    try:
        return check(Graph(ordered, outputs, {}, held), "load")
    except GraphError as error:
        raise ModelFileError(f"{where}: {error}") from error


def _node(entry: object, before: list[Node], where: str) -> Node:
    parts = _exactly(entry, {"op", "fields", "inputs", "path"}, where)
    name, path = parts["op"], parts["path"]
    known = registry()
    if not isinstance(name, str) or name not in known:
        listed = str(unknown_option("operation", str(name)[:80], known)).splitlines()[0]
        raise ModelFileError(
            f"{where}: {listed}\n"
            "  help: import the module that registers this operation before loading, or update striate"
        )
    if not isinstance(path, str) or len(path) > LONGEST_NAME:
        raise ModelFileError(f"{where}: its path is not a text of up to {LONGEST_NAME} characters")
    where = f"{where}, {name} at {path!r}"
    op = _operation(known[name], parts["fields"], where)
    inputs = tuple(_value(one, before, where) for one in list_of(parts["inputs"], f"{where}: inputs"))
    try:
        node = Node(op, inputs, path)
    except StriateError as error:
        raise ModelFileError(f"{where}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError, AssertionError, AttributeError) as error:
        raise ModelFileError(f"{where} cannot be applied to {len(inputs)} inputs: {error}") from error
    for value in node.outputs:
        if value.type.size() > LARGEST_VALUE:
            raise ModelFileError(f"{where}: {value.type} is larger than {LARGEST_VALUE:,} elements")
    return node


def _operation(cls: type[Op], document: object, where: str) -> Op:
    given = object_of(document, f"{where}: fields")
    declared = {f.name: f for f in fields(cls)}
    if unknown := [name for name in given if name not in declared]:
        raise ModelFileError(f"{where}: {unknown_option('field', unknown[0][:80], declared)}")
    needed = [f.name for f in declared.values() if f.default is MISSING and f.default_factory is MISSING]
    if absent := [name for name in needed if name not in given]:
        raise ModelFileError(f"{where}: field {absent[0]!r} is missing")
    hints = _hints(cls)
    decoded = {name: _decoded(value, hints[name], f"{where}: field {name!r}") for name, value in given.items()}
    try:
        return cls(**decoded)
    except (StriateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"{where}: {error}") from error


@functools.cache
def _hints(cls: type[Op]) -> dict[str, Any]:
    """Return the types of an operation's fields; evaluating them takes longer than the rest of reading a node."""
    return get_type_hints(cls)


def _decoded(document: object, hint: Any, where: str) -> Any:
    """Return the field's value if it has the declared type ``hint``; raises ``ModelFileError`` otherwise."""
    given = document
    if get_origin(hint) in (Union, types.UnionType):
        return _any_of(document, get_args(hint), where)
    if isinstance(document, dict):
        found = object_of(cast(object, document), where)
        tag, content = next(iter(found.items()), ("", None))
        if len(found) == 1 and get_origin(hint) is tuple and tag == "tuple":
            return _tuple(list_of(content, where), get_args(hint), where)
        if len(found) == 1 and isinstance(hint, type):
            return _tagged(tag, content, hint, where)
    elif isinstance(document, bool) or document is None:
        if hint is type(document):
            return document
    elif isinstance(document, int):
        if hint in (int, float) and abs(document) < 2**63:
            return hint(document)
    elif isinstance(document, float):
        if hint is float:
            return document
    elif isinstance(document, str) and hint is str and len(document) <= LONGEST_NAME:
        return document
    raise _not_a(hint, given, where)


def _any_of(document: object, hints: tuple[Any, ...], where: str) -> Any:
    for hint in hints:
        try:
            return _decoded(document, hint, where)
        except ModelFileError:
            continue
    raise _not_a(" | ".join(_hint_name(hint) for hint in hints), document, where)


def _tuple(items: list[object], hints: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(items)
    if len(hints) != len(items) or len(items) > LONGEST_NAME:
        raise ModelFileError(f"{where}: {len(items)} items, expected {len(hints)}")
    return tuple(_decoded(item, hint, where) for item, hint in zip(items, hints, strict=True))


def _tagged(tag: str, content: object, hint: type[Any], where: str) -> Any:
    if tag == "batch" and hint is Batch and content == "N":
        return N
    if tag == "float" and hint is float and content in ("inf", "-inf", "nan"):
        return float(cast(str, content))
    if tag == "dtype" and hint is DType and content in KNOWN:
        return DType[cast(str, content)]
    if tag == "enum" and issubclass(hint, Enum) and hint is not DType and content in hint.__members__:
        return hint[cast(str, content)]
    if tag == "type" and hint is TensorType:
        return _tensor_type(content, where)
    raise _not_a(hint, {tag: content}, where)


def _tensor_type(content: object, where: str) -> TensorType:
    parts = list_of(content, where)
    if len(parts) != 2 or not isinstance(parts[0], str) or parts[0] not in KNOWN:
        raise _not_a(TensorType, content, where)
    shape = _decoded(parts[1], tuple[int | Batch, ...], where)
    if any(isinstance(dim, Batch) for dim in shape[1:]) or any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise _not_a("shape with N on axis 0 alone and no negative size", parts[1], where)
    return TensorType(DType[parts[0]], shape)


def _value(reference: object, nodes: list[Node], where: str) -> Value:
    place = numbers_of(reference, where)
    if len(place) != 2 or place[0] >= len(nodes) or place[1] >= len(nodes[place[0]].outputs):
        raise ModelFileError(f"{where}: reads {list(place)[:4]}, which no earlier node computes")
    return nodes[place[0]].outputs[place[1]]


def _exactly(document: object, keys: set[str], where: str) -> dict[str, object]:
    found = object_of(document, where)
    if set(found) != keys:
        raise ModelFileError(f"{where}: expected {', '.join(sorted(keys))}, found {', '.join(sorted(found)[:8])[:200]}")
    return found


def _hint_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _not_a(hint: Any, document: object, where: str) -> ModelFileError:
    return ModelFileError(f"{where}: {str(document)[:60]} is not {_hint_name(hint)}")
