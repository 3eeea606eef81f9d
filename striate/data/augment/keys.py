"""Random numbers without a state: each is a function of (seed, epoch, sample, transform, index of the draw).

Therefore they depend neither on the order of the samples nor on the size of a batch, and a training that is resumed in
the middle of an epoch draws the same numbers as one that was not interrupted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from striate.ops.random import GOLDEN, mix, row_words

Array = npt.NDArray[Any]
_WIDE = 0x9E3779B97F4A7C15  # odd, so that multiplication by it is a bijection of 64-bit numbers


class Keys:
    """The keys from which the random numbers of B samples in one epoch are computed; ``draws`` returns the numbers.

    ``samples`` (B,) are the indices of the samples in the data set. ``role`` distinguishes independent sets of numbers
    of the same samples: 0 for the samples themselves, 1 for the partners with which they are mixed.
    """

    def __init__(self, seed: int, epoch: int, samples: npt.ArrayLike, role: int = 0) -> None:
        self.samples = np.asarray(samples, np.int64)
        self.seed, self.epoch, self.role = seed, epoch, role
        key = ((seed * _WIDE + epoch + 1) * _WIDE + role) % 2**64
        self._low, self._high = (np.array([word], np.uint32) for word in (key % 2**32, key >> 32))
        self._rows = (self.samples % 2**32).astype(np.uint32)

    def __len__(self) -> int:
        return len(self.samples)

    def lasting(self) -> Keys:
        """Return keys of the same samples whose random numbers are the same in every epoch."""
        return Keys(self.seed, -1, self.samples, self.role)

    def draws(self, stream: int) -> Draws:
        """Return the samples' random numbers for one transform; ``stream`` is its index in the list of transforms."""
        word = np.array([stream * GOLDEN % 2**32], np.uint32)
        return Draws(row_words(self._low, self._high, word, self._rows))


class Draws:
    """A sequence of random numbers for each of B samples; every method returns the next number of each sequence.

    ``words`` are the two arrays, uint32 (B,), from which the numbers of each sample are computed.
    """

    def __init__(self, words: tuple[Array, Array]) -> None:
        self.words = words
        """The two 32-bit words of each sample from which its numbers are computed, uint32 (B,)."""
        self._next = 0

    def bits(self) -> Array:
        """Return 32 random bits for each sample, uint32 (B,)."""
        number, self._next = self._next, self._next + 1
        return mix(self.words, np.array([number], np.uint32))

    def uniform(self, low: float | Array = 0.0, high: float | Array = 1.0) -> Array:
        """Return uniformly distributed numbers in [low, high), float64 (B,)."""
        return low + (np.asarray(high) - low) * (self.bits() * 2.0**-32)

    def whole(self, count: int | Array) -> Array:
        """Return uniformly distributed integers from 0 to ``count`` − 1, int64 (B,)."""
        return np.floor(self.uniform() * count).astype(np.int64)

    def happens(self, probability: float) -> Array:
        """Return booleans (B,), each of which is True with this probability."""
        return self.uniform() < probability
