"""The element types of graphs and kernels, and the precision of a training step."""

from __future__ import annotations

import builtins
from enum import Enum
from typing import Any

import numpy as np

from striate.errors import unknown_option


class DType(Enum):
    """The element type of an array, graph value or kernel operand, such as ``DType.float32``."""

    float32 = "float32"
    float64 = "float64"
    int32 = "int32"
    int64 = "int64"
    uint8 = "uint8"
    bool = "bool"
    """One byte that is 0 or 1: the type of conditions and of the results of comparisons."""
    bfloat16 = "bfloat16"
    """The upper half of a float32.

    Only arrays in memory have it: loads widen it to float32, stores round to it. No value of a graph has this type.
    """

    numpy: np.dtype[Any]
    """The NumPy dtype of the same name; uint16 for bfloat16, which NumPy lacks."""

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype("uint16" if name == "bfloat16" else name)

    @property
    def computed(self) -> DType:
        """The type in which kernels compute: float32 for bfloat16, for all others the type itself."""
        return DType.float32 if self is DType.bfloat16 else self

    @property
    def is_float(self) -> builtins.bool:
        """Whether this is float32 or float64; only values of these types have gradients."""
        return self in (DType.float32, DType.float64)

    @property
    def short(self) -> str:
        """The abbreviation in the printed form of graphs: f32, f64, i32, i64, u8, bool or bf16."""
        if self is DType.bfloat16:
            return "bf16"
        if self is DType.bool:
            return "bool"
        return f"{self.value.rstrip('0123456789')[0]}{8 * self.numpy.itemsize}"


class Precision(Enum):
    """How a training step stores activations: as float32 (or float64), or as bfloat16.

    In bfloat16, most convolutions and matrix products also round their operands to bfloat16. Sums, statistics,
    parameters, their gradients and their updates are float32 (or float64) in either case.
    """

    full = "float32"
    bfloat16 = "bfloat16"


def precision_of(name: object) -> Precision:
    """Return the ``Precision`` for its name, "float32" or "bfloat16".

    A ``Precision`` is returned unchanged. Raises ``OptionError``, which lists the known names, for anything else.
    """
    known = [precision.value for precision in Precision]
    if not isinstance(name, Precision) and name not in known:
        raise unknown_option("precision", str(name), known)
    return Precision(name)


def round_to_bfloat16(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Round every element of x to the nearest bfloat16; return a float32 array of the same shape.

    Ties are rounded to even. NaN stays NaN. Denormal numbers become zero of the same sign.
    """
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    rounded = np.where(bits & 0x7F800000, rounded, bits & np.uint32(0x80000000)).astype(np.uint32)
    return np.where(np.isnan(x), np.float32(np.nan), rounded.view(np.float32)).reshape(np.shape(x))


KNOWN = tuple(name for name in DType.__members__ if name != "bfloat16")
"""The names of the types that values of a graph can have: all but bfloat16."""


NATIVE = {np.dtype(name): DType[name] for name in KNOWN}
"""The same types by their NumPy dtypes in this machine's byte order. (``np.dtype.name`` takes microseconds.)"""


def dtype_of(name: object) -> DType:
    """Return the ``DType`` for its name or a NumPy dtype; a ``DType`` is returned unchanged.

    Raises ``OptionError``, which lists the known names, for an unknown type, and for None and "bfloat16".
    """
    if isinstance(name, DType):
        return name
    if isinstance(name, np.dtype) and name in NATIVE:
        return NATIVE[name]
    try:  # None is treated like an unknown name, because NumPy would take it for float64
        text = name if isinstance(name, str) or name is None else np.dtype(name).name  # pyright: ignore[reportArgumentType, reportCallIssue]
    except (TypeError, ValueError):
        text = f"{name!r:.60}"
    if not isinstance(text, str) or text not in KNOWN:
        raise unknown_option("dtype", text, KNOWN)
    return DType[text]
