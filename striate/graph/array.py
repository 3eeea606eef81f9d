"""Conversion of any NumPy array to one that a compiled program can read.

Arguments, arrays that a function closes over, parameters, buffers, labels and state dicts all pass through ``native``.
Programs read aligned, C-contiguous arrays in this machine's byte order, of the dtypes that graphs support:

    float32, float64, int32, int64, uint8, bool    unchanged
    float16                                        widened to float32
    int8, int16, uint16                            widened to int32
    uint32, and uint64 if every number fits        widened to int64
    everything else                                refused with a ``DTypeError``

Arrays with negative or zero strides, in Fortran order or foreign byte order, read-only and memory-mapped arrays are all
accepted. They are copied if a program cannot read them in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.dtypes import KNOWN, NATIVE
from striate.errors import DTypeError, EngineError
from striate.graph.value import Array
from striate.runtime.arena import out_of_memory

_WIDENED = {
    "float16": np.float32, "int8": np.int32, "int16": np.int32, "uint16": np.int32, "uint32": np.int64,
}  # fmt: skip
_LARGEST = np.iinfo(np.int64).max


def native(array: Array, name: str) -> Array:
    """Return the same numbers as an array that programs can read: ``array`` itself, or a copy.

    ``name`` begins the error message. Raises ``DTypeError`` if the elements are not real numbers of a supported dtype,
    or the array is masked, and ``EngineError`` if there is no memory for the copy.
    """
    flags = array.flags
    if array.dtype in NATIVE and flags.c_contiguous and flags.aligned and type(array) is np.ndarray:
        return array
    unmasked(array, name)
    dtype = known_dtype(array, name)
    try:
        found = np.ascontiguousarray(array, dtype).reshape(array.shape)
    except MemoryError as error:  # such as a view that repeats its elements
        raise EngineError(f"{name}: {out_of_memory(array.size * dtype.itemsize)}") from error
    return found if found.flags.aligned else found.copy()


def unmasked(given: object, name: str) -> Array:
    """Return ``given`` as an array; raise ``DTypeError`` for a masked array, whose mask would be lost.

    ``np.asarray`` alone would return the numbers under the mask. An object that NumPy cannot convert raises NumPy's
    error. ``name`` begins the error message.
    """
    array: Array = np.asanyarray(given)
    if isinstance(array, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a masked array\n  help: x.filled(0.0) replaces what is masked")
    return np.asarray(array)


def known_dtype(array: Array, name: str) -> np.dtype[Any]:
    """Return the dtype that an array's elements have in programs, as the table in this module lists them.

    Raises ``DTypeError`` for a dtype that is not supported, and for uint64 numbers that exceed int64; ``name`` begins
    the message.
    """
    kind = array.dtype.name
    if kind in KNOWN:
        return np.dtype(kind)
    if kind in _WIDENED:
        return np.dtype(_WIDENED[kind])
    if kind == "uint64":
        if array.size and array.max() > _LARGEST:
            raise DTypeError(
                f"{name} holds {array.max()}, which exceeds int64\n  help: x.astype(np.float64), or smaller numbers"
            )
        return np.dtype(np.int64)
    raise DTypeError(f"{name} is an array of {kind}\n  help: {_cure(array.dtype)}")


def _cure(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "c":
        return "st.ops computes with real numbers; pass x.real and x.imag as two arrays"
    if dtype.kind == "f":
        return "x.astype(np.float64), the widest supported type"
    if dtype.kind in "SUO":
        return "np.asarray(x, np.float32), where the elements are numbers"
    return f"x.astype(np.float32), or another of {', '.join(KNOWN)}"
