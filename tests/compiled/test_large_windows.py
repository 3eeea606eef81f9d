"""The size of a kernel's code does not grow with the window, so that compilation stays fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.codegen import jit

MOST = 18_000
"""Instructions of one kernel: some 2600 multiply-adds, their loads, and what loops carry."""


class _WrittenError(Exception):
    """Aborts the compilation after all kernels are generated."""


CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "max 100": (lambda x: st.ops.max_pool(x, 100), ((1, 3, 210, 200),)),
    "max 64 overlapping": (lambda x: st.ops.max_pool(x, 64, 9, 32, ceil_mode=True), ((1, 3, 200, 150),)),
    "max dilated": (lambda x: st.ops.max_pool(x, 40, 1, 0, 3), ((1, 3, 130, 150),)),
    "average 1000": (lambda x: st.ops.avg_pool(x, 1000), ((1, 1, 1000, 1000),)),
    "average 1000 of a row": (lambda x: st.ops.avg_pool(x, 1000, 1, 500), ((1, 1, 3000),)),
    "average 20³": (lambda x: st.ops.avg_pool(x, 20, 7), ((1, 1, 40, 40, 40),)),
    "convolution 31": (lambda x, w: st.ops.conv(x, w), ((1, 1, 50, 50), (1, 1, 31, 31))),
    "convolution 1×100": (lambda x, w: st.ops.conv(x, w), ((1, 3, 5, 150), (4, 3, 1, 100))),
    "convolution 100×1": (lambda x, w: st.ops.conv(x, w), ((1, 3, 150, 5), (4, 3, 100, 1))),
    "convolution 20³": (lambda x, w: st.ops.conv(x, w), ((1, 1, 30, 30, 30), (1, 1, 20, 20, 20))),
    "convolution 31 of 16 channels": (lambda x, w: st.ops.conv(x, w), ((1, 16, 50, 50), (16, 16, 31, 31))),
    "convolution 31 depthwise": (lambda x, w: st.ops.conv(x, w, groups=16), ((1, 16, 50, 50), (16, 1, 31, 31))),
    "convolution 31 by strides of 31": (lambda x, w: st.ops.conv(x, w, stride=31), ((1, 1, 99, 99), (1, 1, 31, 31))),
    "convolution 11 by strides of 11": (
        lambda x, w: st.ops.conv(x, w, stride=11),
        ((1, 16, 100, 90), (16, 16, 11, 11)),
    ),
    "convolution strided and dilated": (
        lambda x, w: st.ops.conv(x, w, stride=7, dilation=2),
        ((1, 3, 100, 90), (4, 3, 31, 31)),
    ),
    "convolution 1000 by strides of 500": (lambda x, w: st.ops.conv(x, w, stride=500), ((1, 3, 5000), (4, 3, 1000))),
    "convolution 5³ by strides of 4": (
        lambda x, w: st.ops.conv(x, w, stride=4),
        ((1, 16, 22, 23, 25), (16, 16, 5, 5, 5)),
    ),
    "depthwise by strides of 5": (
        lambda x, w: st.ops.conv(x, w, stride=5, groups=16),
        ((1, 16, 50, 50), (16, 1, 9, 9)),
    ),
    "depthwise in three axes": (
        lambda x, w: st.ops.conv(x, w, padding=2, stride=2, groups=18),
        ((2, 18, 9, 9, 9), (36, 1, 5, 5, 5)),
    ),
    "groups of three channels": (
        lambda x, w: st.ops.conv(x, w, padding=1, stride=2, groups=22),
        ((2, 66, 28, 28), (66, 3, 3, 3)),
    ),
    "groups of four and eight channels": (
        lambda x, w: st.ops.conv(x, w, padding=1, stride=2, groups=18),
        ((2, 72, 28, 28), (144, 4, 3, 3)),
    ),
    "strided, odd channels": (
        lambda x, w: st.ops.conv(x, w, padding=2, stride=2),
        ((2, 60, 28, 28), (60, 60, 5, 5)),
    ),
    "bands of blocks": (
        lambda x, w: st.ops.conv(x, w, padding=1, stride=2, groups=5),
        ((2, 60, 28, 28), (60, 12, 3, 3)),
    ),
    "convolution dilated": (lambda x, w: st.ops.conv(x, w, dilation=3), ((1, 1, 80, 80), (1, 1, 20, 20))),
}


QUICK = {
    "max dilated", "average 20³", "convolution 31", "convolution 31 depthwise", "convolution strided and dilated",
    "depthwise in three axes", "strided, odd channels",
}  # fmt: skip
"""One case of each kind of kernel, for `make test`."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES])
def test_the_code_of_a_kernel_does_not_grow_with_the_window(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, shapes = CASES[name]
    counts: dict[str, int] = {}

    def count(self: jit.Kernels, sources: Iterable[jit.KernelSource], target: object = None) -> None:
        counts.update({source.symbol: source.ir().count("\n") for source in sources})
        raise _WrittenError

    monkeypatch.setattr(jit.Kernels, "get", count)
    arrays = [np.ones(shape, np.float32) for shape in shapes]
    with pytest.raises(_WrittenError):
        st.value_and_grad(lambda *given: st.ops.sum(function(*given)), tuple(range(len(arrays))))(*arrays)
    assert counts
    assert max(counts.values()) <= MOST, counts
