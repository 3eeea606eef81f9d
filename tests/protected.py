"""Arrays next to memory pages that must not be accessed: one byte too many ends the process.

    Side.LEFT     │ forbidden │ array ……… slack │ forbidden │      catches accesses before the first byte
    Side.RIGHT    │ forbidden │ slack ……… array │ forbidden │      catches accesses after the last byte

The side without slack is exact to the byte; the other side is only exact to a page.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
from enum import Enum
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray


class Side(Enum):
    """The end of the array that lies directly at a forbidden page."""

    LEFT = "left"
    RIGHT = "right"


BOTH_SIDES = pytest.mark.parametrize("side", list(Side), ids=lambda side: side.value)
"""Runs a test once per side, given as ``side``."""

_PAGE = mmap.PAGESIZE
_FORBIDDEN = 0


def _forbid(address: int) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if system.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_PAGE), _FORBIDDEN) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def guarded(
    shape: tuple[int, ...] | int, dtype: DTypeLike = np.uint8, side: Side = Side.RIGHT, poison: bool = False
) -> NDArray[Any]:
    """Return a writable, contiguous array with a forbidden page right before (LEFT) or after it (RIGHT).

    An int as ``shape`` is a length. The array contains zeros or, with ``poison``, NaN (in integers, bytes 0xA5), which
    must never be computed with. The memory lives as long as the array and its views.
    """
    if os.name == "nt":
        pytest.skip("protected pages are written for POSIX systems only")
    kind = np.dtype(dtype)
    extents = (shape,) if isinstance(shape, int) else shape
    size = math.prod(extents) * kind.itemsize
    room = max(1, math.ceil(size / _PAGE)) * _PAGE
    pages = mmap.mmap(-1, room + 2 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = np.frombuffer(pages, np.uint8)
    _forbid(whole.ctypes.data)
    _forbid(whole.ctypes.data + _PAGE + room)
    start = _PAGE if side is Side.LEFT else _PAGE + room - size
    array = whole[start : start + size].view(kind).reshape(extents)
    if poison and kind.kind in "fc":
        array.fill(np.nan)
    elif poison:
        whole[start : start + size] = 0xA5
    return array


def guarded_copy(values: NDArray[Any], side: Side = Side.RIGHT) -> NDArray[Any]:
    """Return a copy of the values in a guarded array."""
    array = guarded(values.shape, values.dtype, side)
    array[...] = values
    return array
