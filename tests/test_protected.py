"""The guarded arrays of the other tests end exactly where they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.protected import BOTH_SIDES, Side, guarded, guarded_copy

pytestmark = pytest.mark.skipif(os.name == "nt", reason="protected pages are written for POSIX systems only")

ROOT = Path(__file__).parents[1]
TOUCH = """
import ctypes, sys
from tests.protected import Side, guarded
array = guarded((3, 7), "float32", Side(sys.argv[1]))
ctypes.c_ubyte.from_address(array.ctypes.data + int(sys.argv[2])).value {}
"""


def _touch(side: Side, offset: int, code: str) -> int:
    command = [sys.executable, "-c", TOUCH.format(code), side.value, str(offset)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


@BOTH_SIDES
def test_every_byte_inside_can_be_used(side: Side) -> None:
    array = guarded((5, 1000), np.float64, side, poison=True)
    assert np.isnan(array).all()
    array[...] = 2.0
    assert array.sum() == 10_000.0
    assert (guarded(3, np.int32, side, poison=True).view(np.uint8) == 0xA5).all()
    assert not guarded(3, np.int32, side).any()
    assert guarded((0, 4), np.float32, side).size == 0
    np.testing.assert_array_equal(guarded_copy(np.arange(6).reshape(2, 3), side), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("code", ["", "= 1"], ids=["read", "write"])
@pytest.mark.parametrize(("side", "offset"), [(Side.LEFT, -1), (Side.RIGHT, 3 * 7 * 4)])
def test_one_byte_outside_ends_the_process(side: Side, offset: int, code: str) -> None:
    ends = (-signal.SIGSEGV, -signal.SIGBUS)
    assert _touch(side, offset, code) in ends
    assert _touch(side, 0, code) == 0
