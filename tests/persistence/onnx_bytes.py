"""Write ONNX files byte by byte, independently of the package onnx, which refuses some of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

KINDS = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = bytearray()
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def whole(key: int, number: int) -> bytes:
    return varint(key << 3) + varint(number)


def message(key: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(key << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: Any, **changes: Any) -> bytes:
    """Return a TensorProto; ``changes`` replace its kind, shape or raw bytes, or add external data."""
    array = np.asarray(array)
    parts = [whole(1, size) for size in changes.get("shape", array.shape)]
    parts += [whole(2, changes.get("kind", KINDS[array.dtype.name])), message(8, name)]
    if "external" in changes:
        entries = [message(1, key) + message(2, value) for key, value in changes["external"].items()]
        return b"".join([*parts, *(message(13, entry) for entry in entries), whole(14, 1)])
    return b"".join([*parts, message(9, changes.get("raw", array.tobytes()))])


def attribute(name: str, value: Any) -> bytes:
    head = message(1, name)
    match value:
        case float():
            return head + varint(2 << 3 | 5) + struct.pack("<f", value) + whole(20, 1)
        case bool() | int():
            return head + whole(3, value) + whole(20, 2)
        case str():
            return head + message(4, value) + whole(20, 3)
        case bytes():
            return head + message(5, value) + whole(20, 4)
        case _:
            return head + b"".join(whole(8, one) for one in value) + whole(20, 7)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any) -> bytes:
    parts = [message(1, name) for name in inputs] + [message(2, name) for name in outputs]
    parts += [message(4, operator), message(7, domain), message(3, f"{operator.lower()}1")]
    parts += [
        message(5, one if isinstance(one, bytes) and one[:1] == b"\n" else attribute(name, one))
        for name, one in attributes.items()
    ]
    return b"".join(parts)


def info(name: str, shape: Sequence[int | str], kind: int = 1) -> bytes:
    dims = [message(1, whole(1, size) if isinstance(size, int) else message(2, size)) for size in shape]
    return message(1, name) + message(2, message(1, whole(1, kind) + message(2, b"".join(dims))))


def graph(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[str], tensors: Sequence[bytes] = ()
) -> bytes:
    parts = [message(1, one) for one in nodes] + [message(5, one) for one in tensors]
    parts += [message(11, one) for one in inputs] + [message(12, message(1, name)) for name in outputs]
    return message(2, "g") + b"".join(parts)


def function(
    name: str, nodes: Sequence[bytes], inputs: Sequence[str], outputs: Sequence[str], domain: str = "f"
) -> bytes:
    parts = [message(1, name), message(10, domain)]
    parts += (
        [message(4, one) for one in inputs] + [message(5, one) for one in outputs] + [message(7, one) for one in nodes]
    )
    return b"".join(parts)


def model(content: bytes, functions: Sequence[bytes] = (), opset: int = 17, producer: str = "test") -> bytes:
    parts = [whole(1, 8), message(2, producer), message(8, message(1, "") + whole(2, opset)), message(7, content)]
    return b"".join([*parts, *(message(25, one) for one in functions)])


X = info("x", ["N", 3])


def of(
    *nodes: bytes, tensors: Sequence[bytes] = (), inputs: Sequence[bytes] = (X,), output: str = "y", **options: Any
) -> bytes:
    """Return a file of these nodes, with input x of shape (N, 3) and output y."""
    return model(graph(nodes, inputs, [output], tensors), **options)
