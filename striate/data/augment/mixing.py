"""``MixUp`` and ``CutMix``, which mix samples in pairs, and their labels with them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from striate.data.augment.keys import Draws
from striate.data.augment.transform import Transform, probability
from striate.options import number

Array = npt.NDArray[Any]
_POINTS = 4097


@dataclass(frozen=True)
class Mixture:
    """The shares and boxes with which B samples are mixed with their partners.

    share   the factor of each sample, float64 (B,); the factor of its partner is 1 − share
    starts  first index, along each spatial axis, of the box that is taken from the partner, int64 (spatial axes, B)
    stops   the index after the last one of the box, along each spatial axis, int64 (spatial axes, B)
    label   the weight of each sample's own label, float64 (B,)
    """

    share: Array
    starts: Array
    stops: Array
    label: Array


@dataclass(frozen=True)
class Mixer(Transform):
    """Base of transforms that mix each sample with a random partner from the data set (abstract)."""

    whole_samples: ClassVar[bool] = True

    def mixture(self, draws: Draws, sizes: Sequence[int]) -> Mixture:
        """Draw the shares and boxes with which B samples are mixed with their partners.

        ``draws`` has the random numbers of the B samples, and ``sizes`` are the sizes of their spatial axes.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class MixUp(Mixer):
    """x ← λ x + (1 − λ) x′, y ← λ y + (1 − λ) y′ for a partner x′, y′ and λ from Beta(α, α), with probability ``p``.

    Zhang and others, 2017 (arXiv:1710.09412). Class numbers become probabilities, which ``CrossEntropyLoss`` accepts;
    measured targets are mixed directly. The partner is any sample of the training set, with random changes of its own.
    Raises ``OptionError`` unless 0 < α ≤ 1000 and 0 ≤ p ≤ 1.
    """

    ranks: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        number("MixUp: alpha", self.alpha, above=0, most=1000)
        probability("MixUp", self.p)

    def mixture(self, draws: Draws, sizes: Sequence[int]) -> Mixture:
        share = np.where(draws.happens(self.p), beta(self.alpha, draws.uniform()), 1.0)
        nothing = np.zeros((len(sizes), len(share)), np.int64)
        return Mixture(share, nothing, nothing, share)


@dataclass(frozen=True)
class CutMix(Mixer):
    """Replace a random box of a sample by the same box of another sample, with probability ``p``, and mix their labels.

    The weight of the other label is the share of the volume that was replaced. The box has 1 − λ of the volume, with λ
    from Beta(α, α), and is cut off where it extends beyond the sample. The other sample is any sample of the training
    set, with random changes of its own. Yun and others, 2019 (arXiv:1905.04899). Class numbers become probabilities, as
    in ``MixUp``. For signals, pictures and volumes. Raises ``OptionError`` unless 0 < α ≤ 1000 and 0 ≤ p ≤ 1.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)
    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        number("CutMix: alpha", self.alpha, above=0, most=1000)
        probability("CutMix", self.p)

    def mixture(self, draws: Draws, sizes: Sequence[int]) -> Mixture:
        size = np.array(sizes)[:, np.newaxis]
        chosen = draws.happens(self.p)
        side = (1 - beta(self.alpha, draws.uniform())) ** (1 / len(sizes))
        half = side * size / 2 * chosen
        centre = np.stack([draws.uniform(0, one) for one in sizes])
        starts = np.clip(np.round(centre - half), 0, size).astype(np.int64)
        stops = np.clip(np.round(centre + half), 0, size).astype(np.int64)
        return Mixture(np.ones(len(chosen)), starts, stops, 1 - (stops - starts).prod(axis=0) / size.prod())


@functools.lru_cache(16)
def _quantiles(alpha: float) -> tuple[Array, Array]:
    """Return t and F(t) for the lower half of Beta(α, α), whose values are ½ t^(1/q) with q = min(α, 1).

    With this substitution the density has no pole, also for α < 1.
    """
    q = min(alpha, 1.0)
    t = np.linspace(0, 1, _POINTS)
    density = t ** (alpha / q - 1) * (1 - 0.5 * t ** (1 / q)) ** (alpha - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return t, 0.5 * area / area[-1]


def beta(alpha: float, u: Array) -> Array:
    """Return numbers distributed as Beta(α, α), float64 (B,), from uniform numbers ``u`` in [0, 1)."""
    t, area = _quantiles(alpha)
    lower = 0.5 * np.interp(np.minimum(u, 1 - u), area, t) ** (1 / min(alpha, 1.0))
    return np.where(u < 0.5, lower, 1 - lower)
