"""Identical batches of standardized pictures for striate and PyTorch, optionally shifted and mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data import Dataset, Standardizer, batches

Array = NDArray[Any]

SHIFT = 4
"""The largest shift of a picture in pixels, in each direction."""


def plain(dataset: Dataset, standardizer: Standardizer, batch: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield one epoch in the order of the seed: x (B, C, H, W) float32, y (B,) int64."""
    for x, y, _ in batches(dataset, batch, seed=seed):
        yield standardizer.transform(x), y


def moved(
    dataset: Dataset, standardizer: Standardizer, batch: int, seed: int, epoch: int, mirror: bool = True
) -> Iterator[tuple[Array, Array]]:
    """Yield one epoch with each picture shifted by −4 to 4 pixels and, with ``mirror``, half of them flipped.

    Order, shifts and flips depend on ``seed`` and ``epoch``. Pixels from beyond the edge are 0, the mean colour.
    """
    random = np.random.default_rng([seed, epoch])
    for x, y, _ in batches(dataset, batch, seed=seed, epoch=epoch):
        yield shifted_and_mirrored(standardizer.transform(x), random, mirror), y


def shifted_and_mirrored(x: Array, random: np.random.Generator, mirror: bool = True) -> Array:
    """Shift each picture of x (B, C, H, W) at random and, with ``mirror``, mirror it with probability ½."""
    count, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    tops, lefts = random.integers(0, 2 * SHIFT + 1, (2, count))
    flips = (random.random(count) < 0.5) & mirror
    result = np.empty_like(x)
    for one, source, top, left, flip in zip(result, padded, tops, lefts, flips, strict=True):
        window = source[:, top : top + height, left : left + width]
        one[...] = window[:, :, ::-1] if flip else window
    return result
