"""List the files of a tar archive (ustar, GNU and pax formats), and check every size and offset in it.

    header     512 bytes: name 0-99, size 124-135, checksum 148-155, type 156, magic 257-262, prefix 345-499
    content    padded with zeros to whole blocks of 512 bytes
    …
    end        blocks of zeros

A header of type L (GNU) or x (pax) describes the header after it. Its content, of at most ``_LONGEST`` bytes, is the
name of the next entry, or lines such as ``25 path=folder/1.png``. Headers are read once, from the beginning of the
archive to the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import IO

from striate.errors import DataError

BLOCK = 512
_LONGEST = 1 << 20
"""The most bytes of a pax header or a long name."""
_FILES = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")


class Form(Enum):
    """What an entry of an archive is; links, devices and sparse files count as ``other``."""

    file = "file"
    folder = "folder"
    other = "other"


@dataclass(frozen=True)
class Member:
    """An entry of a tar archive: its name, its form, and the start and the size of its content, in bytes."""

    name: str
    form: Form
    start: int
    size: int


def is_header(block: bytes) -> bool:
    """Return whether a block of bytes is a tar header: it has 512 bytes, and the checksum that it declares."""
    if len(block) != BLOCK:
        return False
    try:
        declared = _number(block[148:156])
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    return declared in (sum(rest), sum(rest) - 256 * sum(byte > 127 for byte in rest))  # some writers add signed bytes


def members(stream: IO[bytes], size: int, where: str) -> Iterator[Member]:
    """Yield the entries of a tar archive, in the order of the archive.

    ``stream`` reads the plain archive, which has ``size`` bytes, and ``where`` is its name in messages. Raises
    ``DataError`` for a damaged header, and for an entry that does not lie inside of the archive.
    """
    place = 0
    long_name: str | None = None
    records: dict[str, str] = {}
    while place < size:
        stream.seek(place)
        block = stream.read(BLOCK)
        if not block.strip(b"\0"):
            return
        if not is_header(block):
            raise DataError(f"{where}: its header at byte {place:,} is damaged, or it is not a tar archive")
        form = block[156:157]
        try:
            length = int(records["size"]) if records.get("size", "").isdecimal() else _number(block[124:136])
        except ValueError:
            length = -1
        start = place + BLOCK
        length = 0 if form in _WITHOUT_CONTENT else length
        if not 0 <= length <= size - start:
            raise DataError(f"{where}: the archive ends within the entry at byte {place:,}")
        place = start + -(-length // BLOCK) * BLOCK
        if form in b"LKxgX":
            if length > _LONGEST:
                raise DataError(f"{where}: its header at byte {start - BLOCK:,} has {length:,} bytes")
            content = stream.read(length)
            if form == b"L":
                long_name = _text(content.partition(b"\0")[0])
            elif form in b"xX":
                records = _records(content, f"{where}: its header at byte {start - BLOCK:,}")
            continue
        if form == b"S":
            raise DataError(f"{where}: holds a sparse file\n  help: pack it without the sparse option of tar")
        name = records.get("path") or long_name or _name(block)
        if form in _FILES and not any(key.startswith("GNU.sparse") for key in records):
            kind = Form.folder if form == b"\0" and name.endswith("/") else Form.file
        else:
            kind = Form.folder if form == b"5" else Form.other
        yield Member(name, kind, start, length)
        long_name, records = None, {}


def _name(block: bytes) -> str:
    """Return the name in a header; the prefix is a part of it in the POSIX formats alone."""
    name, prefix = (part.partition(b"\0")[0] for part in (block[:100], block[345:500]))
    return _text(prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name)


def _number(field: bytes) -> int:
    """Return a number in a header: octal digits, or a binary number after a byte of 0x80 (negative: 0xff).

    Raises ``ValueError`` for anything else.
    """
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big", signed=field[:1] == b"\xff")
    digits = field.partition(b"\0")[0].strip()
    return int(digits or b"0", 8)


def _records(content: bytes, where: str) -> dict[str, str]:
    """Return the entries of a pax header, lines of ``LENGTH KEY=VALUE`` whose length counts the whole line."""
    found: dict[str, str] = {}
    place = 0
    while place < len(content) and content[place]:
        digits, space, _ = content[place : place + 12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        line = content[place : place + length]
        if length <= len(digits) + 1 or len(line) != length or not line.endswith(b"\n"):
            raise DataError(f"{where} is damaged")
        key, _, value = line[len(digits) + 1 : -1].partition(b"=")
        found[_text(key)] = _text(value)
        place += length
    return found


def _text(name: bytes) -> str:
    """Return a name as text; bytes that are not UTF-8 are kept as surrogates, as in names of files."""
    return name.decode("utf-8", "surrogateescape")
