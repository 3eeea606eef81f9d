"""The element types of model files, and the conversion of their bytes to NumPy arrays."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.graph.value import Array


class Element(Enum):
    """An element type of a tensor in a model file; the enum's value is its NumPy name."""

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
    """The NumPy dtype used to read the bytes. NumPy has no bfloat16, so its bits are read as uint16."""

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype("uint16" if name == "bfloat16" else name)

    @property
    def size(self) -> int:
        """The size of one element in bytes."""
        return self.numpy.itemsize

    def decoded(self, content: npt.NDArray[np.uint8], little: bool = True) -> Array:
        """Return the numbers in ``content``, the bytes of a file, as a one-dimensional array in native byte order.

        bfloat16 becomes float32; all other types are kept. ``little`` says whether the bytes are little-endian.
        """
        stored = content.view(self.numpy.newbyteorder("<" if little else ">"))
        numbers = stored.astype(self.numpy, copy=False)
        if self is Element.bool:
            return content != 0  # NumPy's bool must be 0 or 1
        if self is Element.bfloat16:
            return (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return numbers
