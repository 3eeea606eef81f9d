"""The element types that graphs and kernels know."""

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

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of the same name."""
        return np.dtype(self.value)

    @property
    def is_float(self) -> bool:
        """Whether gradients can flow through values of this type."""
        return self in (DType.float32, DType.float64)

    @property
    def short(self) -> str:
        """f32, i64, u8: as graph text prints it."""
        return f"{self.value.rstrip('0123456789')[0]}{8 * self.numpy.itemsize}"


def dtype_of(name: object) -> DType:
    """The DType for a name, a NumPy dtype or a DType; an unknown one lists the known."""
    if isinstance(name, DType):
        return name
    text = name if isinstance(name, str) else np.dtype(name).name  # pyright: ignore[reportArgumentType, reportCallIssue]
    if text not in DType.__members__:
        raise unknown_option("dtype", text, DType.__members__)
    return DType[text]
