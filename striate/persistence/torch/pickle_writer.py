"""Write an OrderedDict of tensors as a ``.pth`` file that ``torch.load(weights_only=True)`` reads.

In the pickle, of protocol 2, each tensor is a call of ``torch._utils._rebuild_tensor_v2`` with (storage, 0, shape,
strides, False, OrderedDict()), where the storage is ('storage', torch.FloatStorage, key, 'cpu', length).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from striate.errors import DTypeError
from striate.graph.value import Array
from striate.persistence.torch.opcodes import STORAGES

_CLASSES = {element.value: name for name, element in STORAGES.items() if name != "BFloat16Storage"}
_ROOT = "archive"


def encode_state(state: Mapping[str, Array]) -> bytes:
    """Return the bytes of a ``.pth`` file with these arrays by name.

    Raises ``DTypeError`` for a dtype that PyTorch does not have.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry("data.pkl"), _pickle(state))
        archive.writestr(_entry("byteorder"), b"little")
        for key, array in enumerate(state.values()):
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            archive.writestr(_entry(f"data/{key}"), little.tobytes())
        archive.writestr(_entry("version"), b"3\n")
    return content.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{_ROOT}/{name}")  # has a fixed date, so that equal states give equal files


def _pickle(state: Mapping[str, Array]) -> bytes:
    parts = [b"\x80\x02", _ordered_dict(), b"("]  # PROTO 2, the dictionary, MARK
    for key, (name, array) in enumerate(state.items()):
        parts += [_text(name), _tensor(str(key), array)]
    return b"".join([*parts, b"u."])  # SETITEMS, STOP


def _tensor(key: str, array: Array) -> bytes:
    kind = _CLASSES.get(array.dtype.name)
    if kind is None:
        raise DTypeError(f"PyTorch has no tensors of {array.dtype}\n  known: {', '.join(_CLASSES)}")
    strides = [math.prod(max(size, 1) for size in array.shape[axis + 1 :]) for axis in range(array.ndim)]
    storage = [b"(", _text("storage"), _name("torch", kind), _text(key), _text("cpu"), _number(array.size), b"tQ"]
    call = [_name("torch._utils", "_rebuild_tensor_v2"), b"(", *storage, _number(0), _numbers(array.shape)]
    return b"".join([*call, _numbers(strides), b"\x89", _ordered_dict(), b"tR"])  # NEWFALSE …, TUPLE, REDUCE


def _ordered_dict() -> bytes:
    return _name("collections", "OrderedDict") + b")R"  # EMPTY_TUPLE, REDUCE


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()  # GLOBAL


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content  # BINUNICODE


def _number(number: int) -> bytes:
    if number < 2**31:
        return b"J" + struct.pack("<i", number)  # BININT
    return b"\x8a\x08" + struct.pack("<q", number)  # LONG1 of 8 bytes


def _numbers(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(_number(number) for number in numbers) + b"t"  # MARK … TUPLE
