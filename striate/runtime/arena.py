"""Arenas: aligned blocks of memory that can grow, such as the scratch memory of a process.

    base ──▶ │ offset 0 │ … │ offset 64·k │ … │

``base`` is a multiple of 2 MiB if the arena has at least 2 MiB, and otherwise of the system's page size.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from striate.errors import EngineError
from striate.locks import Lock, Order, reset_after_fork

ALIGNMENT = 64
"""The alignment of arrays in bytes: the size of a cache line, and of the widest vector."""

HUGE_PAGE = 2 * 1024 * 1024
_PAGE = mmap.PAGESIZE
_first_byte: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer


def _pages(size: int) -> mmap.mmap:
    """Return private memory full of zeros, of which the system provides each page at its first use.

    Raises ``EngineError`` if the system refuses.
    """
    try:
        if os.name == "nt":
            return mmap.mmap(-1, size)
        # Python's default is shared memory, which forked children would write to, and which gets no huge pages.
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise out_of_memory(size) from error


def out_of_memory(size: int) -> EngineError:
    """Return the error to raise if the system refuses to provide ``size`` bytes of memory."""
    return EngineError(
        f"{_shown(size)} of memory are needed, which is more than the system provides\n"
        "  help: a smaller batch, capacity or network"
    )


def _shown(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def undefined_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of this shape and dtype whose contents are undefined.

    Raises ``EngineError`` if the system refuses the memory.
    """
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:  # a size beyond 63 bits is a ValueError
        raise out_of_memory(math.prod(shape) * dtype.itemsize) from error


def address_of(array: NDArray[Any]) -> int:
    """Return the address of the first element of a C-contiguous array, faster than ``array.ctypes.data``."""
    try:
        return ctypes.addressof(_first_byte(array))
    except (TypeError, ValueError):
        return array.ctypes.data


def _advise_huge(pages: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # If the system has no huge pages, smaller ones work as well.
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)


class Arena:
    """An aligned block of at least ``size`` bytes that is initially zero; ``reserve`` can enlarge it."""

    def __init__(self, size: int = 0) -> None:
        self.size = 0
        self.base = 0
        self._block: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.reserve(size)

    def reserve(self, size: int, keep: bool = True) -> None:
        """Make the arena at least ``size`` bytes large; if it has to grow, it moves to another address.

        With ``keep``, the contents are preserved; otherwise they are lost. Arrays that ``view`` returned before a move
        do not share memory with the arena after the move. Raises ``ValueError`` for a negative size, and
        ``EngineError`` if the system refuses the memory.
        """
        if size < 0:
            raise ValueError(f"an arena cannot have {size} bytes")
        if size <= self.size:
            return
        step = HUGE_PAGE if size >= HUGE_PAGE else _PAGE
        capacity = math.ceil(size / step) * step
        if not keep:
            # The old block is released first, so that twice the scratch memory is never resident.
            self._block = np.empty(0, np.uint8)
            self.size = self.base = 0
        pages = _pages(capacity + (HUGE_PAGE - _PAGE if step == HUGE_PAGE else 0))
        if step == HUGE_PAGE:
            _advise_huge(pages)
        whole = np.frombuffer(pages, np.uint8)
        start = -whole.ctypes.data % step
        block = whole[start : start + capacity]
        if keep and self.size:
            block[: self.size] = self._block
        self._block, self.size, self.base = block, capacity, block.ctypes.data

    def address(self, offset: int) -> int:
        """Return the address of the byte at ``offset``; raise ``ValueError`` if it is outside the arena."""
        if not 0 <= offset <= self.size:
            raise ValueError(f"offset {offset} is outside the arena of {self.size} bytes")
        return self.base + offset

    def view(self, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return the bytes from ``offset`` on as an array of this shape and dtype, a writable view of the arena.

        Raises ``ValueError`` if the array does not fit into the arena, or the offset is not aligned for the dtype.
        """
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if offset < 0 or any(extent < 0 for extent in shape) or offset + size > self.size:
            raise ValueError(f"{kind} {shape} at {offset} does not fit into an arena of {self.size} bytes")
        if offset % kind.alignment:
            raise ValueError(f"offset {offset} is not aligned for {kind}")
        return self._block[offset : offset + size].view(kind).reshape(shape)


class ScratchArena(Arena):
    """The scratch memory that all programs of a process share, one program at a time.

    The caller of a run must take ``lock`` before the run, and hold it until the results have been read from the arena.
    The contents of the arena are undefined at the start of every run. The arena grows to the largest size requested.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock(Order.RUN)
        self.running = False
        """Whether a program is running in this arena. The lock is reentrant, so code that a garbage collection or a
        signal calls in the middle of a run must check this flag and not move the arena."""
        reset_after_fork(self)

    def after_fork(self) -> None:
        """Mark this memory as free in the child of a fork, where the runs of other threads do not continue."""
        self.running = False

    def reserve(self, size: int, keep: bool = False) -> None:
        """Make the arena at least ``size`` bytes large; the contents are kept only if ``keep`` is true."""
        super().reserve(size, keep)


@functools.cache
def scratch_arena() -> ScratchArena:
    """Return the scratch arena of this process, memory that all its programs share."""
    return ScratchArena()
