"""Changes of brightness, contrast, saturation and hue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from striate.data.augment.draft import GREY, Draft, Work
from striate.data.augment.keys import Draws
from striate.data.augment.transform import Transform, around
from striate.errors import OptionError
from striate.options import number

Array = npt.NDArray[Any]
Range = float | tuple[float, float]


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue of a picture by random amounts, in this order.

    brightness  b: all values are multiplied by a random factor from 1 − b (at least 0) to 1 + b; (low, high): by a
                factor in this range
    contrast    as brightness, but the factor multiplies the differences from the mean grey value of the picture
    saturation  as brightness, but the factor multiplies the differences of each pixel from its own grey value; needs 3
                channels
    hue         h from 0 to 0.5: the colours are rotated around the grey axis by −h … h full circles, or by low … high
                for (low, high); the grey value of each pixel does not change; needs 3 channels

    The options are those of torchvision, but there the order is random, and a change of hue keeps the maximum of the
    channels instead of the grey value. The four changes are computed as one multiplication by a matrix; uint8 values
    are rounded and limited to 0 … 255 only after this multiplication. Raises ``OptionError`` for an invalid option and,
    in ``check``, for samples that are not pictures or have too few channels.
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0

    def __post_init__(self) -> None:
        for name, given in (
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ):
            around(f"ColorJitter: {name}", given, 1, 0, 100)
        around("ColorJitter: hue", self.hue, 0, -0.5, 0.5)

    @property
    def work(self) -> Work:
        return Work(colour=True)

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        shape = super().check(shape, dtype)
        if shape[0] != 3 and (self.saturation or self.hue):
            raise OptionError(
                f"{self}: saturation and hue need 3 channels, and the pictures have {shape[0]}\n"
                "  help: ColorJitter(brightness=…, contrast=…) alone"
            )
        return shape

    def apply(self, draft: Draft, draws: Draws) -> None:
        for given, change in ((self.brightness, draft.scale), (self.contrast, draft.contrast)):
            factor = draws.uniform(*around("", given, 1, 0, 100))
            if given:
                change(factor)
        for given, centre, most, made in ((self.saturation, 1, 100, saturation), (self.hue, 0, 0.5, hue)):
            amount = draws.uniform(*around("", given, centre, 0 if centre else -most, most))
            if given:
                draft.recolour(made(amount))


@dataclass(frozen=True)
class RandomScaling(Transform):
    """Multiply a sample by a factor that is normally distributed with mean 1 and standard deviation ``sigma``.

    For samples of every kind, such as signals of sensors. Raises ``OptionError`` unless 0 ≤ sigma ≤ 100.
    """

    ranks: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    sigma: float = 0.1

    def __post_init__(self) -> None:
        number("RandomScaling: sigma", self.sigma, 0, 100)

    @property
    def work(self) -> Work:
        return Work(colour=True)

    def apply(self, draft: Draft, draws: Draws) -> None:
        # Box and Muller (1958)
        radius = np.sqrt(-2 * np.log1p(-draws.uniform()))
        draft.scale(1 + self.sigma * radius * np.cos(2 * np.pi * draws.uniform()))


@dataclass(frozen=True)
class GaussianNoise(Transform):
    """Add independent normal noise with mean 0 and standard deviation ``sigma`` to every element.

    ``sigma`` is in the unit of the data; for uint8, this unit is one level of 0 … 255. Results of uint8 are rounded and
    limited to 0 … 255. For samples of every kind. Raises ``OptionError`` unless 0 ≤ sigma ≤ 1e30.
    """

    ranks: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    sigma: float = 0.1

    def __post_init__(self) -> None:
        number("GaussianNoise: sigma", self.sigma, 0, 1e30)

    @property
    def work(self) -> Work:
        return Work(noise=True)

    def apply(self, draft: Draft, draws: Draws) -> None:
        if not draft.noise.any():
            draft.noise_words = draws.words
        draft.noise = np.hypot(draft.noise, self.sigma)  # a sum of normal numbers is a normal number


def saturation(factor: Array) -> Array:
    """Return matrices (B, 3, 3) that multiply the differences of a colour from its grey value by ``factor`` (B,)."""
    grey = np.tile(np.array(GREY), (3, 1))
    share = factor[:, np.newaxis, np.newaxis]
    return grey + share * (np.eye(3) - grey)


def hue(turn: Array) -> Array:
    """Return matrices (B, 3, 3) that rotate colours around the grey axis by ``turn`` (B,), in full circles.

    The rotation is in the plane of the colour differences U ∝ B − Y and V ∝ R − Y; the grey value Y does not change.
    """
    red, green, blue = GREY
    grey = np.array(GREY)
    u, v = 0.492 * (np.array([0.0, 0.0, 1.0]) - grey), 0.877 * (np.array([1.0, 0.0, 0.0]) - grey)
    from_u, from_v = np.array([0, -blue / green, 1]) / 0.492, np.array([1, -red / green, 0]) / 0.877
    cos, sin = (one[:, np.newaxis, np.newaxis] for one in (np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)))
    same = from_u[:, np.newaxis] * u + from_v[:, np.newaxis] * v
    crossed = from_v[:, np.newaxis] * u - from_u[:, np.newaxis] * v
    return np.ones((3, 1)) * grey + cos * same + sin * crossed
