"""Test-time augmentation: predictions averaged over flipped and shifted views of each sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import OptionError, ShapeError, unknown_option
from striate.nn.module import Module

Array = npt.NDArray[Any]
_FLIPS = {"flip": -1, "vflip": -2}


@dataclass(frozen=True)
class Views:
    """The views of a sample over which predictions are averaged: all combinations of flips and shifts.

    flips  the axes that are reversed, −1 for the width of a picture and −2 for its height; each doubles the views
    shift  the number of elements by which views are shifted, along all spatial axes at once, in every combination of
           directions. With the sample itself, there are 5 views of a picture and 3 of a signal. Gaps are filled with
           the outermost elements. 0: no shifts
    """

    flips: tuple[int, ...] = ()
    shift: int = 0

    @classmethod
    def parse(cls, text: str) -> Views:
        """Return the views that a text names, such as "flip", "flip vflip" or "flip crop:4".

        "flip" reverses the last axis, "vflip" the last but one; "crop:4" and "crop" both shift by 4 elements. Raises
        ``OptionError`` for an unknown name and for a shift that is not a whole number above 0.
        """
        flips: list[int] = []
        shift = 0
        for word in text.replace(",", " ").split():
            name, _, value = word.partition(":")
            if name == "crop" and (not value or (value.isdigit() and int(value))):
                shift = int(value or 4)
            elif name in _FLIPS and not value:
                flips.append(_FLIPS[name])
            elif name in _FLIPS or name == "crop":
                raise OptionError(f"test-time augmentation {word!r}\n  help: flip, vflip, crop:4")
            else:
                raise unknown_option("test-time augmentation", name, ("flip", "vflip", "crop"))
        return cls(tuple(dict.fromkeys(flips)), shift)

    def require(self, shape: tuple[int, ...]) -> None:
        """Raise ``OptionError`` if samples of ``shape`` (C, sizes…) have too few axes or elements for these views."""
        sizes = shape[1:]
        if any(len(sizes) < -axis for axis in self.flips) or (self.shift and not sizes):
            raise OptionError(
                f"test-time augmentation: samples of shape {shape} have too few axes for it\n"
                "  help: flip needs signals or pictures, vflip pictures"
            )
        if self.shift and self.shift >= min(sizes):
            raise OptionError(
                f"test-time augmentation: a shift of {self.shift} leaves nothing of samples of shape {shape}\n"
                "  help: crop:1, or a smaller number than the size"
            )

    def of(self, x: Array) -> Iterator[Array]:
        """Yield the views of a batch ``x`` (N, C, sizes…), each of the same shape; the first is the batch itself."""
        axes = range(2, x.ndim)
        corners = product((-self.shift, self.shift), repeat=x.ndim - 2) if self.shift else ()
        for moves in ((0,) * len(axes), *corners):
            moved = x
            for axis, move in zip(axes, moves, strict=True):
                size = int(x.shape[axis])
                if move:
                    moved = np.take(moved, np.clip(np.arange(move, size + move), 0, size - 1), axis=axis)
            for chosen in product((False, True), repeat=len(self.flips)):
                flipped = tuple(axis for axis, flip in zip(self.flips, chosen, strict=True) if flip)
                yield np.ascontiguousarray(np.flip(moved, axis=flipped)) if flipped else moved


class Averaged:
    """A model with predictions averaged over ``views`` of each sample, called like the model with x (N, C, …).

    With ``probabilities``, the model must return logits (N, C), and the result is the logarithm of the mean softmax,
    which can again be used as logits. Otherwise the result is the mean of the outputs. Raises ``OptionError`` for
    samples that the views do not fit, and ``ShapeError`` for outputs with positions, such as (N, C, H, W).
    """

    def __init__(self, model: Module, views: Views, *, probabilities: bool = True) -> None:
        self.model, self.views, self.probabilities = model, views, probabilities

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the model's classes."""
        return self.model.classes

    def __call__(self, x: Array) -> Array:
        self.views.require(x.shape[1:])
        total, count = np.zeros(()), 0
        dtype = np.dtype(np.float32)
        for view in self.views.of(x):
            found = np.asarray(self.model(view))
            if found.ndim > 2:
                raise ShapeError(f"test-time augmentation is for outputs (N, C), and the model's are {found.shape}")
            dtype = found.dtype
            z = found.astype(np.float64)
            if self.probabilities:
                z = np.exp(z - z.max(axis=1, keepdims=True))
                z /= z.sum(axis=1, keepdims=True)
            total, count = total + z, count + 1
        mean = total / count
        return (np.log(np.maximum(mean, np.finfo(np.float64).tiny)) if self.probabilities else mean).astype(dtype)


def averaged(model: Module, tta: Views | str, *, probabilities: bool = True) -> Module | Averaged:
    """Return the model itself if ``tta`` is empty, else an ``Averaged`` model over the views.

    ``tta`` is a ``Views``, or a text such as "flip crop:4" for ``Views.parse``. ``probabilities`` is as in
    ``Averaged``.
    """
    views = Views.parse(tta) if isinstance(tta, str) else tta
    return Averaged(model, views, probabilities=probabilities) if views != Views() else model
