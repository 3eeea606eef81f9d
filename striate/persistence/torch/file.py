"""Read the files of ``torch.save``: zip archives since PyTorch 1.6, and the older format of five pickles.

archive/data.pkl       the pickle; its tensors refer to storages by key
archive/data/KEY       the bytes of a storage
archive/byteorder      "little" or "big"

older: pickle (magic number), pickle (protocol), pickle (sizes and byte order of C types), pickle (the object),
       pickle (list of keys), then for each key: int64 number of elements, their bytes
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from striate.errors import ModelFileError, unknown_option
from striate.graph.value import Array
from striate.persistence.archive import Archive
from striate.persistence.container import DEEPEST, LONGEST_NAME, MOST_TENSORS, open_regular
from striate.persistence.torch.opcodes import LARGEST_PICKLE, Pickled, Storage, StridedTensor, read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "params")
"""The keys under which checkpoints usually keep the network's weights, in the order in which they are tried."""


def read_state(path: Path, entry: str | None = None) -> dict[str, Array]:
    """Return the arrays of a ``.pth`` file by name.

    The file holds a dictionary. With ``entry``, the arrays are taken from the inner dictionary under this key. Without
    it, they are taken from the outer dictionary; if that holds no tensors, they are taken from the inner dictionary
    under the first key of ``WRAPPERS`` that exists. Nested dictionaries are flattened: {"a": {"b": tensor}} becomes
    "a.b". Raises ``ModelFileError`` if the file is missing, damaged, or not written by ``torch.save``, or if it
    contains no tensors under ``entry``.
    """
    with open_regular(path) as stream:
        try:
            return _read(path, stream, entry)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(path: Path, stream: BinaryIO, entry: str | None) -> dict[str, Array]:
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(4)
    stream.seek(0)
    if start == b"PK\x03\x04":
        archive = Archive(stream, size, str(path))
        root = _root(path, archive)
        pickled = archive.position(f"{root}data.pkl")
        if pickled.size > LARGEST_PICKLE:
            raise ModelFileError(f"{path}: its pickle has {pickled.size:,} bytes; the limit is {LARGEST_PICKLE:,}")
        content = archive.content(pickled.name)
        found = read_pickle(io.BytesIO(content.tobytes()), pickled.size, f"{path}: {pickled.name}")
        tensors = _tensors(path, found.content, entry)
        return _from_archive(path, archive, root, tensors)
    if not start.startswith(b"\x80"):
        raise ModelFileError(
            f"{path}: not a file of torch.save\n  help: torch.save(model.state_dict(), FILE) writes one; "
            "st.load(FILE) opens models that striate or ONNX wrote"
        )
    return _older(path, stream, size, entry)


def _root(path: Path, archive: Archive) -> str:
    """Return the name of the archive's top folder, which contains data.pkl, with a trailing slash."""
    found = [name.removesuffix("data.pkl") for name in archive.entries if name.endswith("/data.pkl")]
    if len(found) != 1 or found[0].count("/") != 1:
        if any("constants.pkl" in name for name in archive.entries):
            raise ModelFileError(
                f"{path}: a TorchScript program, which would have to be executed\n"
                "  help: in PyTorch, torch.save(model.state_dict(), FILE)"
            )
        raise ModelFileError(f"{path}: a zip archive that torch.save did not write: it has no data.pkl")
    return found[0]


