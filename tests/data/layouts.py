"""The same values in each memory order, byte order and dtype that a caller may pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _strided(array: Array) -> Array:
    """Return the array as every second row and column of a larger one."""
    larger = np.zeros(tuple(2 * size for size in array.shape), array.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def _read_only(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _unaligned(array: Array) -> Array:
    """Return the array starting one byte after a multiple of the element size."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = np.frombuffer(memory.data, array.dtype, array.size, offset=1).reshape(array.shape)
    view[...] = array
    return view


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "negative strides": lambda array: np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
    "strided": _strided,
    "read-only": _read_only,
    "unaligned": _unaligned,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "subclass": lambda array: array.view(np.recarray),
}


def memory_mapped(array: Array, folder: Path) -> Array:
    """Return the array mapped read-only from a file in the folder."""
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")
