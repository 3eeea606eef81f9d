"""Read and write the safetensors format, and check every size and offset in a file.

    8 bytes        length of the header, little-endian
    header         JSON: {"__metadata__": {name: text}, tensor name: {"dtype", "shape", "data_offsets"}}
    the rest       the tensors, row-major, without gaps

All sizes in the header are compared with the size of the file before memory is allocated, so a malicious file cannot
make the reader allocate more memory than the size of the file.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from striate.dtypes import KNOWN
from striate.errors import ModelFileError
from striate.graph.value import Array, DType
from striate.persistence.element import Element

CHECKPOINT = "striate-checkpoint"
"""The name of the metadata of a training's checkpoint: ``striate.train.checkpoint``."""

LARGEST_HEADER = 16_000_000
"""Bytes. The format allows 100 MB; a thousand layers need less than 1 MB, and parsed JSON takes many times its text."""

DEEPEST = 64
"""The largest accepted depth of nested JSON lists and objects."""

MOST_TENSORS = 100_000
MOST_AXES = 16
LONGEST_NAME = 1000
_LONGEST_NUMBER = 20
_KEYS = {"dtype", "shape", "data_offsets"}
_ELEMENTS = {
    "F64": Element.float64, "F32": Element.float32, "F16": Element.float16, "BF16": Element.bfloat16,
    "I64": Element.int64, "I32": Element.int32, "I16": Element.int16, "I8": Element.int8,
    "U64": Element.uint64, "U32": Element.uint32, "U16": Element.uint16, "U8": Element.uint8, "BOOL": Element.bool,
}  # fmt: skip
# An unterminated string matches as well; otherwise each quote in it would be tried as a start, in quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True)
class Place:
    """The element type and shape of a tensor in a file, and the position of its bytes.

    The bytes are those from offset ``start`` (inclusive) to offset ``stop`` (exclusive).
    """

    element: Element
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def dtype(self) -> DType | None:
        """The dtype of the tensor as a ``DType``, or None for element types that graphs do not have, such as int8."""
        return DType[self.element.value] if self.element.value in KNOWN else None


@dataclass(frozen=True)
class Header:
    """The checked contents of a file's header: its ``metadata``, and the position of each tensor by name."""

    metadata: Mapping[str, str]
    places: Mapping[str, Place]


_CODES = {element.value: code for code, element in _ELEMENTS.items()}


def encoded(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return a safetensors file with these tensors and metadata as a list of parts, to be written in this order.

    The parts are the header and the bytes of each tensor, which are copied only if the tensor is not contiguous.
    Tensors with the largest elements come first, so that every tensor is aligned. Raises ``ModelFileError`` if the
    header would exceed 16 MB.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    parts: list[bytes | memoryview] = []
    end = 0
    for name in order:
        array = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("="))
        entries[name] = {
            "dtype": _CODES[array.dtype.name], "shape": list(tensors[name].shape),
            "data_offsets": [end, end + array.nbytes],
        }  # fmt: skip
        end += array.nbytes
        if array.nbytes:
            parts.append(array.reshape(-1).view(np.uint8).data)
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > LARGEST_HEADER:
        raise ModelFileError(f"the header is larger than {LARGEST_HEADER // 10**6} MB and cannot be saved")
    return [len(header).to_bytes(8, "little") + header, *parts]


