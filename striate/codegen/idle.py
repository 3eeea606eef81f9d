"""Returns memory to the operating system after a compilation.

Compiling or loading kernels reads 50 to 100 MB of LLVM's library, which is not used while a network trains. Most of
this memory holds unmodified pages of the library's file. The system can drop these pages, and reads them again from the
file when LLVM is next used.

The C library also keeps memory that the process has freed, such as 139 MB after loading the state of a ResNet-18.
``malloc_trim`` returns that memory, too.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import re
from pathlib import Path

import llvmlite.binding as llvm

FOLDER: str = llvm.__path__[0]
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ \S+ +(.+)\n")


def give_back() -> None:
    """Return memory to the operating system: pages of LLVM's library, and freed memory that the C library keeps.

    The system reads the pages again when LLVM is next used. On systems other than Linux, this function does nothing.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    library = ctypes.CDLL(None)
    for start, size in unchanged(FOLDER):
        # The system refuses if the process has locked its memory. Then the pages stay, which does no harm.
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
    if hasattr(library, "malloc_trim"):  # glibc has it, musl does not
        library.malloc_trim(ctypes.c_size_t(0))


@functools.cache
def unchanged(folder: str) -> tuple[tuple[int, int], ...]:
    """Return (address, length in bytes) of each unmodified memory range mapped from a file in ``folder``.

    The system can drop these ranges, because it can read them from the file again.
    """
    try:
        text = os.fsdecode(Path("/proc/self/smaps").read_bytes())  # paths in it may be in any encoding
    except OSError:
        return ()
    found: list[tuple[int, int]] = []
    for mapping in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text):
        head = _HEAD.match(mapping)
        if head and head[3].startswith(folder) and re.search(r"(?m)^Anonymous: +0 kB$", mapping):
            start, end = int(head[1], 16), int(head[2], 16)
            found.append((start, end - start))
    return tuple(found)
