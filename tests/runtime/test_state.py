"""The guarantees of the state arena about memory."""

from __future__ import annotations

import numpy as np

from striate.dtypes import DType
from striate.runtime.state import StateArena


def arena() -> StateArena:
    parameters = {"a.weight": (3, 2, 3, 3), "a.bias": (3,), "b": (17,), "fixed": (5,)}
    return StateArena(parameters, {"mean": (3,)}, ["count"], DType.float32, ["fixed"])


def test_every_array_starts_on_a_multiple_of_64_bytes_inside_one_block() -> None:
    found = arena()
    for name, view in found.arrays.items():
        if name != "count":
            assert view.ctypes.data % 64 == 0
            assert np.shares_memory(view, found.flat)
    assert found.flat_parameters.shape == (64 + 16 + 32,)
    assert found.arrays["count"].dtype == np.int64


def test_trainable_parameters_are_one_vector_and_companions_match_it() -> None:
    found = arena()
    found.flat_parameters[...] = 1
    assert (found.parameters["b"] == 1).all()
    assert not found.frozen["fixed"].any()
    assert not found.buffers["mean"].any()
    like = found.like_parameters()
    like.views["a.bias"][...] = 2
    assert like.flat[64:67].tolist() == [2, 2, 2]
    assert like.flat.sum() == 6
