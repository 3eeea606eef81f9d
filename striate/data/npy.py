"""Read arrays in NumPy's .npy format, and check the declared shape before memory is allocated.

    magic      "\\x93NUMPY", then the version: 1.0, 2.0 or 3.0
    length     of the header: 2 bytes, little-endian; 4 from version 2.0 on
    header     {'descr': '<f4', 'fortran_order': False, 'shape': (20, 3), }
    elements   in row-major order, or column-major if fortran_order is True

Elements are numbers or text of a fixed length. Python objects, which are pickled, and records are refused.
"""

from __future__ import annotations

import math
import re
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from striate.errors import DataError

_MAGIC = b"\x93NUMPY"
_LONGEST = 10_000
_MOST_AXES = 32
_PIECE = 1 << 20
_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<kind>[<>|=]?[a-zA-Z?]\d{0,9}(?:\[\w{1,9}\])?)',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>\s*(?:\d{1,19}L?\s*,\s*)*(?:\d{1,19}L?\s*)?)\),?\s*\}\s*"
)
_OBJECTS = (
    "it holds pickled objects, which can run code\n"
    "  help: save numbers, such as np.save(path, np.stack(arrays)); series of several lengths go into a .ts"
)


def read_npy(stream: IO[bytes], size: int, where: str) -> npt.NDArray[Any]:
    """Return the array in a .npy file.

    ``stream`` is open at the beginning of the file, which has ``size`` bytes; ``where`` is its name in messages. Raises
    ``DataError`` for a damaged header, a shape that does not fit the size, and elements that are not numbers or text.
    """

    def refused(problem: str) -> DataError:
        return DataError(f"{where}: not an array that can be read: {problem}")

    start = stream.read(8)
    if len(start) < 8 or not start.startswith(_MAGIC) or start[6] not in (1, 2, 3):
        raise refused("it is damaged, or of another format")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > min(_LONGEST, size):
        raise refused(f"its header has {length:,} bytes")
    text = stream.read(length).decode("utf-8" if start[6] == 3 else "latin-1", "replace")
    found = _HEADER.fullmatch(text)
    if found is None:
        raise refused(_OBJECTS if "'|O'" in text else f"its header is damaged, or describes records: {text[:80]!r}")
    try:
        kind = np.dtype(found["kind"])
    except (TypeError, ValueError) as error:
        raise refused(str(error)) from error
    if kind.hasobject:
        raise refused(_OBJECTS)
    shape = tuple(int(one.rstrip("L")) for one in re.findall(r"\d+L?", found["shape"]))
    count, left = math.prod(shape), size - 8 - width - length
    if len(shape) > _MOST_AXES or count * kind.itemsize > left:
        raise refused(f"{kind} {shape} are {count * kind.itemsize:,} bytes, and {left:,} follow the header")
    if kind.itemsize == 0 and count > size:
        raise refused(f"{count:,} empty texts")
    content = bytearray()
    while len(content) < count * kind.itemsize:
        piece = stream.read(min(_PIECE, count * kind.itemsize - len(content)))
        if not piece:
            raise refused("it ends early")
        content += piece
    if kind.itemsize == 0:
        return np.zeros(shape, kind)
    order = "F" if found["fortran"] == "True" else "C"
    return np.frombuffer(content, kind).reshape(shape, order=order)
