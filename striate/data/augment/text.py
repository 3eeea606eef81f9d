"""Transforms as text, for the command line and configuration files: "crop:4 flip jitter:0.2"."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from striate.data.augment.colour import ColorJitter, GaussianNoise, RandomScaling
from striate.data.augment.erasing import Cutout, RandomErasing, RandomMask
from striate.data.augment.geometry import (
    AlternatingFlip,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
    RandomVerticalFlip,
)
from striate.data.augment.mixing import CutMix, MixUp
from striate.data.augment.policy import RandAugment, TrivialAugment
from striate.data.augment.transform import Transform
from striate.errors import OptionError, unknown_option


class Values:
    """The values after the name of a transform in a text, such as 4 and reflect in "crop:4:reflect".

    The methods return the value at index ``place`` (the first is 0), or ``default`` if it is missing or empty.
    """

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values

    def text(self, place: int, default: str) -> str:
        """Return the value at index ``place`` as a string, or ``default`` if it is missing or empty."""
        return (self._values[place] if place < len(self._values) else "") or default

    def number(self, place: int, default: float) -> float:
        """Return the value at index ``place`` as a float, or ``default`` if it is missing or empty.

        Raises ``ValueError`` if the value is not a number.
        """
        return float(self.text(place, str(default)))

    def whole(self, place: int, default: int) -> int:
        """Return the value at index ``place`` as an int, or ``default`` if it is missing or empty.

        Raises ``ValueError`` if the value is not an integer.
        """
        return int(self.text(place, str(default)))

    def fill(self, place: int) -> float | str:
        """Return the value at index ``place``: a float or the word "mean"; 0 if the value is missing or empty."""
        return "mean" if self.text(place, "0") == "mean" else self.number(place, 0)


def _affine(v: Values) -> Transform:
    share, scale = v.number(1, 0.1), v.number(2, 0.1)
    return RandomAffine(v.number(0, 10), (share, share), (1 - scale, 1 + scale), v.number(3, 0))


def _jitter(v: Values) -> Transform:
    brightness = v.number(0, 0.2)
    return ColorJitter(brightness, v.number(1, brightness), v.number(2, 0), v.number(3, 0))


_FORMS: dict[str, tuple[str, Callable[[Values], Transform]]] = {
    "crop": ("PADDING:MODE", lambda v: RandomCrop(padding=v.whole(0, 4), padding_mode=v.text(1, "constant"))),
    "resized-crop": ("SMALLEST", lambda v: RandomResizedCrop(scale=(v.number(0, 0.08), 1.0))),
    "flip": ("P", lambda v: RandomHorizontalFlip(v.number(0, 0.5))),
    "alternate-flip": ("", lambda v: AlternatingFlip()),
    "vflip": ("P", lambda v: RandomVerticalFlip(v.number(0, 0.5))),
    "reverse": ("P", lambda v: RandomFlip(v.number(0, 0.5))),
    "rotate": ("DEGREES", lambda v: RandomRotation(v.number(0, 15))),
    "affine": ("DEGREES:SHIFT:SCALE:SHEAR", _affine),
    "jitter": ("BRIGHTNESS:CONTRAST:SATURATION:HUE", _jitter),
    "erase": ("P:VALUE", lambda v: RandomErasing(v.number(0, 0.5), value=v.fill(1))),
    "cutout": ("SIZE:VALUE", lambda v: Cutout(v.whole(0, 8), value=v.fill(1))),
    "mixup": ("ALPHA", lambda v: MixUp(v.number(0, 0.2))),
    "cutmix": ("ALPHA", lambda v: CutMix(v.number(0, 1))),
    "randaugment": ("OPERATIONS:MAGNITUDE", lambda v: RandAugment(v.whole(0, 2), v.whole(1, 9))),
    "trivial": ("", lambda v: TrivialAugment()),
    "shift": ("STEPS:MODE", lambda v: RandomShift(v.number(0, 0.1), v.text(1, "constant"))),
    "scale": ("SIGMA", lambda v: RandomScaling(v.number(0, 0.1))),
    "noise": ("SIGMA", lambda v: GaussianNoise(v.number(0, 0.1))),
    "mask": ("LENGTH", lambda v: RandomMask(v.number(0, 0.1))),
}
NAMES = tuple(_FORMS)
"""The names of transforms in a text."""


def parsed(text: str) -> tuple[Transform, ...]:
    """Return the transforms that a text lists: names separated by spaces, each with values after colons.

    Raises ``OptionError`` for an unknown name, with a list of the known ones, and for values that are not numbers or
    out of range.

    >>> parsed("crop:4:reflect flip")
    (RandomCrop(size=None, padding=4, padding_mode='reflect', fill=0.0), RandomHorizontalFlip(p=0.5, axis=-1))
    """
    return tuple(_parsed(word) for word in text.replace(",", " ").split())


def _parsed(word: str) -> Transform:
    name, *values = word.split(":")
    if name not in _FORMS:
        raise unknown_option("augmentation", name, list(_FORMS))
    form, make = _FORMS[name]
    most = form.count(":") + 1 if form else 0
    if len(values) > most:
        raise OptionError(f"augmentation {word!r}: more than {most} values\n  help: {name}{':' if form else ''}{form}")
    try:
        return make(Values(values))
    except ValueError as error:
        raise OptionError(f"augmentation {word!r}: {error}\n  help: {name}:{form}") from error
