"""The element types of graphs and kernels, and the precision of a training step."""

from __future__ import annotations

import builtins
from enum import Enum
from typing import Any

import numpy as np

from striate.errors import unknown_option


class DType(Enum):
    """An element type of arrays."""

    float32 = "float32"
    float64 = "float64"
    int32 = "int32"
    int64 = "int64"
    uint8 = "uint8"
    bool = "bool"
    """One byte, 0 or 1: the results of comparisons, and conditions."""
    bfloat16 = "bfloat16"
    """The upper half of a float32, used only in memory: loads widen and stores round. No value of a graph has it."""

    numpy: np.dtype[Any]
    """The NumPy dtype of the same name. NumPy has no bfloat16, so its bits are held as uint16."""

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype("uint16" if name == "bfloat16" else name)

    @property
    def computed(self) -> DType:
        """The type that elements of this type have in registers."""
        return DType.float32 if self is DType.bfloat16 else self

    @property
    def is_float(self) -> builtins.bool:
        """Whether gradients can flow through values of this type."""
        return self in (DType.float32, DType.float64)

    @property
    def short(self) -> str:
        """The name in graph text: f32, i64, u8, bool or bf16."""
        if self is DType.bfloat16:
            return "bf16"
        if self is DType.bool:
            return "bool"
        return f"{self.value.rstrip('0123456789')[0]}{8 * self.numpy.itemsize}"


class Precision(Enum):
    """How a training step stores activations, and the type of the factors of its contractions.

    Sums, statistics, parameters, their gradients and their updates are float32 (or float64) in either case.
    """

    full = "float32"
    bfloat16 = "bfloat16"


def precision_of(name: object) -> Precision:
    """The Precision for a name or a Precision; the error for an unknown name lists the known ones."""
    known = [precision.value for precision in Precision]
    if not isinstance(name, Precision) and name not in known:
        raise unknown_option("precision", str(name), known)
    return Precision(name)


def round_to_bfloat16(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Every float32 rounded to the nearest bfloat16, ties to even, as float32; NaN stays NaN, denormals become zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    rounded = np.where(bits & 0x7F800000, rounded, bits & np.uint32(0x80000000)).astype(np.uint32)
    return np.where(np.isnan(x), np.float32(np.nan), rounded.view(np.float32)).reshape(np.shape(x))


KNOWN = tuple(name for name in DType.__members__ if name != "bfloat16")
"""The names of the types that values can have."""


def dtype_of(name: object) -> DType:
    """The DType for a name, a NumPy dtype or a DType; the error for an unknown type lists the known ones."""
    if isinstance(name, DType):
        return name
    try:  # NumPy takes None for float64
        text = name if isinstance(name, str) or name is None else np.dtype(name).name  # pyright: ignore[reportArgumentType, reportCallIssue]
    except (TypeError, ValueError):
        text = f"{name!r:.60}"
    if not isinstance(text, str) or text not in KNOWN:
        raise unknown_option("dtype", text, KNOWN)
    return DType[text]
