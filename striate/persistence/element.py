"""The element types of files, and how their bytes become arrays that models take."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.graph.value import Array


class Element(Enum):
    """An element type that a file may hold; the value is its NumPy name."""

    float64 = "float64"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    int64 = "int64"
    int32 = "int32"
    int16 = "int16"
    int8 = "int8"
    uint64 = "uint64"
    uint32 = "uint32"
    uint16 = "uint16"
    uint8 = "uint8"
    bool = "bool"

    numpy: np.dtype[Any]
    """The NumPy dtype in which the bytes are read. NumPy has no bfloat16, so its bits are read as uint16."""

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype("uint16" if name == "bfloat16" else name)

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    def decoded(self, content: npt.NDArray[np.uint8], little: bool = True) -> Array:
        """The numbers of these bytes, in one axis: bfloat16 becomes float32, all else keeps its type."""
        stored = content.view(self.numpy.newbyteorder("<" if little else ">"))
        numbers = stored.astype(self.numpy, copy=False)
        if self is Element.bool:
            return content != 0  # a byte that is neither 0 nor 1 is no bool of NumPy
        if self is Element.bfloat16:
            return (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return numbers