def encode(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file with these tensors and metadata.

    Raises ``ModelFileError`` if the header would exceed 16 MB.
    """
    return b"".join(encoded(tensors, metadata))


OF_TORCH = (".pth", ".pt", ".bin", ".ckpt")
"""The suffixes of files of torch.save."""
OF_OURS = "give the folder that `striate train` made, or a file that st.save wrote"
"""What to open instead of a path at which there is no model."""


def open_regular(path: Path, cure: str = OF_OURS) -> BinaryIO:
    """Open a file for reading in binary mode.

    Raises ``ModelFileError`` if the file is missing or unreadable, or is a folder, a pipe or a device. ``cure``, the
    last line of the error message, says what to do.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would wait for a writer for ever
            what = "a folder" if path.is_dir() else "not a regular file"
            raise ModelFileError(f"{path}: {what}\n  help: {cure}")
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: {reason}\n  help: {cure}") from error


_OTHER_FILES = {
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture", b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file", b"\x80\x02": "a pickle", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle",
}  # fmt: skip
"""The first bytes of files that are often given by mistake. A safetensors file begins with its header's length."""


def read_header(path: Path, stream: BinaryIO) -> Header:
    """Read and check the header of the safetensors file that ``stream`` reads, but none of its tensors.

    ``path`` is used in error messages. Raises ``ModelFileError`` if the file is not a safetensors file, is cut off, or
    has sizes and offsets that contradict each other.
    """
    size = os.fstat(stream.fileno()).st_size
    foreign = f"{path}: not a safetensors file"
    if size < 10:
        raise ModelFileError(f"{foreign}: only {size} bytes\n  help: the file is cut off or foreign; {OF_OURS}")
    start = stream.read(8)
    known = next((kind for magic, kind in _OTHER_FILES.items() if start.startswith(magic)), None)
    if known is not None and path.suffix.lower() in OF_TORCH:
        raise ModelFileError(
            f"{path}: a file of PyTorch, which holds weights without a network\n"
            f"  help: build the network and give it the weights: st.load_torch_state(model, {str(path)!r})"
        )
    if known is not None:
        raise ModelFileError(f"{path}: {known}, not a model\n  help: {OF_OURS}")
    length = int.from_bytes(start, "little")
    if length > size - 8 or length > LARGEST_HEADER:
        limit = "the file has" if length > size - 8 else "the limit is"
        raise ModelFileError(
            f"{foreign} that can be read: it declares a header of {length:,} bytes, "
            f"{limit} {min(size - 8, LARGEST_HEADER):,}\n"
            f"  help: the file is cut off or foreign; {OF_OURS}"
        )
    document = parse_json(stream.read(length), f"{path}: the header")
    entries = object_of(document, f"{path}: the header")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in cast("dict[str, object]", metadata).values()
    ):
        raise ModelFileError(f"{path}: __metadata__ is not an object of texts")
    if len(entries) > MOST_TENSORS:
        raise ModelFileError(f"{path}: {len(entries):,} tensors; the limit is {MOST_TENSORS:,}")
    base = 8 + length
    places = {name: _place(f"{path}: tensor {name[:80]!r}", entry, base, size) for name, entry in entries.items()}
    _check_disjoint(path, places, base, size)
    return Header(cast("dict[str, str]", metadata), places)


def _place(where: str, entry: object, base: int, size: int) -> Place:
    fields = object_of(entry, where)
    if set(fields) != _KEYS:
        raise ModelFileError(f"{where}: expected dtype, shape and data_offsets, found {sorted(fields)[:8]}")
    dtype, shape, offsets = fields["dtype"], numbers_of(fields["shape"], where), fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ELEMENTS:
        raise ModelFileError(f"{where}: dtype {str(dtype)[:40]!r} is unknown\n  known: {', '.join(_ELEMENTS)}")
    if len(shape) > MOST_AXES:
        raise ModelFileError(f"{where}: {len(shape)} axes; the limit is {MOST_AXES}")
    ends = numbers_of(offsets, where)
    if len(ends) != 2 or not ends[0] <= ends[1] <= size - base:
        raise ModelFileError(
            f"{where}: its bytes {list(ends)[:4]} lie outside of the file, which has {size - base:,} bytes of tensors\n"
            "  help: the file is truncated or hostile; save the model again, or copy it again"
        )
    found = _ELEMENTS[dtype]
    expected = math.prod(shape) * found.size
    if expected != ends[1] - ends[0]:
        raise ModelFileError(
            f"{where}: {dtype} {list(shape)} are {expected:,} bytes, but {ends[1] - ends[0]:,} are there"
        )
    return Place(found, shape, base + ends[0], base + ends[1])


