"""The kernels of the input stage: equal to their NumPy references, bit for bit, and never outside of an operand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate import settings as configuration
from striate.data import Dataset
from striate.data.augment import (
    ColorJitter,
    CutMix,
    Cutout,
    GaussianNoise,
    InputStage,
    MixUp,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomMask,
    RandomResizedCrop,
    RandomScaling,
    RandomShift,
    Transform,
    TrivialAugment,
)
from striate.data.augment.keys import Keys
from striate.data.augment.mix_kernel import MixKernel, mixed
from striate.data.augment.native import Native
from striate.data.augment.reference import augmented
from striate.data.augment.segment import Segment
from striate.dtypes import DType
from tests.protected import BOTH_SIDES, Side, guarded, guarded_copy

ULP = 4 * 2.0**-23
"""NumPy's logarithm and cosine, and ours, are within two units in the last place each."""


def samples(shape: tuple[int, ...], dtype: Any, count: int = 5, seed: int = 0) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    if dtype == np.uint8:
        return random.integers(0, 256, (count, *shape)).astype(np.uint8)
    return random.standard_normal((count, *shape)).astype(np.float32)


def compare(shape: tuple[int, ...], dtype: Any, transforms: list[Transform], side: Side = Side.RIGHT) -> None:
    """Compare the kernel, with operands on protected pages, with its reference."""
    data = samples(shape, dtype)
    segment = Segment(transforms, range(len(transforms)), shape, np.dtype(dtype), (7.4,) * shape[0])
    kernel = segment.kernel
    rows = np.array([4, 0, 2, 4], np.int64)
    table = segment.table(Keys(11, 3, rows))
    batch = guarded((len(rows), kernel.source[0], *kernel.size), dtype, side)
    operands = [guarded_copy(one, side) for one in (data, rows, table.ints, table.floats)]
    Native(kernel, 5, kernel.thread_scratch).run((*operands, batch), len(rows), 1)
    expected = augmented(kernel, data, rows, table.ints, table.floats)
    if kernel.noise:
        np.testing.assert_allclose(batch, expected, rtol=ULP, atol=1 if dtype == np.uint8 else 64 * ULP)
    else:
        np.testing.assert_array_equal(batch, expected)


MODES = st.sampled_from(["constant", "edge", "reflect", "wrap"])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    channels=st.sampled_from([1, 3, 17]),
    sizes=st.lists(st.integers(1, 19), min_size=1, max_size=3),
    mode=MODES,
    byte=st.booleans(),
    side=st.sampled_from(Side),
    data=st.data(),
)
def test_elements_move_as_in_the_reference(
    channels: int, sizes: list[int], mode: str, byte: bool, side: Side, data: st.DataObject
) -> None:
    most = 3 if mode != "reflect" else 0
    padding = tuple(data.draw(st.integers(0, max(most, min(3, size - 1)))) for size in sizes)
    window = tuple(data.draw(st.integers(1, size + 2 * pad)) for size, pad in zip(sizes, padding, strict=True))
    transforms: list[Transform] = [
        RandomCrop(window, padding, mode, 3.0), *(RandomFlip(0.5, -1 - axis) for axis in range(len(sizes)))
    ]  # fmt: skip
    if min(window) > 1:
        transforms.append(Cutout(tuple(max(1, size // 2) for size in window), 2, "mean"))
    if len(sizes) == 1 and sizes[0] > 1 and padding == (0,):
        transforms += [RandomShift(0.5, mode, 3.0), RandomMask(1)]
    compare((channels, *sizes), np.uint8 if byte else np.float32, transforms, side)


PICTURES: dict[str, list[Transform]] = {
    "affine": [
        RandomCrop(padding=1, fill=2.0),
        RandomAffine(40, (0.2, 0.1), (0.4, 2), 20, fill=2.0),
        RandomErasing(1.0, value=5.0),
    ],
    "edge": [RandomAffine((10, 90), padding_mode="edge"), RandomFlip()],
    "reflect": [RandomAffine(180, (1.0, 1.0), (0.2, 1), padding_mode="reflect")],
    "resized": [RandomResizedCrop((9, 18), (0.1, 0.5)), ColorJitter(0.5, 0.5)],
    "noise": [GaussianNoise(3.0), RandomScaling(0.3), GaussianNoise(4.0)],
}


@BOTH_SIDES
@pytest.mark.parametrize("dtype", [np.uint8, np.float32], ids=["uint8", "float32"])
@pytest.mark.parametrize("shape", [(3, 7, 21), (1, 1, 1), (17, 16, 2)], ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_computed_as_in_the_reference(name: str, shape: tuple[int, ...], dtype: Any, side: Side) -> None:
    compare(shape, dtype, PICTURES[name], side)


@BOTH_SIDES
def test_policies_and_colours_are_computed_as_in_the_reference(side: Side) -> None:
    compare((3, 9, 17), np.uint8, [RandAugment(4, 25, fill=(1, 2, 3)), ColorJitter(0.3, 0.3, 0.9, 0.5)], side)
    compare(
        (1, 5, 16), np.uint8, [TrivialAugment(padding_mode="reflect"), TrivialAugment(padding_mode="reflect")], side
    )
    compare((3, 4, 4), np.float32, [ColorJitter((0.1, 3), (2, 3), (0, 2), (-0.2, 0.1))], side)


@BOTH_SIDES
@pytest.mark.parametrize("dtype", [np.uint8, np.float32], ids=["uint8", "float32"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 6, 21), (3, 4, 16)], ids=str)
def test_samples_are_mixed_as_in_the_reference(sizes: tuple[int, int, int], dtype: Any, side: Side) -> None:
    batch, partners = samples((3, *sizes), dtype, 5), samples((3, *sizes), dtype, 3, 1)
    places, shares = np.array([0, 2, 4], np.int64), np.array([0.3, 1.0, 0.9], np.float32)
    boxes = np.array([[0] * 6, [0, 0, 0, *sizes], [0, 0, 0, 1, 1, max(1, sizes[2] // 2)]], np.int32)
    operands = [guarded_copy(one, side) for one in (batch, partners, places, boxes, shares)]
    Native(MixKernel((3, *sizes), DType(np.dtype(dtype).name)), 5).run(operands, 3, 1)
    mixed(batch, partners, places, boxes, shares)
    np.testing.assert_array_equal(operands[0], batch)


@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 30), (1, 3, 4, 5), (6,)], ids=str)
def test_the_reference_engine_makes_the_same_batches(shape: tuple[int, ...]) -> None:
    data = Dataset(samples(shape, np.float32, 9), np.arange(9) % 3, channels_first=True)
    transforms: list[Transform] = [MixUp(0.4)] if len(shape) == 1 else [RandomFlip(), MixUp(0.4), CutMix()]
    x, y = InputStage(data, transforms).batch(np.arange(9), 2)
    before = configuration.override(engine=configuration.Engine.REFERENCE)
    try:
        again, labels = InputStage(data, transforms).batch(np.arange(9), 2)
    finally:
        configuration.restore(before)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize("mode", ["constant", "wrap"])
def test_padding_around_axes_of_one_element(mode: str) -> None:
    data = Dataset(np.full((1, 1, 1, 1, 1), 9, np.float32), np.zeros(1, int), channels_first=True)
    stage = InputStage(data, [RandomCrop(1, 1, mode)])
    seen = np.concatenate([stage.batch([0], epoch)[0] for epoch in range(200)])
    inside = float((seen == 9).mean())
    assert inside == 1 if mode == "wrap" else 0 < inside < 0.1  # 1/27: it must not move along any of three axes
