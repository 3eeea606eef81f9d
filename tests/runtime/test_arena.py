"""Aligned memory blocks: their addresses, their growth, and what they refuse."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from striate.dtypes import DType
from striate.errors import EngineError
from striate.runtime.arena import ALIGNMENT, HUGE_PAGE, Arena, address_of, scratch_arena
from striate.runtime.state import aligned_zeros


@pytest.mark.parametrize("size", [1, 100, 4096, HUGE_PAGE - 1, HUGE_PAGE, 5 * HUGE_PAGE + 3])
def test_an_arena_is_aligned_zeroed_and_large_enough(size: int) -> None:
    arena = Arena(size)
    assert arena.size >= size
    assert arena.base % (HUGE_PAGE if size >= HUGE_PAGE else ALIGNMENT) == 0
    everything = arena.view(0, (arena.size,), np.uint8)
    assert not everything.any()
    everything[:] = 1


def test_views_share_the_memory_that_addresses_name() -> None:
    arena = Arena(1000)
    arena.view(64, (2, 3), np.float32)[...] = 7.0
    assert arena.view(64, (6,), np.float32).tolist() == [7.0] * 6
    assert arena.view(128, (1,), np.float64).ctypes.data == arena.address(128)


def test_growing_keeps_the_contents_and_old_views_alive() -> None:
    arena = Arena(1000)
    old = arena.view(0, (4,), np.int32)
    old[:] = [1, 2, 3, 4]
    arena.reserve(3 * HUGE_PAGE)
    assert arena.view(0, (4,), np.int32).tolist() == [1, 2, 3, 4]
    gc.collect()
    assert old.tolist() == [1, 2, 3, 4]
    before = arena.base
    arena.reserve(10)
    assert arena.base == before


def test_what_does_not_fit_is_refused() -> None:
    arena = Arena(4096)
    for offset, shape in [(0, (4097,)), (4096, (1,)), (-1, (1,)), (0, (-1,)), (0, (2**40, 2**40))]:
        with pytest.raises(ValueError, match="does not fit"):
            arena.view(offset, shape, np.uint8)
    with pytest.raises(ValueError, match="align"):
        arena.view(2, (1,), np.float32)
    with pytest.raises(ValueError, match="outside"):
        arena.address(4097)
    with pytest.raises(ValueError, match="cannot have"):
        arena.reserve(-1)


def test_the_scratch_arena_is_one_and_grows_to_the_largest_request() -> None:
    arena = scratch_arena()
    assert arena is scratch_arena()
    size = arena.size
    arena.reserve(size + 10)
    assert arena.size >= size + 10
    grown = arena.base
    arena.reserve(1)
    assert arena.base == grown


def test_memory_that_no_computer_has_is_refused_and_the_arena_lives_on() -> None:
    arena = Arena(100)
    with pytest.raises(EngineError, match="GiB of memory"):
        arena.reserve(1 << 62)
    assert arena.view(0, (4,), np.float32).shape == (4,)
    with pytest.raises(EngineError, match="GiB of memory"):
        aligned_zeros(1 << 62, DType.float64)


def test_the_address_of_any_contiguous_array() -> None:
    read_only = np.arange(6.0)
    read_only.flags.writeable = False
    arrays = [np.zeros((3, 1, 5), np.float32), np.zeros(7, ">i4"), np.zeros((0, 4)), np.zeros(()), read_only]
    for array in (*arrays, np.zeros(8, np.uint8)[3:]):
        assert address_of(array) == array.__array_interface__["data"][0]
