"""Convert a parsed ONNX file to a checked list of operators, with local functions inlined.

The checks include that every name is defined once, and before it is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from striate.errors import ModelFileError
from striate.graph.value import Array
from striate.persistence.container import open_regular
from striate.persistence.onnx.messages import (
    MOST_NODES,
    Attribute,
    Function,
    GraphMessage,
    ModelMessage,
    Node,
    Reference,
    Refused,
    ValueInfo,
    model_message,
)
from striate.persistence.onnx.tensors import TensorReader

OLDEST_OPSET, NEWEST_OPSET = 7, 28
LARGEST_FILE = 1 << 31
"""Bytes. A protocol buffers message cannot be larger; external data can."""
DEEPEST_CALL = 32
_OURS = ("", "com.microsoft")


@dataclass(frozen=True)
class Network:
    """The checked network of a file: its ``nodes`` in the order of execution.

    The nodes read ``inputs``, ``constants``, and results of earlier nodes; ``outputs`` are the names of the results
    that the network returns. ``opset`` is the version of ONNX's operators, and ``producer`` the name of the framework
    that wrote the file. ``classes`` are the class names, if the file has them.
    """

    opset: int
    producer: str
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    classes: tuple[str, ...] = ()


def read_network(path: Path, known: frozenset[str]) -> Network:
    """Read and check an ONNX file; ``known`` are the names of the supported operators.

    Raises ``ModelFileError`` with the path and what is wrong with the file.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size >= LARGEST_FILE:
            raise ModelFileError(f"{path}: {size:,} bytes, more than a file of ONNX can have")
        try:
            content = stream.read()
        except (OSError, MemoryError) as error:
            raise ModelFileError(f"{path}: cannot be read: {error}") from error
    try:
        return checked(model_message(memoryview(content)), TensorReader(path.parent), known)
    except ModelFileError as error:
        text = str(error)
        cure = (
            "" if "help:" in text or "known:" in text else "\n  help: the file is damaged or hostile; export it again"
        )
        raise ModelFileError(f"{path}: {text}{cure}") from error