def _check_disjoint(path: Path, places: Mapping[str, Place], base: int, size: int) -> None:
    """Check that the tensors follow each other without overlap or gaps up to the end of the file."""
    end, before = base, ""
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)):
        if place.start != end:
            kind = "overlap" if place.start < end else "leave a gap between them"
            raise ModelFileError(f"{path}: tensors {before[:80]!r} and {name[:80]!r} {kind}")
        end, before = place.stop, name
    if end != size:
        raise ModelFileError(f"{path}: {size - end:,} bytes after the last tensor belong to no tensor")


def read_tensor(path: Path, stream: BinaryIO, name: str, place: Place) -> Array:
    """Read one tensor from ``stream`` and return it as an array.

    ``place`` says where its bytes are and comes from ``read_header``. bfloat16 becomes float32. ``path`` and ``name``
    are used in error messages. Raises ``ModelFileError`` if the tensor does not fit into memory, or if the file has
    become shorter since its header was read.
    """
    count = place.stop - place.start
    stream.seek(place.start)
    try:
        content = np.fromfile(stream, np.uint8, count)
    except MemoryError as error:
        raise ModelFileError(f"{path}: tensor {name!r} of {count:,} bytes exceeds the memory") from error
    if len(content) != count:
        raise ModelFileError(f"{path}: tensor {name!r} ends early\n  help: the file changed while it was read")
    return place.element.decoded(content).reshape(place.shape)


# JSON with limits


def parse_json(text: bytes, where: str) -> object:
    """Parse UTF-8 JSON from a file that may be malicious.

    Raises ``ModelFileError`` for invalid JSON, more than 64 levels of nesting, repeated keys, NaN and infinity. The
    error message begins with ``where``, which names the file and the part of it.
    """
    brackets = np.frombuffer(_STRING.sub(b"", text).translate(None, _NOT_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    if steps.size and int(np.cumsum(steps).max()) > DEEPEST:
        raise ModelFileError(f"{where} is nested deeper than {DEEPEST} levels")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{where} is not the JSON of a model: {error}\n  help: the file is truncated or foreign; save it again"
        ) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def whole(digits: str) -> int:
    """Convert the digits of a JSON integer to an int; made for the argument ``parse_int`` of ``json.loads``.

    Raises ``ValueError`` for more than 20 digits.
    """
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def object_of(document: object, where: str) -> dict[str, object]:
    """Return ``document`` if it is a JSON object (a dictionary).

    Raises ``ModelFileError``, whose message begins with ``where``, for anything else.
    """
    if not isinstance(document, dict):
        raise ModelFileError(f"{where}: expected an object, found {type(document).__name__}")
    return cast("dict[str, object]", document)


def list_of(document: object, where: str) -> list[object]:
    """Return ``document`` if it is a JSON list.

    Raises ``ModelFileError``, whose message begins with ``where``, for anything else.
    """
    if not isinstance(document, list):
        raise ModelFileError(f"{where}: expected a list, found {type(document).__name__}")
    return cast("list[object]", document)


def numbers_of(document: object, where: str) -> tuple[int, ...]:
    """Return ``document``, a JSON list of integers in [0, 2⁶³), as a tuple.

    Raises ``ModelFileError``, whose message begins with ``where``, for anything else.
    """
    found = list_of(document, where)
    for number in found:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
            raise ModelFileError(f"{where}: {str(number)[:40]} is not a whole number from 0 to 2⁶³")
    return cast("tuple[int, ...]", tuple(found))


def names_of(document: object, where: str) -> list[str]:
    """Return ``document`` if it is a JSON list of strings of at most 1000 characters.

    Raises ``ModelFileError``, whose message begins with ``where``, for anything else.
    """
    found = list_of(document, where)
    if not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in found):
        raise ModelFileError(f"{where}: expected names of up to {LONGEST_NAME} characters")
    return cast("list[str]", found)
