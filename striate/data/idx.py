"""Read the IDX format, in which MNIST is published: a header, then the elements in row-major order.

    byte 0-1   0, 0
    byte 2     type of the elements; 8 = unsigned bytes, the only type that image sets use
    byte 3     rank
    then       one size per axis, 4 bytes each, big-endian
    then       the elements

The header is checked against the length of the file before memory is allocated. A raw file must be exactly as long as
its header says. A gzip file must state this length at its end, and must have a size from which so many bytes can be
unpacked. No more bytes are unpacked than the header says.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from striate.errors import DataError

_UNSIGNED_BYTE = 8
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_FRAME = 18  # bytes of header and trailer around the shortest stream
_DEFLATE_RATIO = 1032  # 258 bytes from 2 bits is the densest that RFC 1951 allows
_LONGEST = 1 << 31  # bytes; MNIST has 47 million
_PIECE = 1 << 20


def read_idx(path: Path, rank: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file, raw or gzip, as a uint8 array with ``rank`` axes.

    Raises ``DataError``, which names the file, if the file is missing, truncated, too long, or of another format, rank
    or type.
    """
    try:
        with path.open("rb") as stream:
            length = path.stat().st_size
            if stream.read(2) == _GZIP_MAGIC:
                return _read_gzip(path, stream, length, rank)
            stream.seek(0)
            shape = _read_shape(path, stream, rank)
            promised = 4 + 4 * rank + math.prod(shape)
            if promised != length:
                raise DataError(f"{path}: {_long(shape)} make {promised:,} bytes, but the file has {length:,}")
            return _read_elements(path, stream, shape)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read_gzip(path: Path, stream: BufferedIOBase, length: int, rank: int) -> npt.NDArray[np.uint8]:
    """Read a gzip file of ``length`` bytes, checked against the length in its trailer."""
    if length < _GZIP_FRAME:
        raise DataError(f"{path}: a gzip file of {length} bytes is truncated")
    stream.seek(-4, 2)
    (trailer,) = struct.unpack("<I", stream.read(4))
    stream.seek(0)
    with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
        shape = _read_shape(path, cast(BufferedIOBase, unpacked), rank)
        promised = 4 + 4 * rank + math.prod(shape)
        if promised != trailer or promised > length * _DEFLATE_RATIO:
            raise DataError(
                f"{path}: {_long(shape)} make {promised:,} bytes, but the gzip file of {length:,} bytes ends with the "
                f"length {trailer:,}; it is truncated or damaged"
            )
        return _read_elements(path, cast(BufferedIOBase, unpacked), shape)


def _read_shape(path: Path, stream: BufferedIOBase, rank: int) -> tuple[int, ...]:
    """Read and check the header; returns the shape."""
    header = stream.read(4)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file; it starts with {header!r}")
    if header[2] != _UNSIGNED_BYTE or header[3] != rank:
        raise DataError(
            f"{path}: an IDX file of type {header[2]} and rank {header[3]}; expected type {_UNSIGNED_BYTE} (unsigned "
            f"bytes) and rank {rank}{' (labels where pictures should be?)' if (rank, header[3]) == (3, 1) else ''}"
        )
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(f"{path}: truncated within its header")
    shape = struct.unpack(f">{rank}I", sizes)
    if 0 in shape:
        raise DataError(f"{path}: empty, {_long(shape)}")
    if math.prod(shape) > _LONGEST:
        raise DataError(f"{path}: {_long(shape)} are more than the {_LONGEST:,} bytes that are read")
    return shape


def _read_elements(path: Path, stream: BufferedIOBase, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read the elements; memory grows with the bytes that arrive, so that a wrong header cannot cost much."""
    expected = math.prod(shape)
    elements = bytearray()
    while len(elements) < expected:
        piece = stream.read(min(_PIECE, expected - len(elements)))
        if not piece:
            raise DataError(f"{path}: truncated; {_long(shape)} expected, {len(elements):,} bytes found")
        elements += piece
    if stream.read(1):  # also makes gzip compare its checksum
        raise DataError(f"{path}: continues after the {_long(shape)} of its header")
    return np.frombuffer(elements, dtype=np.uint8).reshape(shape)


def _long(shape: tuple[int, ...]) -> str:
    """Return the shape as text, such as ``60000 × 28 × 28 elements``."""
    return f"{' × '.join(str(size) for size in shape)} elements"
