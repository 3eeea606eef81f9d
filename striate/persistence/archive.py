"""Read the zip archives that ``torch.save`` writes, and check every size and offset in them.

    entries           local header (30 bytes, name, extra), content
    directory         one record for each entry: name, sizes, offset of its local header
    zip64 record      present if a number does not fit into 32 bits (or 16)
    end               22 bytes: number of entries, offset of the directory

Entries must be stored without compression, lie inside the file without overlap, and have different names. So all
contents together are never larger than the file, whatever sizes it claims.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from striate.errors import ModelFileError

MOST_ENTRIES = 100_000
LARGEST_DIRECTORY = 32_000_000
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_RECORD, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_LONGEST_COMMENT = 65_535


@dataclass(frozen=True)
class Entry:
    """An entry of a zip archive: its name, and the position and the checksum of its content.

    ``start`` is the offset of the content in the archive and ``size`` its length, both in bytes; ``checksum`` is its
    CRC-32.
    """

    name: str
    start: int
    size: int
    checksum: int


class Archive:
    """The entries of an open zip file, whose structure is checked by the constructor.

    ``stream`` is the open file, ``size`` its length in bytes, and ``where`` its name in error messages. Raises
    ``ModelFileError`` if the archive is damaged, compressed or inconsistent.
    """

    def __init__(self, stream: BinaryIO, size: int, where: str) -> None:
        self._stream, self._size, self._where = stream, size, where
        self.entries: Mapping[str, Entry] = self._directory()

    def error(self, problem: str) -> ModelFileError:
        return ModelFileError(f"{self._where}: {problem}\n  help: the file is truncated or hostile; save it again")

    def _at(self, start: int, count: int) -> bytes:
        if not 0 <= start <= start + count <= self._size:
            raise self.error(f"bytes {start:,} to {start + count:,} lie outside of the file, which has {self._size:,}")
        self._stream.seek(start)
        content = self._stream.read(count)
        if len(content) != count:
            raise self.error("the file became shorter while it was read")
        return content

    def _end(self) -> tuple[int, int, int]:
        """Return (number of entries, size of the directory in bytes, offset of the directory)."""
        tail_start = max(0, self._size - 22 - _LONGEST_COMMENT)
        tail = self._at(tail_start, self._size - tail_start)
        place = tail.rfind(_END)
        if place < 0 or place + 22 > len(tail):
            raise self.error("the end of the archive is missing")
        disk, first, here, count, size, start, _ = struct.unpack("<4xHHHHIIH", tail[place : place + 22])
        end = tail_start + place
        if 0xFFFF in (here, count) or 0xFFFFFFFF in (size, start):
            locator = self._at(end - 20, 20)
            if not locator.startswith(_LOCATOR_64):
                raise self.error("the zip64 locator is missing")
            record = self._at(struct.unpack("<4xIQI", locator)[1], 56)
            if not record.startswith(_END_64):
                raise self.error("the zip64 end is missing")
            disk, first, here, count, size, start = struct.unpack("<4xQHHIIQQQQ", record)[3:9]
        if disk or first or here != count:
            raise self.error("the archive has several parts")
        if count > MOST_ENTRIES or size > LARGEST_DIRECTORY:
            raise self.error(f"{count:,} entries in {size:,} bytes; the limit is {MOST_ENTRIES:,} entries")
        return count, size, start

    def _directory(self) -> Mapping[str, Entry]:
        count, size, start = self._end()
        directory = self._at(start, size)
        found: dict[str, Entry] = {}
        position = 0
        for _ in range(count):
            header = directory[position : position + 46]
            if len(header) < 46 or not header.startswith(_RECORD):
                raise self.error("its directory is damaged")
            _, _, flags, method, _, _, checksum, packed, unpacked, name_size, extra_size, comment_size = struct.unpack(
                "<HHHHHHIIIHHH", header[4:34]
            )
            local = struct.unpack("<I", header[42:46])[0]
            raw = directory[position + 46 : position + 46 + name_size]
            extra = directory[position + 46 + name_size : position + 46 + name_size + extra_size]
            position += 46 + name_size + extra_size + comment_size
            try:
                name = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.error("the name of an entry is not UTF-8") from error
            unpacked, packed, local = _widened(extra, unpacked, packed, local)
            if flags & 1:
                raise self.error(f"entry {name[:80]!r} is encrypted")
            if method != 0 or packed != unpacked:
                raise self.error(f"entry {name[:80]!r} is compressed; torch.save stores entries as they are")
            if name in found:
                raise self.error(f"two entries are named {name[:80]!r}")
            found[name] = Entry(name, self._content_start(name, local), unpacked, checksum)
        self._check_disjoint(found, start)
        return found

    def _content_start(self, name: str, local: int) -> int:
        header = self._at(local, 30)
        if not header.startswith(_LOCAL):
            raise self.error(f"entry {name[:80]!r} does not begin where the directory says")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        if self._at(local + 30, name_size) != name.encode():
            raise self.error(f"entry {name[:80]!r} has another name in the directory")
        return local + 30 + name_size + extra_size

    def _check_disjoint(self, entries: Mapping[str, Entry], directory: int) -> None:
        end, before = 0, ""
        for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.size)):
            if entry.start < end:
                raise self.error(f"entries {before[:80]!r} and {entry.name[:80]!r} overlap")
            end, before = entry.start + entry.size, entry.name
        if end > directory:
            raise self.error(f"entry {before[:80]!r} overlaps the directory")

    def position(self, name: str) -> Entry:
        """Return the entry of this name and move the stream to the start of its content.

        Raises ``ModelFileError`` if there is no such entry.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise self.error(f"entry {name[:80]!r} is missing")
        self._stream.seek(entry.start)
        return entry

    def content(self, name: str) -> npt.NDArray[np.uint8]:
        """Return the content of the entry ``name`` as a uint8 array of shape (size,).

        Raises ``ModelFileError`` if the entry is missing, cut off or larger than the memory, or its checksum does not
        match.
        """
        entry = self.position(name)
        try:
            content = np.fromfile(self._stream, np.uint8, entry.size)
        except MemoryError as error:
            raise self.error(f"entry {name!r} of {entry.size:,} bytes exceeds the memory") from error
        if len(content) != entry.size:
            raise self.error(f"entry {name[:80]!r} ends early")
        if zlib.crc32(content.data) != entry.checksum:
            raise self.error(f"the checksum of entry {name[:80]!r} is another than that of its content")
        return content


def _widened(extra: bytes, unpacked: int, packed: int, local: int) -> tuple[int, int, int]:
    """Return both sizes and the offset, taking those equal to 2³² − 1 from the zip64 extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack("<HH", extra[position : position + 4])
        field = extra[position + 4 : position + 4 + size]
        if kind == 1:
            wide = [int.from_bytes(field[place : place + 8], "little") for place in range(0, len(field) - 7, 8)]
            numbers = [wide.pop(0) if one == 0xFFFFFFFF and wide else one for one in (unpacked, packed, local)]
            return numbers[0], numbers[1], numbers[2]
        position += 4 + size
    return unpacked, packed, local
