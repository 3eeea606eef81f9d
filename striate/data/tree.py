"""List and read the files below a folder, or in a zip or tar archive.

Files that operating systems create on their own are ignored: hidden files and folders, ``__MACOSX``, ``Thumbs.db`` and
the like. In an archive, links, devices, absolute names and names with ``..`` are refused, and so are files above
``MOST_BYTES``. A zip entry or a compressed tar archive is refused if it unpacks to more than about ``_DEFLATE_RATIO``
times its packed size, the most that DEFLATE can reach. Entries of zip archives may be stored, or compressed by DEFLATE
or bzip2, but not by LZMA. A .tar.xz archive is read if unpacking it takes at most ``_MOST_MEMORY`` bytes of memory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import struct
import sys
import tempfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from striate.data.tar import BLOCK, Form, is_header, members
from striate.errors import DataError
from striate.locks import Lock

MOST_BYTES = 1 << 30  # of one file
MOST_FILES = 10_000_000
_DEFLATE_RATIO = 1032  # 258 bytes from 2 bits is the densest that RFC 1951 allows
_PIECE = 1 << 20
_SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found", "@eadir"}
_MOST_MEMORY = 80_000_000  # of the xz decoder; files of ``xz -9`` need 66 MB
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
BROKEN = (
    OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError, struct.error, zipfile.BadZipFile,
    zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What the libraries that unpack archives raise for damaged ones."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Xz:
    """Unpacks an xz file, of one or several streams, with a limit on the memory that the file may demand."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = self._next()

    @staticmethod
    def _next() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` unpacked bytes, and b"" at the end; raises ``EOFError`` if the file is cut off."""
        while True:
            given = b""
            if self._stream.eof:
                given = self._stream.unused_data.lstrip(b"\0") or self._file.read(_PIECE).lstrip(b"\0")
                if not given:
                    return b""
                self._stream = self._next()
            elif self._stream.needs_input:
                given = self._file.read(_PIECE)
                if not given:
                    raise EOFError("the file is cut off")
            piece = self._stream.decompress(given, size)
            if piece:
                return piece


_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], _Readable]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": lambda file: bz2.BZ2File(file),
    b"\xfd7zXZ\x00": _Xz,
}
ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_NOT_UNPACKED = (".rar", ".7z", ".zst", ".lz4", ".cab", ".iso", ".gz", ".bz2", ".xz")


def require_unpacked(path: Path) -> None:
    """Raise ``DataError`` for a file that is an archive of a kind which is not read, such as .rar."""
    ending = path.suffix.lower()
    if ending in _NOT_UNPACKED and not path.name.lower().endswith(ARCHIVES):
        raise DataError(
            f"{path}: archives of the kind {ending} are not read\n"
            "  help: unpack it, and name the folder or file; .zip and .tar archives of pictures need no unpacking"
        )


@dataclass(frozen=True)
class Entry:
    """One file: its path below the root, separated by ``/``, and its size in bytes."""

    path: PurePosixPath
    size: int

    @property
    def folder(self) -> PurePosixPath:
        """The folder that contains the file; ``.`` at the root."""
        return self.path.parent


class Tree(ABC):
    """The files and folders below the path ``root`` (abstract).

    ``entries`` are the files, in natural order of their names, and ``folders`` are the paths of the folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: set[PurePosixPath] = set()
        try:
            self.entries = sorted(self._listed(), key=lambda entry: natural(str(entry.path)))
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _listed(self) -> Iterator[Entry]: ...

    @abstractmethod
    def read(self, entry: Entry) -> bytes:
        """Return the content of a file; raises ``DataError`` if it cannot be read.

        This method may be called from any thread.
        """

    def start(self, entry: Entry, size: int) -> bytes:
        """Return up to ``size`` bytes from the start of a file; raises ``DataError`` if it cannot be read.

        This method may be called from any thread.
        """
        return self.read(entry)[:size]

    def name(self, entry: Entry) -> str:
        """Return the name of a file for messages, such as ``pictures.zip/cat/1.png``."""
        return f"{self.root}/{entry.path}"

    def close(self) -> None:  # noqa: B027 - a folder has nothing to close
        """Close the archive; for a folder, do nothing."""


def open_tree(path: Path) -> Tree:
    """Open a folder or an archive; raises ``DataError`` if ``path`` is neither, or cannot be read."""
    if path.is_dir():
        return FolderTree(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    with _named(path):
        if zipfile.is_zipfile(path):
            return ZipTree(path)
        if _is_tar(path):
            return TarTree(path)
    raise DataError(f"{path}: not a zip or tar archive that can be read\n  help: it may be incomplete; copy it again")


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Turn what the libraries raise for a damaged archive into a ``DataError`` that names it."""
    try:
        yield
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(f"{path}: the archive cannot be read: {error}") from error


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive: by its ending, or by its first bytes."""
    if path.name.lower().endswith(ARCHIVES):
        return True
    try:
        return zipfile.is_zipfile(path) or _is_tar(path)
    except BROKEN:
        return False


def _is_tar(path: Path) -> bool:
    """Return whether a file, unpacked if it is compressed, begins with the header of a tar archive."""
    with path.open("rb") as file:
        return is_header(_unpacked(file).read(BLOCK))


def _unpacked(file: IO[bytes]) -> _Readable:
    """Return what reads the unpacked content of a file from its beginning; the file itself if it is not compressed."""
    start = file.read(6)
    file.seek(0)
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)
    return file if opener is None else opener(file)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which numbers in names are compared as numbers: ``b2`` comes before ``b12``."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, *_digits(part)) if part.isdecimal() else (1, 0, part) for part in parts)


def _digits(number: str) -> tuple[int, str]:
    """Return a key by which whole numbers are ordered; names can have more digits than Python converts."""
    digits = number.lstrip("0")
    return len(digits), digits


def is_data(path: PurePosixPath) -> bool:
    """Return whether a path is data: no part of it is hidden, and no part is known clutter such as ``__MACOSX``."""
    return not any(part.startswith((".", "~$")) or part.lower() in _SYSTEM for part in path.parts)


class FolderTree(Tree):
    """The files of a folder on disk.

    Links are followed, but every folder is read only once, so that loops of links end.
    """

    def _listed(self) -> Iterator[Entry]:
        def refuse(error: OSError) -> None:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error

        seen: set[tuple[int, int]] = set()
        for folder, folders, files in os.walk(self.root, onerror=refuse, followlinks=True):
            state = os.stat(folder)
            if (state.st_dev, state.st_ino) in seen:
                folders.clear()
                continue
            seen.add((state.st_dev, state.st_ino))
            inside = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            folders[:] = [name for name in folders if is_data(PurePosixPath(name))]
            self.folders |= {inside / name for name in folders}
            for name in files:
                path = inside / name
                if is_data(path):
                    try:
                        size = os.stat(Path(folder) / name).st_size
                    except FileNotFoundError:  # a link to nothing, which reading it reports
                        size = 0
                    yield Entry(path, size)

    def read(self, entry: Entry) -> bytes:
        return self._read(entry, -1)

    def start(self, entry: Entry, size: int) -> bytes:
        return self._read(entry, size)

    def _read(self, entry: Entry, size: int) -> bytes:
        """Return up to ``size`` bytes from the start of a file; -1: all of it."""
        path = self.root / entry.path
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would wait for a writer, and /dev/zero has no end
                raise DataError(f"{self.name(entry)}: is not a file, but a pipe or a device")
            _require_size(self.root, entry.path, status.st_size)
            with path.open("rb") as file:
                return file.read(size)
        except OSError as error:
            raise DataError(f"{self.name(entry)}: cannot be read: {error.strerror or error}") from error


class ZipTree(Tree):
    """The files of a zip archive; every thread reads through a file handle of its own.

    ``most`` is the largest unpacked size of one file, in bytes.
    """

    def __init__(self, root: Path, most: int = MOST_BYTES) -> None:
        self._most = most
        self._own = threading.local()
        self._handles: list[zipfile.ZipFile] = []
        self._infos: dict[PurePosixPath, zipfile.ZipInfo] = {}
        super().__init__(root)

    def _archive(self) -> zipfile.ZipFile:
        """Return the handle of this thread, which is opened at its first use."""
        held = cast("dict[str, zipfile.ZipFile]", self._own.__dict__)
        if "archive" not in held:
            held["archive"] = zipfile.ZipFile(self.root)
            self._handles.append(held["archive"])
        return held["archive"]

    def _listed(self) -> Iterator[Entry]:
        with _named(self.root):
            infos = self._archive().infolist()
        _require_count(self.root, len(infos))
        for info in infos:
            path = _inside(self.root, info.filename)
            if not (path.parts and is_data(path)):
                continue
            if info.is_dir():
                self.folders.add(path)
                continue
            if info.flag_bits & 1:
                raise DataError(f"{self.root}/{path}: is encrypted\n  help: unpack the archive with its password")
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise DataError(f"{self.root}/{path}: is a link; archives of data hold files")
            if path in self._infos:
                raise DataError(f"{self.root}/{path}: is there twice")
            if info.compress_type not in _METHODS:
                raise DataError(
                    f"{self.root}/{path}: is compressed by method {info.compress_type}, which is not read\n"
                    "  help: pack the archive with DEFLATE, which is the usual method"
                )
            if info.file_size > info.compress_size * _DEFLATE_RATIO + 64:
                raise DataError(f"{self.root}/{path}: claims {info.file_size:,} bytes from {info.compress_size:,}")
            _require_size(self.root, path, info.file_size, self._most)
            self._infos[path] = info
            yield Entry(path, info.file_size)

    def stream(self, entry: Entry) -> IO[bytes]:
        """Return an open file of the archive.

        If the archive is damaged, this method, or reading from the file, raises one of the exceptions in ``BROKEN``.
        """
        return self._archive().open(self._infos[entry.path])

    def read(self, entry: Entry) -> bytes:
        try:
            with self.stream(entry) as stream:
                return _bounded(stream, entry.size)
        except BROKEN as error:
            raise DataError(f"{self.name(entry)}: cannot be read: {error}") from error

    def start(self, entry: Entry, size: int) -> bytes:
        try:
            with self.stream(entry) as stream:
                return stream.read(min(size, entry.size))
        except BROKEN as error:
            raise DataError(f"{self.name(entry)}: cannot be read: {error}") from error

    def close(self) -> None:
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        self._own.__dict__.clear()


class TarTree(Tree):
    """The files of a tar archive; a compressed one is unpacked once into an unnamed temporary file."""

    def __init__(self, root: Path) -> None:
        self._places: dict[PurePosixPath, int] = {}
        self._moving = Lock()
        """Held while the position in the file changes, where the system cannot read at a given place."""
        self._file = self._plain(root)
        super().__init__(root)

    def _plain(self, root: Path) -> IO[bytes]:
        """Return the open archive, unpacked into a temporary file if it is compressed."""
        packed = root.open("rb")
        stream = _unpacked(packed)
        if stream is packed:
            return packed
        size = os.fstat(packed.fileno()).st_size
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - read until the tree is closed
        try:
            with packed, _named(root):
                while piece := stream.read(_PIECE):
                    unpacked.write(piece)
                    if unpacked.tell() > size * _DEFLATE_RATIO + _PIECE:
                        raise DataError(f"{root}: unpacks to more than {unpacked.tell():,} bytes from {size:,}")
        except BaseException:
            unpacked.close()
            raise
        unpacked.flush()
        return unpacked

    def _listed(self) -> Iterator[Entry]:
        size = os.fstat(self._file.fileno()).st_size
        for count, member in enumerate(members(self._file, size, str(self.root))):
            _require_count(self.root, count)
            path = _inside(self.root, member.name)
            if not (path.parts and is_data(path)):
                continue
            if member.form is Form.folder:
                self.folders.add(path)
                continue
            if member.form is Form.other:
                raise DataError(f"{self.root}/{path}: is a link or device; archives of data hold files")
            if path in self._places:
                raise DataError(f"{self.root}/{path}: is there twice")
            _require_size(self.root, path, member.size)
            self._places[path] = member.start
            yield Entry(path, member.size)

    def read(self, entry: Entry) -> bytes:
        content = self._read_at(self._places[entry.path], entry.size)
        if len(content) != entry.size:
            raise DataError(f"{self.name(entry)}: the archive ends within it")
        return content

    def _read_at(self, place: int, size: int) -> bytes:
        """Return up to ``size`` bytes from the position ``place``; several threads may call it at the same time."""
        if sys.platform != "win32":
            return os.pread(self._file.fileno(), size, place)
        with self._moving:
            self._file.seek(place)
            return self._file.read(size)

    def close(self) -> None:
        self._file.close()


def _inside(root: Path, name: str) -> PurePosixPath:
    """Return the path of an archive entry; raises ``DataError`` for one that leads out of the archive.

    The path of the root itself, the entry ``.`` that ``tar -C FOLDER .`` writes, has no parts.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if name.rstrip("/") == ".":
        return path
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name or not path.parts:
        raise DataError(f"{root}: its entry {name!r} leads out of the archive")
    return path


def _require_count(root: Path, count: int) -> None:
    """Raise ``DataError`` for more files than ``MOST_FILES``."""
    if count > MOST_FILES:
        raise DataError(f"{root}: more than {MOST_FILES:,} files")


def _require_size(root: Path, path: PurePosixPath, size: int, most: int = MOST_BYTES) -> None:
    """Raise ``DataError`` for a file larger than ``most`` bytes."""
    if size > most:
        raise DataError(f"{root}/{path}: {size:,} bytes; a file has {most:,} at most")


def _bounded(stream: IO[bytes], size: int) -> bytes:
    """Read exactly ``size`` bytes; raises ``ValueError`` where the stream has more or fewer."""
    content = stream.read(size + 1)
    if len(content) != size:
        raise ValueError(f"unpacks to {'more' if len(content) > size else 'fewer'} bytes than its {size:,}")
    return content
