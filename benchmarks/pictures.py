"""The same batches of pictures for striate and PyTorch, standardized, and shifted and mirrored by the seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data import Dataset, Standardizer, batches

Array = NDArray[Any]

SHIFT = 4
"""Pixels that a picture is moved by at most, in each direction."""


def plain(dataset: Dataset, standardizer: Standardizer, batch: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """One epoch in the order of the seed: x (B, C, H, W) float32, y (B,) int64."""
    for x, y, _ in batches(dataset, batch, seed=seed):
        yield standardizer.transform(x), y


def moved(
    dataset: Dataset, standardizer: Standardizer, batch: int, seed: int, epoch: int, mirror: bool = True
) -> Iterator[tuple[Array, Array]]:
    """One epoch in the order of seed and epoch, every picture shifted by −4 to 4 pixels and, every other, mirrored.

    What comes in from beyond the edge is 0, the mean colour.
    """
    random = np.random.default_rng([seed, epoch])
    for x, y, _ in batches(dataset, batch, seed=seed, epoch=epoch):
        yield shifted_and_mirrored(standardizer.transform(x), random, mirror), y


def shifted_and_mirrored(x: Array, random: np.random.Generator, mirror: bool = True) -> Array:
    """(B, C, H, W) of the same shape: each picture is shifted, and mirrored if requested, separately."""
    count, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    tops, lefts = random.integers(0, 2 * SHIFT + 1, (2, count))
    flips = (random.random(count) < 0.5) & mirror
    result = np.empty_like(x)
    for one, source, top, left, flip in zip(result, padded, tops, lefts, flips, strict=True):
        window = source[:, top : top + height, left : left + width]
        one[...] = window[:, :, ::-1] if flip else window
    return result