def _from_archive(path: Path, archive: Archive, root: str, tensors: Mapping[str, StridedTensor]) -> dict[str, Array]:
    order = f"{root}byteorder"
    byteorder = archive.content(order).tobytes() if order in archive.entries else b"little"
    if byteorder not in (b"little", b"big"):
        raise ModelFileError(f"{path}: byte order {byteorder[:20]!r} is unknown\n  known: little, big")
    storages = _viewed_storages(tensors)
    for storage in storages.values():  # check all sizes before reading, so that a false one costs no memory
        entry = archive.position(f"{root}data/{storage.key}")
        if entry.size != storage.length * storage.element.size:
            raise _wrong_length(path, storage, entry.size)
    contents = {
        key: storage.element.decoded(archive.content(f"{root}data/{key}"), byteorder == b"little")
        for key, storage in storages.items()
    }
    return {name: _viewed(tensor, contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _wrong_length(path: Path, storage: Storage, size: int) -> ModelFileError:
    return ModelFileError(
        f"{path}: storage {storage.key[:80]!r} claims {storage.length:,} elements of {storage.element.value}, "
        f"but {size:,} bytes are there\n  help: the file is truncated or hostile; save it again"
    )


def _viewed_storages(tensors: Mapping[str, StridedTensor]) -> dict[str, Storage]:
    return {tensor.storage.key: tensor.storage for tensor in tensors.values()}


def _viewed(tensor: StridedTensor, storage: Array) -> Array:
    """Return the tensor as a read-only view of its storage; ``strided`` has checked that it fits."""
    if 0 in tensor.shape:
        return np.empty(tensor.shape, storage.dtype)
    strides = tuple(step * storage.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)


# The older format


def _older(path: Path, stream: BinaryIO, size: int, entry: str | None) -> dict[str, Array]:
    def pickled(what: str) -> Pickled:
        return read_pickle(stream, size - stream.tell(), f"{path}: {what}")

    if pickled("the magic number").content != _MAGIC or pickled("the version").content != _PROTOCOL:
        raise ModelFileError(
            f"{path}: a pickle that torch.save did not write\n  help: torch.save(model.state_dict(), FILE) writes one"
        )
    machine = pickled("the machine").content
    little = not isinstance(machine, dict) or cast("dict[object, object]", machine).get("little_endian") is not False
    state = pickled("the state")
    tensors = _tensors(path, state.content, entry)
    keys = pickled("the list of storages").content
    listed = cast("list[object]", keys) if isinstance(keys, list) else []
    if not all(isinstance(key, str) for key in listed) or sorted(cast("list[str]", listed)) != sorted(state.storages):
        raise ModelFileError(f"{path}: its list of storages is not that of its tensors")
    places = {key: _skipped(path, stream, size, state.storages[key], little) for key in cast("list[str]", listed)}
    contents: dict[str, Array] = {}
    for key, storage in _viewed_storages(tensors).items():
        stream.seek(places[key])
        content = np.fromfile(stream, np.uint8, storage.length * storage.element.size)
        contents[key] = storage.element.decoded(content, little)
    return {name: _viewed(tensor, contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _skipped(path: Path, stream: BinaryIO, size: int, storage: Storage, little: bool) -> int:
    """Move the stream past the next storage and return the offset of its first byte.

    Raises ``ModelFileError`` if its length is not that of ``storage``.
    """
    head = stream.read(8)
    start, length = stream.tell(), storage.length * storage.element.size
    count = int.from_bytes(head, "little" if little else "big", signed=True)
    if len(head) != 8 or count != storage.length or length > size - start:
        raise _wrong_length(path, storage, size - start)
    stream.seek(start + length)
    return start


# The tensors of the state


def _tensors(path: Path, document: object, entry: str | None) -> dict[str, StridedTensor]:
    """Return the tensors of the state by name, chosen as in ``read_state``; raises ``ModelFileError``."""
    if not isinstance(document, dict):
        raise ModelFileError(
            f"{path}: it holds {_what(document)}, not a dictionary of tensors\n"
            "  help: in PyTorch, torch.save(model.state_dict(), FILE)"
        )
    found = cast("dict[object, object]", document)
    if entry is None and not any(isinstance(value, StridedTensor) for value in found.values()):
        entry = next((key for key in WRAPPERS if isinstance(found.get(key), dict)), None)
    if entry is not None:
        inner = found.get(entry)
        if not isinstance(inner, dict):
            known = [key for key, value in found.items() if isinstance(value, dict)]
            raise ModelFileError(f"{path}: {unknown_option('entry', entry, known)}")
        found = cast("dict[object, object]", inner)
    tensors: dict[str, StridedTensor] = {}
    visits = _flatten(path, found, "", tensors, 0, 0)
    if not tensors:
        raise ModelFileError(
            f"{path}: no tensor among its {visits} entries: {', '.join(str(k)[:40] for k in found)}"[:400]
        )
    return tensors


def _flatten(
    path: Path, found: dict[object, object], prefix: str, into: dict[str, StridedTensor], depth: int, visits: int
) -> int:
    if depth > DEEPEST:
        raise ModelFileError(f"{path}: nested deeper than {DEEPEST} levels")
    for key, value in found.items():
        visits += 1
        name = f"{prefix}{key}"
        if visits > MOST_TENSORS or len(name) > LONGEST_NAME:
            raise ModelFileError(
                f"{path}: more than {MOST_TENSORS:,} entries, or names of over {LONGEST_NAME} characters"
            )
        if isinstance(value, StridedTensor):
            if name in into:
                raise ModelFileError(f"{path}: two tensors are named {name[:80]!r}")
            into[name] = value
        elif isinstance(value, dict):
            visits = _flatten(path, cast("dict[object, object]", value), f"{name}.", into, depth + 1, visits)
    return visits


def _what(document: object) -> str:
    return "a tensor" if isinstance(document, StridedTensor) else f"a {type(document).__name__}"
