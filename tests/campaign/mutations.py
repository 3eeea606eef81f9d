"""Change files at random: single bytes and numbers of any file, and the parts of the formats that striate reads.

A change of the second kind unpacks a file, changes one of its parts, and packs it again with right lengths and
checksums, so that the readers get past their first checks. Everything is drawn from one ``random.Random``.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Draw = random.Random
Change = Callable[[bytes, Draw], bytes]

NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62,
2**63 - 1, 2**64 - 1)  # fmt: skip
TEXTS = (
    "", "-1", "0", "1e999", "-inf", "nan", "NaN", "true", "null", "9" * 25, "9" * 5000, "0x10", "1_000", "1,5", "..",
    "../x",
    "/etc/passwd", "\\", "C:x", "a" * 2000, "é", "\ufeff", "\u202e", "\0", '"', "'", "\n", "\t", ";", ":", "#",
    "@data", "%s",
)  # fmt: skip
_MOST = 400_000
"""The largest file in bytes that a change makes, apart from what was larger before."""


# Any file


def flip(content: bytes, draw: Draw) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        place = draw.randrange(len(changed))
        changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def number(content: bytes, draw: Draw) -> bytes:
    """Overwrite bytes by an extreme integer of 1, 2, 4 or 8 bytes, in either order."""
    size = draw.choice((1, 2, 4, 8))
    value = draw.choice(NUMBERS) % 256**size
    place = draw.randrange(len(content))
    return content[:place] + value.to_bytes(size, draw.choice(("little", "big"))) + content[place + size :]


def cut(content: bytes, draw: Draw) -> bytes:
    return content[: draw.randrange(len(content))]


def remove(content: bytes, draw: Draw) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.choice((1, 2, 4, 16, 512)) :]


def repeat(content: bytes, draw: Draw) -> bytes:
    start = draw.randrange(len(content))
    part = content[start : start + draw.choice((1, 2, 8, 64, 512))]
    return content[:start] + part * draw.choice((2, 3, 10, 100)) + content[start:]


def insert(content: bytes, draw: Draw) -> bytes:
    place = draw.randrange(len(content) + 1)
    added = draw.choice((draw.randbytes(draw.choice((1, 4, 40))), draw.choice(TEXTS).encode("utf-8", "surrogatepass")))
    return content[:place] + added + content[place:]


def words(content: bytes, draw: Draw) -> bytes:
    """Replace a word or number in text by an extreme one, or by another word of the text."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?|[A-Za-z_]{2,}", content[:_MOST]))
    if not found:
        return flip(content, draw)
    one = draw.choice(found)
    new = draw.choice(
        (draw.choice(TEXTS).encode("utf-8", "surrogatepass"), str(draw.choice(NUMBERS)).encode(), draw.choice(found)[0])
    )
    return content[: one.start()] + new + content[one.end() :]


def lines(content: bytes, draw: Draw) -> bytes:
    """Repeat, remove, exchange or join lines."""
    parts = content.split(b"\n")
    one, other = draw.randrange(len(parts)), draw.randrange(len(parts))
    match draw.randrange(4):
        case 0:
            parts[one:one] = [parts[other]] * draw.choice((1, 2, 50))
        case 1:
            del parts[one]
        case 2:
            parts[one], parts[other] = parts[other], parts[one]
        case _:
            parts[one : one + 2] = [b"".join(parts[one : one + 2])]
    return b"\n".join(parts)


ANY: tuple[Change, ...] = (flip, flip, number, number, cut, remove, repeat, insert)
TEXT: tuple[Change, ...] = (flip, words, words, words, lines, lines, insert, cut, repeat)


