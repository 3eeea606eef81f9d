"""How any NumPy array becomes one that programs read: one rule for every way in.

Arguments, arrays that a function closes over, parameters, buffers, labels and state dicts all pass through ``native``.
Programs read aligned, C-contiguous arrays in the byte order of this machine, of the types that graphs know:

    float32, float64, int32, int64, uint8, bool    as they are
    float16                                        widened to float32
    int8, int16, uint16                            widened to int32
    uint32, and uint64 where every number fits     widened to int64
    everything else                                refused with a ``DTypeError``

Strides of any sign, strides of zero, Fortran order, foreign byte order, read-only and memory-mapped arrays hold the
same numbers as a contiguous array; they are copied where programs cannot read them in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.dtypes import KNOWN
from striate.errors import DTypeError
from striate.graph.value import Array

_WIDENED = {
    "float16": np.float32, "int8": np.int32, "int16": np.int32, "uint16": np.int32, "uint32": np.int64,
}  # fmt: skip
_LARGEST = np.iinfo(np.int64).max


def native(array: Array, name: str) -> Array:
    """The same numbers as an array that programs read; the array itself where it is one already.

    ``name`` begins the error. Raises ``DTypeError`` for elements that are not real numbers of a known type.
    """
    dtype = array.dtype
    flags = array.flags
    if dtype.isnative and flags.c_contiguous and flags.aligned and dtype.name in KNOWN and type(array) is np.ndarray:
        return array
    unmasked(array, name)
    found = np.ascontiguousarray(array, known_dtype(array, name)).reshape(array.shape)
    return found if found.flags.aligned else found.copy()


def unmasked(given: object, name: str) -> Array:
    """What was given as an array; raises ``DTypeError`` for a masked one, whose mask would be lost.

    ``np.asarray`` alone would give the numbers under the mask. What cannot be an array raises as it does in NumPy.
    """
    array: Array = np.asanyarray(given)
    if isinstance(array, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a masked array\n  help: x.filled(0.0) replaces what is masked")
    return np.asarray(array)


def known_dtype(array: Array, name: str) -> np.dtype[Any]:
    """The type that an array's elements enter programs in; raises ``DTypeError`` for one that has none."""
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
        return "st.ops computes with real numbers; give x.real and x.imag apart"
    if dtype.kind == "f":
        return "x.astype(np.float64) is the widest type there is"
    if dtype.kind in "SUO":
        return "np.asarray(x, np.float32), where the elements are numbers"
    return f"x.astype(np.float32), or another of {', '.join(KNOWN)}"
