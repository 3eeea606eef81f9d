"""A lock on a folder, so that two processes never write the same files.

The operating system releases the lock when the process that holds it ends or is killed. The file ``.lock`` in the
folder names this process. After the process has ended, the file has no effect.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from pathlib import Path
from types import TracebackType
from typing import cast

from striate.errors import OptionError
from striate.locks import reset_after_fork

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".lock"
_LONGEST = 1000  # bytes of the file that are read
_BYTE = 1 << 30  # the byte that Windows locks: others can then read what is before it


class FolderLock:
    """The lock of a folder, which one process at a time can hold; a ``with`` statement or ``take`` takes it.

    Taking a lock that this object already holds has no effect. No method waits for another process. A forked child
    process does not hold the lock of its parent.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def take(self) -> None:
        """Take the lock, without waiting.

        Raises ``OptionError`` if another process, which the message names, holds the lock, or if no file can be created
        in the folder.
        """
        if not self.try_take():
            raise OptionError(
                f"{self.path.parent}: in use by another training{self._holder()}\n"
                "  help: wait until it ends, or end it; or give another folder"
            )

    def try_take(self) -> bool:
        """Take the lock and return True; return False at once if another process holds it.

        Raises ``OptionError`` for a folder in which no file can be created.
        """
        if self._file is not None:
            return True
        while True:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise OptionError(
                    f"{self.path.parent}: cannot be written: {error.strerror or error}\n"
                    "  help: give a folder that you may write to"
                ) from error
            if not _locked(file):
                os.close(file)
                return False
            if self._is_current(file):
                break
            os.close(file)  # its holder removed the file between our two calls
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)  # Windows has no pwrite, and _locked has moved the position there
            os.write(file, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode())
        self._file = file
        reset_after_fork(self)
        return True

    def release(self) -> None:
        """Release the lock and remove the file ``.lock``; do nothing if the lock is not held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()  # while it is locked, so that nobody else can have taken it
            os.close(self._file)
            self._file = None

    def _is_current(self, file: int) -> bool:
        """Return whether an open file is still the one that the folder has under this name."""
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except OSError:
            return False

    def after_fork(self) -> None:
        """Close the lock's file in a forked child process.

        Otherwise the child would keep the folder locked after its parent ends.
        """
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> FolderLock:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _holder(self) -> str:
        try:
            with self.path.open("rb") as stream:
                found: object = json.loads(stream.read(_LONGEST))
        except (OSError, ValueError, RecursionError):
            return ""
        if not isinstance(found, dict):
            return ""
        entries = cast("dict[str, object]", found)
        return f": process {str(entries.get('pid'))[:20]} on {str(entries.get('host'))[:80]}"


def is_held(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder, without writing anything or keeping the lock.

    A file ``.lock`` that a killed process left does not count. Returns False if the file cannot be opened.
    """
    try:
        file = os.open(folder / LOCK_FILE, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not _locked(file, shared=True)
    finally:
        os.close(file)  # which gives back a lock that was free


def _locked(file: int, shared: bool = False) -> bool:
    """Take the system's lock on an open file without waiting; returns False if it is held.

    A ``shared`` lock can be taken several times, unless the file is locked otherwise; Windows has none.
    """
    try:
        if sys.platform == "win32":
            os.lseek(file, _BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
