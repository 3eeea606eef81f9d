"""The element types that graphs and kernels know, and how precisely a training step computes."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

from striate.errors import unknown_option


class DType(Enum):
    """The element types that graphs know."""

    float32 = "float32"
    float64 = "float64"
    int32 = "int32"
    int64 = "int64"
    uint8 = "uint8"
    bfloat16 = "bfloat16"
    """The upper half of a float32, in memory alone: no value of a graph has this type, loads widen and stores round."""

    numpy: np.dtype[Any]
    """The NumPy dtype of the same name; NumPy has no bfloat16, its bits are held as uint16."""

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype("uint16" if name == "bfloat16" else name)

    @property
    def computed(self) -> DType:
        """What elements of this type are in registers."""
        return DType.float32 if self is DType.bfloat16 else self

    @property
    def is_float(self) -> bool:
        """Whether gradients can flow through values of this type."""
        return self in (DType.float32, DType.float64)

    @property
    def short(self) -> str:
        """f32, i64, u8, bf16: as graph text prints it."""
        if self is DType.bfloat16:
            return "bf16"
        return f"{self.value.rstrip('0123456789')[0]}{8 * self.numpy.itemsize}"


class Precision(Enum):
    """Of the operands of a training step: what activations are stored as, and what contractions multiply.

    Sums, statistics, parameters, their gradients and their updates are float32 (or float64) with either.
    """

    full = "float32"
    bfloat16 = "bfloat16"


def precision_of(name: object) -> Precision:
    """The Precision of a name or a Precision; an unknown one lists the known."""
    known = [precision.value for precision in Precision]
    if not isinstance(name, Precision) and name not in known:
        raise unknown_option("precision", str(name), known)
    return Precision(name)


def round_to_bfloat16(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The nearest bfloat16 of every float32, ties to even, as float32; NaN stays NaN, denormals become zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    rounded = np.where(bits & 0x7F800000, rounded, bits & np.uint32(0x80000000)).astype(np.uint32)
    return np.where(np.isnan(x), np.float32(np.nan), rounded.view(np.float32)).reshape(np.shape(x))


KNOWN = tuple(name for name in DType.__members__ if name != "bfloat16")
"""The names of the types that values have."""


def dtype_of(name: object) -> DType:
    """The DType for a name, a NumPy dtype or a DType; an unknown one lists the known."""
    if isinstance(name, DType):
        return name
    text = name if isinstance(name, str) else np.dtype(name).name  # pyright: ignore[reportArgumentType, reportCallIssue]
    if text not in KNOWN:
        raise unknown_option("dtype", text, KNOWN)
    return DType[text]
