"""Decode the tensors of ONNX files to arrays, from the file itself or from a data file next to it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import final

import numpy as np

from striate.errors import ModelFileError
from striate.graph.value import Array
from striate.persistence.element import Element
from striate.persistence.onnx.messages import Tensor

KINDS = {
    1: Element.float32, 2: Element.uint8, 3: Element.int8, 4: Element.uint16, 5: Element.int16, 6: Element.int32,
    7: Element.int64, 9: Element.bool, 10: Element.float16, 11: Element.float64, 12: Element.uint32,
    13: Element.uint64, 16: Element.bfloat16,
}  # fmt: skip
"""TensorProto.DataType → the element type, for the supported types."""

_OTHERS = {8: "string", 14: "complex64", 15: "complex128", 17: "float8e4m3fn", 21: "uint4", 22: "int4"}


def element_of(kind: int, what: str) -> Element:
    """Return the element type with the number ``kind`` (TensorProto.DataType).

    Raises ``ModelFileError`` for an unsupported type; ``what`` names the tensor in the message.
    """
    if kind not in KINDS:
        known = ", ".join(element.value for element in KINDS.values())
        raise ModelFileError(f"{what} has the type {_OTHERS.get(kind, str(kind))}\n  known: {known}")
    return KINDS[kind]


@final
class TensorReader:
    """Decodes tensors of an ONNX file to arrays.

    External data, that is, tensors in files of their own, must be in ``folder``. If ``folder`` is None, external data
    raise ``ModelFileError``.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def array(self, tensor: Tensor) -> Array:
        """Return the tensor as an array, after checking its shape against the number of bytes.

        Raises ``ModelFileError`` if the shape does not fit the bytes, the element type is not supported, or external
        data do not lie in ``folder``.
        """
        what = f"tensor {tensor.name[:80]!r}"
        element = element_of(tensor.kind, what)
        count = math.prod(tensor.shape)
        if tensor.external is not None:
            return self._external(tensor, element, count, what)
        if tensor.raw is not None:
            self._require(len(tensor.raw), count * element.size, tensor, what)
            return element.decoded(np.frombuffer(tensor.raw, np.uint8)).reshape(tensor.shape)
        numbers = np.empty(0, element.numpy) if tensor.numbers is None else tensor.numbers
        if len(numbers) != count:
            raise ModelFileError(f"{what} of shape {tensor.shape} holds {len(numbers):,} numbers, expected {count:,}")
        return _narrowed(numbers, element).reshape(tensor.shape)

    def _require(self, found: int, expected: int, tensor: Tensor, what: str) -> None:
        if found != expected:
            raise ModelFileError(f"{what} of shape {tensor.shape} holds {found:,} bytes, expected {expected:,}")

    def _external(self, tensor: Tensor, element: Element, count: int, what: str) -> Array:
        assert tensor.external is not None
        location = tensor.external.get("location", "")
        path = self._inside(location, what)
        offset, length = (_whole(tensor.external, key, what) for key in ("offset", "length"))
        size = path.stat().st_size
        offset = offset or 0
        expected = count * element.size
        self._require(size - offset if length is None else length, expected, tensor, what)
        if offset + expected > size:
            raise ModelFileError(
                f"{what}: its data end at byte {offset + expected:,} of {path.name}, which has {size:,}"
            )
        with path.open("rb") as stream:
            stream.seek(offset)
            content = np.fromfile(stream, np.uint8, expected)
        if len(content) != expected:
            raise ModelFileError(f"{what}: {path.name} became shorter while it was read")
        return element.decoded(content).reshape(tensor.shape)

    def _inside(self, location: str, what: str) -> Path:
        """Return the path of a regular file in the ONNX file's folder; raises ``ModelFileError`` otherwise.

        Absolute paths, "..", and symbolic links are refused.
        """
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        outside = posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts)
        if self._folder is None or outside or not location or "\0" in location or len(location) > 1000:
            raise ModelFileError(
                f"{what}: its data lie in {location[:80]!r}, which is refused\n"
                "  help: external data must be files in the folder of the ONNX file"
            )
        folder = self._folder
        path = folder / location
        steps = [folder.joinpath(*posix.parts[: place + 1]) for place in range(len(posix.parts))]
        if any(step.is_symlink() for step in steps):
            raise ModelFileError(f"{what}: its data lie behind the link {location[:80]!r}, which is refused")
        try:
            regular = path.is_file() and os.stat(path, follow_symlinks=False).st_nlink >= 1
        except (OSError, ValueError):
            regular = False
        if not regular:
            raise ModelFileError(f"{what}: its data lie in {location[:80]!r}, which is not a file beside the ONNX file")
        return path


def _narrowed(numbers: Array, element: Element) -> Array:
    """Convert the numbers of a typed field (int32_data, float_data, …) to the tensor's element type.

    float16 and bfloat16 are stored there as the integers with the same bits.
    """
    if element in (Element.float16, Element.bfloat16):
        bits = numbers.astype(np.uint16)
        return element.decoded(bits.view(np.uint8), little=np.little_endian)
    if element is Element.uint64:
        return numbers.view(np.uint64)
    return numbers.astype(element.numpy)


def _whole(entries: Mapping[str, str], key: str, what: str) -> int | None:
    """Return the non-negative integer under ``key``, or None if it is missing; raises ``ModelFileError``."""
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelFileError(f"{what}: {key} {str(text)[:40]!r} is not a whole number")
    return int(text)
