"""Reads the parts of 64-bit little-endian ELF object files that exported networks need: sections and symbols."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from striate.errors import GraphError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOLS, _ALLOCATED, _GLOBAL, _AARCH64 = 2, 2, 1, 183


class Section(NamedTuple):
    """One section of an ELF file: its ``name``, and the numbers in its header.

    ``kind`` and ``flags`` are ELF's numbers sh_type and sh_flags. ``offset`` and ``size`` say where the section is in
    the file, in bytes. ``link`` is the number of another section: for a table of symbols, the section with their names.
    """

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def sections(data: bytes) -> list[Section]:
    """Return the sections of the object file ``data``, in the order of its section table."""
    header = _HEADER.unpack_from(data)
    start, size, count, names = header[6], header[11], header[12], header[13]
    rows = [_SECTION.unpack_from(data, start + i * size) for i in range(count)]
    strings = rows[names][4]
    return [Section(_text(data, strings + row[0]), row[1], row[2], row[4], row[5], row[6]) for row in rows]


def is_arm_object(data: bytes) -> bool:
    """Return whether an object file is for 64-bit ARM."""
    return _HEADER.unpack_from(data)[2] == _AARCH64


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def _symbols(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the name, the binding and the number of the section of each symbol; 0 means that it is undefined."""
    every = sections(data)
    for table in every:
        if table.kind == _SYMBOLS:
            for start in range(table.offset + _SYMBOL.size, table.offset + table.size, _SYMBOL.size):
                name, info, _, section, _, _ = _SYMBOL.unpack_from(data, start)
                yield _text(data, every[table.link].offset + name), info >> 4, section


def require_self_contained(data: bytes) -> None:
    """Raise ``GraphError`` if an object file refers to symbols that it does not define."""
    undefined = sorted(name for name, _, section in _symbols(data) if section == 0)
    if undefined:
        raise GraphError(f"the object needs symbols of a library: {', '.join(undefined)}")


def exported_symbols(data: bytes) -> list[str]:
    """Return the names of the global symbols that an object file defines, sorted."""
    return sorted(name for name, binding, section in _symbols(data) if section and binding == _GLOBAL)


def with_section(data: bytes, name: str, contents: bytes) -> bytes:
    """Return an object file in which ``contents`` replace the beginning of the section ``name``.

    The size of the section does not change. Raises ``GraphError`` if ``contents`` are longer than the section.
    """
    (found,) = [section for section in sections(data) if section.name == name]
    if found.size < len(contents):
        raise GraphError(f"section {name} has {found.size} bytes, not {len(contents)}")
    return data[: found.offset] + contents + data[found.offset + len(contents) :]


def sizes(data: bytes, constants: str) -> tuple[int, int]:
    """Return how many bytes of an object file are loaded into memory, as (constants, all other sections).

    ``constants`` is the name of the section with the constants.
    """
    loaded = [section for section in sections(data) if section.flags & _ALLOCATED]
    weights = sum(section.size for section in loaded if section.name == constants)
    return weights, sum(section.size for section in loaded) - weights
