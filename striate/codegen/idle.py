"""Returns memory to the system after a compilation: LLVM's own code, and what was freed before the training starts.

Compiling or loading kernels reads 50 to 100 MB of LLVM's library, which is not used while a network trains. These pages
are unchanged pages of a file: the system maps them again, from its cache, when LLVM is next used.

The C library keeps what was freed below its newest allocation. After a state of ResNet-18 was loaded, that was 139 MB.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import re
from pathlib import Path

import llvmlite.binding as llvm

FOLDER: str = llvm.__path__[0]
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ \S+ +(.+)\n")


def give_back() -> None:
    """Drops the pages of LLVM's code and constants, and of freed memory; on systems other than Linux, does nothing."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    library = ctypes.CDLL(None)
    for start, size in unchanged(FOLDER):
        # Where the system refuses (a process that locked its memory), the pages stay: nothing depends on it.
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
    if hasattr(library, "malloc_trim"):  # of glibc, not of musl
        library.malloc_trim(ctypes.c_size_t(0))


@functools.cache
def unchanged(folder: str) -> tuple[tuple[int, int], ...]:
    """(address, bytes) of the memory that is mapped from files in ``folder`` and is unchanged.

    Constants with addresses in them are written while a library is loaded, and then protected: those are *anonymous*
    pages, which would be lost.
    """
    try:
        text = Path("/proc/self/smaps").read_text()
    except OSError:
        return ()
    found: list[tuple[int, int]] = []
    for mapping in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text):
        head = _HEAD.match(mapping)
        if head and head[3].startswith(folder) and re.search(r"(?m)^Anonymous: +0 kB$", mapping):
            start, end = int(head[1], 16), int(head[2], 16)
            found.append((start, end - start))
    return tuple(found)
