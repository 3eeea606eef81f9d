"""Memory pages of LLVM are released while it is idle, and loaded again when it is used."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from striate.codegen import idle, jit, target

SMAPS = Path("/proc/self/smaps")
TEXT = """
target triple = "unknown-unknown-unknown"
target datalayout = ""
define i64 @seven_times(i64 %x) {
  %y = mul i64 %x, 7
  ret i64 %y
}
"""

pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="resident pages are read from /proc")


def _resident(folder: Path) -> int:
    """Return the resident bytes of read-only mapped files in a folder."""
    mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text())
    mine = [each for each in mappings if f" {folder}" in each.partition("\n")[0] and " r-" in each[:40]]
    assert mine
    return 1024 * sum(int(size) for each in mine for size in re.findall(r"(?m)^Rss: +(\d+) kB$", each))


def test_pages_of_llvm_leave_and_return() -> None:
    folder = Path(idle.FOLDER)
    for _ in range(3):
        library = jit.Library([jit.compile_object(TEXT, target.host())], ["seven_times"])
        call = jit.function(library.address("seven_times"), ctypes.c_int64, ctypes.c_int64)
        assert call(6) == 42
        while_compiling = _resident(folder)
        idle.give_back()
        assert _resident(folder) < while_compiling / 4
        assert call(6) == 42


def test_where_nothing_is_mapped_nothing_is_dropped(tmp_path: Path) -> None:
    assert idle.unchanged(str(tmp_path)) == ()


def test_pages_that_were_written_are_kept() -> None:
    """Relocated constants are written once and then protected; dropping their pages would undo the relocation."""
    dropped = set(idle.unchanged(idle.FOLDER))
    mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text())
    written = {
        (int(each.split("-")[0], 16), each)
        for each in mappings
        if idle.FOLDER in each.partition("\n")[0] and not re.search(r"(?m)^Anonymous: +0 kB$", each)
    }
    assert written
    assert not dropped & {(start, size) for start, size in dropped for other, _ in written if start == other}


def test_freed_memory_is_returned_to_the_system() -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        pytest.skip("this C library returns freed memory in its own way")
    library.malloc.restype = ctypes.c_void_p
    size = 1 << 16  # below the size from which glibc asks the system for each allocation
    blocks = [library.malloc(ctypes.c_size_t(size)) for _ in range(512)]
    above = library.malloc(ctypes.c_size_t(size))
    for block in blocks:
        ctypes.memset(block, 1, size)
        library.free(ctypes.c_void_p(block))
    freed = _resident_bytes()
    idle.give_back()
    library.free(ctypes.c_void_p(above))
    assert _resident_bytes() < freed - 256 * size


def _resident_bytes() -> int:
    return 1024 * int(re.findall(r"(?m)^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text())[0])
