"""The types of the values in a kernel: names for annotations, and the LLVM type of each dtype.

Vectors have ``LANES`` = 16 elements on every processor; LLVM splits them into hardware registers.
"""

from __future__ import annotations

import functools
from typing import Any

from striate.codegen import ir
from striate.codegen.ir import I8, I32, I64
from striate.dtypes import DType

LANES = 16

Index = Any  # a Python int, or an i64 value of LLVM
Vector = ir.Value
"""16 lanes of one dtype in registers; a name for annotations."""
Condition = ir.Value
"""A truth value, one bit or one bit per lane; a name for annotations."""
Pointer = ir.Value
"""An address; a name for annotations."""

ELEMENTS: dict[DType, ir.IntType | ir.FloatType] = {
    DType.float32: ir.FLOAT,
    DType.float64: ir.DOUBLE,
    DType.int32: I32,
    DType.int64: I64,
    DType.uint8: I8,
    DType.bool: I8,
    DType.bfloat16: ir.BFLOAT,
}
"""The LLVM type of an element of each dtype in memory."""


@functools.cache
def vector_type(dtype: DType, lanes: int = LANES) -> ir.VectorType:
    """Return the LLVM type of a vector of ``lanes`` elements of ``dtype`` in registers.

    For bfloat16, the elements of the vector are float32.
    """
    return ir.VectorType(ELEMENTS[dtype.computed], lanes)


# Constants belong to no function, so all kernels share them.


@functools.lru_cache(4096)
def index_constant(value: int) -> ir.Value:
    """Return the index ``value`` as an LLVM constant of type i64."""
    return I64(value)


@functools.cache
def lane_number(number: int) -> ir.Value:
    """Return ``number``, the number of a lane (vector element), as an LLVM constant of type i32."""
    return I32(number)