def checked(model: ModelMessage, tensors: TensorReader, known: frozenset[str]) -> Network:
    """Check a parsed file and return its network, with local functions replaced by their nodes.

    ``tensors`` decodes the constants, and ``known`` are the names of the supported operators. Raises ``ModelFileError``
    for other operators, and for a file that contradicts itself.
    """
    graph = model.graph
    if graph is None or (not graph.nodes and not graph.outputs):
        raise ModelFileError("not a file of ONNX: it holds no graph")
    opset = model.opsets.get("", 0) or (1 if model.ir_version < 3 else 0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ModelFileError(
            f"its operators are of opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} are read\n"
            "  help: export it again with another opset, such as 20"
        )
    nodes = tuple(_inlined(graph.nodes, _functions(model)))
    _check_operators(nodes, known)
    names = {tensor.name for tensor in graph.tensors}
    if len(names) != len(graph.tensors):
        raise ModelFileError("two initializers have the same name")
    inputs = tuple(one for one in graph.inputs if one.name not in names)
    _check_names(graph, inputs, nodes, names)
    used = {name for node in nodes for name in node.inputs} | {one.name for one in graph.outputs}
    nodes = tuple(_without_unused(node, used) for node in nodes)
    constants = {tensor.name: tensors.array(tensor) for tensor in graph.tensors if tensor.name in used}
    outputs = tuple(one.name for one in graph.outputs)
    return Network(opset, model.producer, inputs, outputs, nodes, constants, _classes(model))


def _classes(model: ModelMessage) -> tuple[str, ...]:
    """Return the class names that ``export_onnx`` wrote, or () if there is no valid list of names."""
    try:
        found = json.loads(model.properties.get("classes", "[]"))
    except (ValueError, RecursionError):
        return ()
    names = cast("list[object]", found) if isinstance(found, list) else []
    if not all(isinstance(name, str) for name in names) or len(set(cast("list[str]", names))) != len(names):
        return ()
    return tuple(cast("list[str]", names))


def _check_operators(nodes: tuple[Node, ...], known: frozenset[str]) -> None:
    unknown = {node.operator: node for node in nodes if node.domain not in _OURS or node.operator not in known}
    if unknown:
        listed = ", ".join(str(node)[:120] for node in list(unknown.values())[:8])
        raise ModelFileError(
            f"{len(unknown)} of its operators cannot be computed: {listed}\n"
            "  help: export it with another opset, or only the network, without what prepares or selects its data"
        )
    for node in nodes:
        for name, value in node.attributes.items():
            if isinstance(value, Refused | Reference):
                what = value.what if isinstance(value, Refused) else f"the reference {value.name!r} outside a function"
                raise ModelFileError(f"{node}: attribute {name!r} is {what}, which no operator here takes")


def _check_names(graph: GraphMessage, inputs: tuple[ValueInfo, ...], nodes: tuple[Node, ...], held: set[str]) -> None:
    """Check that each name is defined once, and before it is used, so the graph has no cycles."""
    defined = {one.name for one in inputs}
    if len(defined) != len(inputs):
        raise ModelFileError("two inputs have the same name")
    if not inputs:
        raise ModelFileError("the graph has no inputs")
    defined |= held
    later = {name for node in nodes for name in node.outputs}
    for node in nodes:
        for name in node.inputs:
            if name and name not in defined:
                order = (
                    "before it is computed: the graph has a loop or is not sorted"
                    if name in later
                    else "which nothing computes"
                )
                raise ModelFileError(f"{node} reads {name[:80]!r} {order}")
        for name in node.outputs:
            if name and name in defined:
                raise ModelFileError(f"{node} returns {name[:80]!r}, which is given already")
            defined.add(name)
    if not graph.outputs:
        raise ModelFileError("the graph has no outputs")
    for one in graph.outputs:
        if one.name not in defined:
            raise ModelFileError(f"output {one.name[:80]!r} is computed by nothing")


def _without_unused(node: Node, used: set[str]) -> Node:
    """Return a node without the outputs that nothing reads, such as the mask of a dropout; the first one is kept."""
    outputs = [name if name in used or not place else "" for place, name in enumerate(node.outputs)]
    while len(outputs) > 1 and not outputs[-1]:
        outputs.pop()
    return replace(node, outputs=tuple(outputs))


# Local functions

_Functions = Mapping[tuple[str, str, str], Function]


def _functions(model: ModelMessage) -> _Functions:
    found: dict[tuple[str, str, str], Function] = {}
    for function in model.functions:
        domain = "" if function.domain == "ai.onnx" else function.domain
        if (domain, function.name, function.overload) in found:
            raise ModelFileError(f"two functions are named {domain}.{function.name}"[:200])
        found[domain, function.name, function.overload] = function
    return found


def _inlined(nodes: tuple[Node, ...], functions: _Functions) -> Iterator[Node]:
    """Yield the nodes, with each call of a local function replaced by its nodes.

    Raises ``ModelFileError`` for recursive calls, and for more than 100,000 nodes.
    """
    count = 0
    stack: list[tuple[Iterator[Node], tuple[tuple[str, str, str], ...]]] = [(iter(nodes), ())]
    calls = 0
    while stack:
        current, callers = stack[-1]
        node = next(current, None)
        if node is None:
            stack.pop()
            continue
        key = (node.domain, node.operator, node.overload)
        function = functions.get(key)
        count += 1
        if count > MOST_NODES:
            raise ModelFileError(f"more than {MOST_NODES:,} nodes after its functions are inlined")
        if function is None:
            yield node
            continue
        if key in callers or len(callers) >= DEEPEST_CALL:
            raise ModelFileError(f"function {node.operator[:80]!r} calls itself, or calls are nested too deeply")
        calls += 1
        stack.append((iter(_body(node, function, calls)), (*callers, key)))


def _body(call: Node, function: Function, number: int) -> list[Node]:
    """Return a function's nodes for one call, with its names made unique and the call's attributes filled in."""
    if len(call.inputs) > len(function.inputs) or len(call.outputs) > len(function.outputs):
        raise ModelFileError(f"{call}: the function has {len(function.inputs)} inputs, the call {len(call.inputs)}")
    given = dict(zip(function.inputs, [*call.inputs, *[""] * (len(function.inputs) - len(call.inputs))]))
    names = {**given, **dict(zip(function.outputs, call.outputs))}
    prefix = f"{(call.name or call.operator)[:200]}.{number}/"

    def renamed(name: str) -> str:
        return names.get(name) or given.get(name, f"{prefix}{name[:400]}") if name else ""

    def attribute(value: Attribute) -> Attribute | None:
        if not isinstance(value, Reference):
            return value
        return call.attributes.get(value.name, function.defaults.get(value.name))

    passed = [
        Node("Identity", "", "", (given[name],), (names[name],), {}, f"{prefix}{name[:80]}")
        for name in function.outputs
        if name in given and name in names
    ]
    if passed:
        raise ModelFileError(f"{call}: the function returns its input under the same name")
    return [
        replace(
            node,
            inputs=tuple(renamed(name) for name in node.inputs),
            outputs=tuple(renamed(name) for name in node.outputs),
            attributes={
                name: found for name, value in node.attributes.items() if (found := attribute(value)) is not None
            },
            name=f"{prefix}{node.name or node.operator}"[:400],
        )
        for node in function.nodes
    ]
