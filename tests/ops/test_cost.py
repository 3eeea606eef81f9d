"""The cost model of convolutions: which algorithm it chooses where the difference is large."""

from __future__ import annotations

import pytest

from striate.graph.op import Direction
from striate.ops.kernels.algorithm import possible_form, suited_form
from striate.ops.kernels.cost import direct, in_tiles
from striate.ops.kernels.geometry import Geometry
from striate.ops.kernels.winograd.matrices import transforms
from striate.ops.kernels.winograd.tiles import Form, Tiling
from striate.ops.kernels.winograd.transforms import operations


def plane(inputs: int, outputs: int, taps: int = 3, size: int = 32, stride: int = 1) -> Geometry:
    pad, count = taps // 2, (size - 1) // stride + 1
    return Geometry(
        outputs, inputs, 1, (1, taps, taps), (1, stride, stride), (0, pad, pad), (1, 1, 1), (1, size, size),
        (1, count, count),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("g", "tiled"),
    [
        (plane(64, 64), True),
        (plane(8, 32), True),
        (plane(6, 16, 5, 28), True),
        (plane(17, 34, 5, 24, stride=2), True),
        (plane(5, 5), False),  # the transforms cost more than the products that they save
        (plane(32, 32, size=2), False),  # most of a tile lies outside of the image
        (plane(3, 64), False),  # the input may be in plain order
        (plane(64, 64, 9), False),  # there is no form
    ],
)
def test_the_algorithm_of_the_forward_pass(g: Geometry, tiled: bool) -> None:
    assert (suited_form(g, Direction.FORWARD) is not None) == tiled


def test_tiles_save_more_with_more_channels() -> None:
    shares: list[float] = []
    for channels in (8, 16, 32, 64, 256):
        g = plane(channels, channels)
        form = possible_form(g, Direction.FORWARD)
        assert form == Tiling(Form(4, 3), Form(4, 3))
        shares.append(in_tiles(form, g, Direction.FORWARD) / direct(g, Direction.FORWARD))
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(0.9 * 36 / 144, rel=0.1)


def test_operations_are_counted_as_they_are_emitted() -> None:
    assert operations(transforms(1, 1).input) == 0
    assert operations(transforms(4, 3).output) == 4 + 3 + 3 + 4  # one less than the entries of a row
