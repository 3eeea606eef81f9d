"""The kernel cache: compiled kernels, stored on disk as object files and found by a hash.

The name of an entry is the SHA-256 of everything that its bytes depend on, so an entry never becomes stale. Object
files contain no addresses of a process, so any process can load them. A folder in which other users could write is not
used, because whoever writes there could run code as this user.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import stat
import struct
import tempfile
import time
from pathlib import Path

import llvmlite

from striate import settings
from striate.version import VERSION

LIMIT = 512 * 1024 * 1024

_log = logging.getLogger("striate")
_MAGIC = b"STRIATEK"
_HEADER = struct.Struct("<8sQ32s")  # magic, length and SHA-256 of the object that follows
_SUFFIX = ".kernel"
_PRUNE_EVERY = 256
_FORGOTTEN = 3600.0  # seconds after which the temporary file of a process that died is removed


GENERATORS = ("codegen", "data/augment", "graph", "ops", "passes")
"""The folders of the package whose modules write code of kernels."""


@functools.cache
def source_hash() -> str:
    """Return the SHA-256 (hexadecimal) of the Python source that generates kernels.

    The hash covers all Python files in the folders listed in ``GENERATORS``. It is computed once per process.
    """
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in GENERATORS:
        for path in sorted((package / folder).rglob("*.py")):
            text = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()} {len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


def entry_name(key: str, target_key: str) -> str:
    """Return the name of the cache entry for a kernel specification and a target processor.

    The name is a hash of ``key`` (text that identifies the kernel), ``target_key`` (``Target.key``), the source hash,
    and the versions of llvmlite and striate.
    """
    parts = (key, source_hash(), target_key, llvmlite.__version__, VERSION)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Cache:
    """A folder of compiled kernels (object files), limited to ``limit`` bytes.

    Reading and writing never raise: a kernel whose object file cannot be read or stored is simply compiled again.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._writes = 0
        self._writable = True

    def get(self, name: str) -> bytes | None:
        """Return the object file stored under ``name``, or None if there is no intact entry.

        A damaged entry is removed.
        """
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        data = content[_HEADER.size :]
        if content[: _HEADER.size] != _HEADER.pack(_MAGIC, len(data), hashlib.sha256(data).digest()):
            _log.info("a damaged entry of the kernel cache is discarded: %s", path)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # pruning removes the least recently used entries
        return data

    def put(self, name: str, data: bytes) -> None:
        """Store the object file ``data`` under ``name``; several processes may write at the same time.

        The write is not flushed to disk. If a power failure damages an entry, ``get`` discards the entry. After the
        first failed write, the cache logs a warning and stores nothing more.
        """
        if not self._writable:
            return
        try:
            self._write(name, data)
        except OSError as error:
            self._writable = False
            _log.warning("nothing more is written to the kernel cache %s: %s", self._folder, error)
            return
        if self._writes % _PRUNE_EVERY == 0:
            self.prune()
        self._writes += 1

    def prune(self) -> None:
        """If the entries exceed the limit, remove the least recently used ones until 3/4 of the limit is in use.

        Temporary files that are more than an hour old are removed, too.
        """
        entries: list[tuple[float, int, Path]] = []
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                with contextlib.suppress(OSError):
                    status = path.stat()
                    if path.suffix == _SUFFIX:
                        entries.append((status.st_mtime, status.st_size, path))
                    elif path.suffix == ".part" and time.time() - status.st_mtime > _FORGOTTEN:
                        path.unlink()
        total = sum(size for _, size, _ in entries)
        if total <= self._limit:
            return
        for _, size, path in sorted(entries):
            if total <= self._limit * 3 // 4:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size

    def _path(self, name: str) -> Path:
        return self._folder / (name + _SUFFIX)

    def _write(self, name: str, data: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(suffix=".part", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_HEADER.pack(_MAGIC, len(data), hashlib.sha256(data).digest()))
                file.write(data)
            os.replace(temporary, self._path(name))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            # Windows does not replace a file that another process is reading. Its contents are the same.
            if not (isinstance(error, PermissionError) and self._path(name).exists()):
                raise


def _objection(folder: Path) -> str | None:
    """Create ``folder`` if it is missing; return the reason why it cannot be used, or None if it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        return str(error)
    if os.name == "posix":
        if status.st_uid != os.geteuid():
            return f"it belongs to user {status.st_uid}"
        if stat.S_IMODE(status.st_mode) & 0o777 != 0o700:
            return f"its mode is {stat.S_IMODE(status.st_mode):04o}, not 0700"
    return None if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else "it is read-only"


@functools.cache
def _opened(folder: Path) -> Cache | None:
    """Return the cache in ``folder``, or None, with one warning in the log, if it cannot be used."""
    objection = _objection(folder)
    if objection is not None:
        _log.warning("the kernel cache %s is not used, so kernels are compiled in every process: %s", folder, objection)
        return None
    return Cache(folder)


def current() -> Cache | None:
    """Return the kernel cache in the folder that the settings name.

    The result is None if the settings switch the cache off, or if the folder cannot be created, read and written, or is
    not private to this user.
    """
    folder = settings.current().cache
    return None if folder is None else _opened(folder)
