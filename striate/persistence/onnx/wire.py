"""Parse the wire format of protocol buffers, with all lengths checked.

    message    a sequence of fields
    field      varint (number · 8 + kind), then by kind: 0 a varint, 1 eight bytes, 2 a length and as many bytes,
               5 four bytes
    varint     7 bits per byte, lowest bits first; the highest bit is set if another byte follows

A message is a range of the file's bytes, and its fields are views of that range, so nothing is copied. A length that
exceeds the message is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from striate.errors import ModelFileError
from striate.graph.value import Array

LONGEST_TEXT = 2000


class Field(NamedTuple):
    """One field of a message; its value is ``number`` for a varint (kind 0), and the bytes ``data`` otherwise.

    ``key`` is the number of the field in the .proto file. A method raises ``ModelFileError`` if the field has another
    kind than it reads, or invalid bytes.
    """

    key: int
    kind: int
    number: int
    data: memoryview

    def signed(self) -> int:
        """Return a varint as a signed 64-bit integer (int64 or int32 in the .proto file)."""
        self._require(0)
        return self.number - (1 << 64) if self.number >= 1 << 63 else self.number

    def float(self) -> float:
        """Return a 4-byte field as a float."""
        self._require(5)
        return struct.unpack("<f", self.data)[0]

    def message(self) -> memoryview:
        """Return the bytes of a nested message or of a bytes field, as a view."""
        self._require(2)
        return self.data

    def text(self) -> str:
        """Return a UTF-8 string of at most ``LONGEST_TEXT`` bytes."""
        self._require(2)
        if len(self.data) > LONGEST_TEXT:
            raise ModelFileError(f"a text of {len(self.data):,} bytes; the limit is {LONGEST_TEXT:,}")
        try:
            return bytes(self.data).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelFileError("a text is not UTF-8") from error

    def numbers(self) -> Array:
        """Return the varints in the field, a single one or a packed sequence, as an int64 vector."""
        if self.kind == 0:
            return np.array([self.signed()], np.int64)
        return varints(self.message())

    def floats(self, dtype: str) -> Array:
        """Return the floats in the field, a single one or a packed sequence, as a vector of ``dtype``.

        ``dtype`` is "<f4" or "<f8", the type in which the file stores them.
        """
        size = np.dtype(dtype).itemsize
        if self.kind not in (2, 5 if size == 4 else 1) or len(self.data) % size:
            raise ModelFileError(f"field {self.key} does not hold numbers of {size} bytes")
        return np.frombuffer(self.data, dtype)

    def _require(self, kind: int) -> None:
        if self.kind != kind:
            raise ModelFileError(f"field {self.key} is of kind {self.kind}, expected {kind}")


_NOTHING = memoryview(b"")


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in order; raises ``ModelFileError`` if it is malformed."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        key, kind = tag >> 3, tag & 7
        number, length = 0, 0
        if kind == 0:
            number, position = _varint(message, position)
        elif kind == 1:
            length = 8
        elif kind == 2:
            length, position = _varint(message, position)
        elif kind == 5:
            length = 4
        else:
            raise ModelFileError(f"field {key} is of the unknown kind {kind}")
        if key == 0 or length > end - position:
            raise ModelFileError(f"field {key} claims {length:,} bytes, {end - position:,} are left")
        yield Field(key, kind, number, message[position : position + length] if length else _NOTHING)
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    found = 0
    for count in range(10):
        if position + count >= len(message):
            raise ModelFileError("a number ends early")
        byte = message[position + count]
        found |= (byte & 127) << 7 * count
        if byte < 128:
            return found & (1 << 64) - 1, position + count + 1
    raise ModelFileError("a number has more than 10 bytes")


def varints(content: memoryview) -> npt.NDArray[np.int64]:
    """Decode the bytes ``content``, packed varints, to an int64 vector.

    Raises ``ModelFileError`` for a number that is cut off or has more than 10 bytes.
    """
    data = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(data < 128)
    if not len(ends):
        if len(data):
            raise ModelFileError("a number ends early")
        return np.empty(0, np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if ends[-1] != len(data) - 1 or lengths.max() > 10:
        raise ModelFileError("a number ends early, or has more than 10 bytes")
    found = np.zeros(len(ends), np.uint64)
    for place in range(int(lengths.max())):
        there = lengths > place
        bits = (data[starts[there] + place] & 127).astype(np.uint64) << np.uint64(7 * place)
        found[there] |= bits
    return found.view(np.int64)
