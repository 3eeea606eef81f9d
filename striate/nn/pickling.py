"""The arrays of a module inside a pickle, stored as the bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import numpy as np

from striate.graph.value import Array
from striate.nn.parameter import Parameter


def packed(parameters: Mapping[str, Parameter]) -> bytes:
    """Return the contents of the parameters as the bytes of a safetensors file.

    B"" if none has contents yet.
    """
    arrays = {
        name: np.ascontiguousarray(contents).reshape(contents.shape)
        for name, parameter in parameters.items()
        if (contents := parameter.array if parameter.array is not None else parameter.initial) is not None
    }
    # Imported here, so that it does not slow down ``import striate``.
    return import_module("safetensors.numpy").save(arrays) if arrays else b""


def unpacked(parameters: Mapping[str, Parameter], tensors: bytes) -> None:
    """Set the initial contents of the parameters from the bytes that ``packed`` returned."""
    arrays: dict[str, Array] = import_module("safetensors.numpy").load(tensors) if tensors else {}
    for name, array in arrays.items():
        parameters[name].initial = np.array(array)
