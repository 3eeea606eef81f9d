"""The arrays of a module inside a pickle, stored as the bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import numpy as np

from striate.graph.value import Array


def packed(contents: Mapping[str, Array | None]) -> bytes:
    """Return the named arrays ``contents`` as the bytes of a safetensors file.

    Names whose value is None are left out. The result is empty if there are no arrays.
    """
    arrays = {
        name: np.ascontiguousarray(array).reshape(array.shape) for name, array in contents.items() if array is not None
    }
    # Imported here, so that it does not slow down ``import striate``.
    return import_module("safetensors.numpy").save(arrays) if arrays else b""


def unpacked(tensors: bytes) -> dict[str, Array]:
    """Return writable copies of the named arrays in ``tensors``, the bytes that ``packed`` returned."""
    arrays: dict[str, Array] = import_module("safetensors.numpy").load(tensors) if tensors else {}
    return {name: np.array(array) for name, array in arrays.items()}