def changed(content: bytes, changes: tuple[Change, ...], draw: Draw) -> bytes:
    """Return the content after one change; one that cannot be made (an empty file, another format) is a flip."""
    if not content:
        return draw.randbytes(draw.choice((1, 8, 100)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            new = draw.choice(changes)(content, draw)
    except Exception:  # noqa: BLE001 - what an earlier change damaged cannot be taken apart
        new = flip(content, draw)
    return new if len(new) <= max(_MOST, len(content)) else new[: max(_MOST, len(content))]


# JSON


def tree(document: Any, draw: Draw) -> Any:
    """Return a JSON document with one of its parts changed."""
    places: list[tuple[Any, Any]] = []

    def visit(part: Any) -> None:
        if isinstance(part, dict | list):
            for key in list(part) if isinstance(part, dict) else range(len(part)):
                places.append((part, key))
                visit(part[key])

    visit(document)
    if not places:
        return draw.choice(([], {}, 0, "", None))
    holder, key = draw.choice(places)
    other, other_key = draw.choice(places)
    match draw.randrange(8):
        case 0:
            del holder[key]
        case 1:
            holder[key] = draw.choice((None, True, False, [], {}, 0.5, -0.0, 1e308, 1e999, *NUMBERS, *TEXTS))
        case 2:
            holder[key] = other[other_key]
        case 3:
            holder[key] = [holder[key]] * draw.choice((0, 1, 2, 40))
        case 4:
            holder[key] = {str(draw.choice(TEXTS)): holder[key]}
        case 5 if isinstance(holder, dict):
            holder[draw.choice((*TEXTS, str(other_key)))] = holder.pop(key)
        case 6 if isinstance(holder, list):
            holder[key:key] = [holder[key]] * draw.choice((1, 2, 30))
        case _:
            holder[key] = draw.choice((*NUMBERS, -2.5)) if isinstance(holder[key], int | float) else str(holder[key])
    return document


def in_json(content: bytes, draw: Draw) -> bytes:
    text = json.dumps(tree(json.loads(content), draw), ensure_ascii=False)
    if draw.random() < 0.03:
        depth = draw.choice((60, 70, 1000, 100_000))
        text = text.replace("null", "[" * depth + "]" * depth, 1)
    return text.encode("utf-8", "surrogatepass")


def in_json_lines(content: bytes, draw: Draw) -> bytes:
    parts = content.split(b"\n")
    place = draw.randrange(len(parts))
    parts[place] = in_json(parts[place], draw)
    return b"\n".join(parts)


# safetensors


def in_header(content: bytes, draw: Draw) -> bytes:
    """Change the JSON header of a safetensors file, or the JSON inside its metadata, or a tensor's bytes."""
    length = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    inner = header.get("__metadata__", {})
    names = [name for name, text in inner.items() if text.startswith(("{", "["))]
    if names and draw.random() < 0.7:
        name = draw.choice(names)
        inner[name] = json.dumps(tree(json.loads(inner[name]), draw))
    elif rest and draw.random() < 0.3:
        rest = changed(rest, ANY, draw)
    else:
        header = tree(header, draw)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def in_checkpoint(content: bytes, draw: Draw) -> bytes:
    """Change the document of a checkpoint, or a header entry, and make the checksum fit again."""
    import numpy as np

    length = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop("__metadata__")
    tensors = {name: (one, rest[one["data_offsets"][0] : one["data_offsets"][1]]) for name, one in header.items()}
    if draw.random() < 0.8:
        about, document = tensors["document"]
        document = in_json(document, draw)
        tensors["document"] = ({**about, "shape": [len(document)]}, document)
    else:
        name = draw.choice(list(tensors))
        match draw.randrange(3):
            case 0:
                del tensors[name]
            case 1:
                tensors[draw.choice((*TEXTS, "callbacks.9.x", "step.nothing"))] = tensors.pop(name)
            case _:
                tensors[name] = ({"dtype": "F32", "shape": [0]}, b"")
    end, parts, entries, digest = 0, [], {}, hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        about, data = tensors[name]
        entries[name] = {**about, "data_offsets": [end, end + len(data)]}
        end += len(data)
        parts.append(data)
        digest.update(name.encode("utf-8", "surrogatepass"))
        digest.update(np.frombuffer(data, np.uint8).data)
    own = json.loads(metadata["striate-checkpoint"])
    own["checksum"] = digest.hexdigest()
    text = json.dumps({"__metadata__": {"striate-checkpoint": json.dumps(own)}, **entries}).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


# Archives


def in_gzip(inner: tuple[Change, ...]) -> Change:
    """Return a change of what a gzip, bzip2 or xz file packs."""

    def change(content: bytes, draw: Draw) -> bytes:
        for magic, unpack, pack in (
            (b"\x1f\x8b", gzip.decompress, lambda data: gzip.compress(data, 1)),
            (b"BZh", bz2.decompress, bz2.compress),
            (b"\xfd7zXZ", lzma.decompress, lambda data: lzma.compress(data, preset=0)),
        ):
            if content.startswith(magic):
                return pack(changed(unpack(content), inner, draw))
        return changed(content, inner, draw)

    return change


def in_zip(inner: tuple[Change, ...], methods: tuple[int, ...] = (0, 8)) -> Change:
    """Return a change of a zip archive: of a member's content, name, method, flags or declared size."""

    def change(content: bytes, draw: Draw) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as given:
            members = [(info.filename, given.read(info)) for info in given.infolist()]
        place = draw.randrange(len(members))
        name, data = members[place]
        match draw.randrange(8):
            case 0:
                members[place] = (
                    draw.choice((*TEXTS, "../x.png", "/x.png", "a\\..\\..\\x.png", "x/", name + "/", name.upper())),
                    data,
                )
            case 1:
                members.append(draw.choice(members))
            case 2:
                members.append((name + ".zip", content))
            case 3:
                del members[place]
            case _:
                members[place] = (name, changed(data, inner, draw))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", draw.choice(methods)) as made:
            for name, data in members:
                made.writestr(zipfile.ZipInfo(name or "x"), data, draw.choice(methods))
        packed = bytearray(stream.getvalue())
        if draw.random() < 0.3:  # a field of a local header or of the directory
            magic = draw.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"))
            starts = [one.start() for one in re.finditer(magic, packed)]
            if starts:
                place = draw.choice(starts) + draw.randrange(4, 30)
                packed[place : place + 2] = (draw.choice(NUMBERS) % 65536).to_bytes(2, "little")
        return bytes(packed)

    return change


def in_tar(inner: tuple[Change, ...]) -> Change:
    """Return a change of a tar archive: of a member's content, or of a field of its header, with a right checksum."""

    def change(content: bytes, draw: Draw) -> bytes:
        if draw.random() < 0.4:
            stream = io.BytesIO()
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as given:
                members = [(one, given.extractfile(one)) for one in given]
                place = draw.randrange(len(members))
                formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
                with tarfile.open(fileobj=stream, mode="w:", format=draw.choice(formats)) as made:
                    for number, (one, file) in enumerate(members):
                        data = b"" if file is None else file.read()
                        if number == place:
                            data = changed(data, inner, draw)
                            if draw.random() < 0.3:
                                one.name = draw.choice((*TEXTS, "../x.png", "/x.png", "n" * 300))
                            if draw.random() < 0.1:
                                one.pax_headers = {
                                    draw.choice(("path", "size", "GNU.sparse.size", "x")): draw.choice(TEXTS)
                                }
                        one.size = len(data)
                        made.addfile(one, io.BytesIO(data))
            return stream.getvalue()
        blocks = bytearray(content)
        starts = [place for place in range(0, len(blocks) - 511, 512) if blocks[place + 257 : place + 262] == b"ustar"]
        start = draw.choice(starts)
        offset, size = draw.choice(
            ((0, 100), (100, 8), (124, 12), (124, 12), (156, 1), (156, 1), (157, 100), (257, 8), (345, 155))
        )
        field = draw.choice((
            draw.randbytes(size), b"\xff" * size, b"\x80" + (b"\0" * size)[1:-4] + draw.randbytes(4),
            b"7" * (size - 1) + b"\0", b"\0" * size,
            draw.choice((b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"D", b"V", b"X")),
        ))[:size]  # fmt: skip
        blocks[start + offset : start + offset + len(field)] = field
        header = bytes(blocks[start : start + 148]) + b" " * 8 + bytes(blocks[start + 156 : start + 512])
        blocks[start + 148 : start + 156] = b"%06o\0 " % (sum(header) % 8**6)
        return bytes(blocks)

    return change


# Pictures, arrays, protocol buffers


def in_png(content: bytes, draw: Draw) -> bytes:
    """Change a chunk of a PNG file, with a right checksum."""
    place, chunks = 8, list[tuple[bytes, bytes]]()
    while place + 12 <= len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    one = draw.randrange(len(chunks))
    name, data = chunks[one]
    match draw.randrange(5):
        case 0:
            chunks.insert(
                draw.randrange(len(chunks)),
                (
                    draw.choice((b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"tRNS", b"PLTE", b"IDAT", b"gAMA")),
                    draw.choice((draw.randbytes(9), b"a\0\0" + zlib.compress(bytes(9)))),
                ),
            )
        case 1:
            del chunks[one]
        case 2 if name == b"IDAT":
            chunks[one] = (name, zlib.compress(changed(zlib.decompress(data), ANY, draw)))
        case _:
            chunks[one] = (name, changed(data, ANY, draw))
    packed = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return content[:8] + packed


def in_npy(content: bytes, draw: Draw) -> bytes:
    """Change the header of a .npy file, with a right length."""
    (length,) = struct.unpack("<H", content[8:10])
    header, data = content[10 : 10 + length], content[10 + length :]
    match draw.randrange(4):
        case 0:
            sizes = ", ".join(str(draw.choice((*NUMBERS, 2, 3, 8))) for _ in range(draw.choice((0, 1, 2, 3, 40))))
            header = re.sub(rb"'shape': \([^)]*\)", f"'shape': ({sizes})".encode(), header)
        case 1:
            kinds = (
                "|O",
                "<c16",
                "<U9",
                "|S0",
                "<m8",
                "<M8[s]",
                "|V8",
                ">f4",
                "<f2",
                "<g",
                "<u8",
                "|b1",
                "?",
                "[('a', '<f4')]",
            )
            header = re.sub(rb"'descr': [^,]*", f"'descr': {draw.choice(kinds)!r}".encode(), header)
        case 2:
            header = words(header, draw)
        case _:
            header = changed(header, (flip, remove, repeat, insert), draw)
    return content[:8] + struct.pack("<H", len(header) % 65536) + header + data


def in_protobuf(content: bytes, draw: Draw) -> bytes:
    """Change a field of a protocol buffer, at any depth that can be parsed, with right lengths above it."""
    parts: list[tuple[int, int, Any]] = []
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(content):
        key = varint()
        kind = key & 7
        if kind == 0:
            value: Any = varint()
        elif kind == 2:
            size = varint()
            if place + size > len(content):
                raise ValueError("not a message")
            value = content[place : place + size]
            place += size
        else:
            size = {1: 8, 5: 4}[kind]
            value = content[place : place + size]
            place += size
        parts.append((key >> 3, kind, value))
    one = draw.randrange(len(parts))
    field, kind, value = parts[one]
    if kind == 2 and len(value) > 1 and draw.random() < 0.8:
        try:
            value = in_protobuf(value, draw)
        except (ValueError, IndexError, KeyError):
            value = changed(value, (flip, words, words, cut, repeat, insert, number), draw)
        parts[one] = (field, kind, value)
    else:
        match draw.randrange(5):
            case 0:
                del parts[one]
            case 1:
                parts[one:one] = [parts[one]] * draw.choice((1, 2, 50))
            case 2:
                parts[one] = (draw.randrange(1, 40), kind, value)
            case 3:
                parts[one] = (field, 0, draw.choice(NUMBERS) % 2**64)
            case _:
                parts[one] = (field, 2, draw.choice(TEXTS).encode("utf-8", "surrogatepass"))

    def packed(value: int) -> bytes:
        found = bytearray()
        while True:
            found.append(value & 127 | (128 if value > 127 else 0))
            value >>= 7
            if not value:
                return bytes(found)

    made = bytearray()
    for field, kind, value in parts:
        made += packed(field << 3 | kind)
        made += packed(value) if kind == 0 else (packed(len(value)) if kind == 2 else b"") + value
    return bytes(made)
