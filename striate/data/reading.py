"""Convert picture files to inputs in the same way for training, evaluation, prediction and reports."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from numbers import Integral
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from striate.data.picture import decoded, pixels_of
from striate.errors import DataError, OptionError

Pixels = npt.NDArray[np.uint8]
MODES = {1: "L", 3: "RGB"}


class Resize(Enum):
    """How a picture is resized if its proportions differ from those of the inputs: stretched, cropped or padded."""

    stretch = "stretch"  # the proportions are not kept
    crop = "crop"  # the proportions are kept, and only the middle is used
    pad = "pad"  # the proportions are kept, and white is added on two sides


@dataclass(frozen=True)
class Reading:
    """The options by which a picture file is converted to an input (C, height, width), uint8.

    channels  1 grey, 3 RGB
    size      (height, width) in pixels
    resize    how pictures of other proportions are resized
    most      the value that becomes 255 in 16-bit grey pictures: 65535, or 4095 for a camera with 12 bits

    Every picture is rotated as its EXIF orientation says, and composed with a white background if it is transparent.
    """

    channels: int
    size: tuple[int, int]
    resize: Resize = Resize.stretch
    most: int = 65535

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary of plain values, for ``run.json``."""
        return {**asdict(self), "size": list(self.size), "resize": self.resize.value}

    @classmethod
    def from_json(cls, document: object) -> Reading | None:
        """Return the ``Reading`` for a dictionary from ``to_json``; None for anything else."""
        match document:
            case {
                "channels": int(channels),
                "size": [int(height), int(width)],
                "resize": str(resize),
                "most": int(most),
            }:
                usable = channels in MODES and min(height, width, most) >= 1 and resize in Resize.__members__
                return cls(channels, (height, width), Resize[resize], most) if usable else None
            case _:
                return None

    def fitted(self, picture: Image.Image) -> Pixels:
        """Return a decoded picture as an input of a network: uint8 (C, height, width), resized and converted."""
        height, width = self.size
        picture = picture.convert(MODES[self.channels])
        if picture.size == (width, height):
            return pixels_of(picture)
        shrinks = width <= picture.width and height <= picture.height
        how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
        match self.resize:
            case Resize.stretch:
                picture = picture.resize((width, height), how)
            case Resize.crop:
                picture = ImageOps.fit(picture, (width, height), how)
            case Resize.pad:
                picture = ImageOps.pad(picture, (width, height), how, color="white")
        return pixels_of(picture)

    def read(self, content: bytes, name: str) -> Pixels:
        """Decode the bytes of a picture file to uint8 (C, height, width).

        Raises ``DataError``, which contains ``name``, if they cannot be decoded.
        """
        return self.fitted(decoded(io.BytesIO(content), name, MODES[self.channels], most=self.most))


_LARGEST_SUGGESTED = 224
_MOST_DIGITS = 18
MOST_PIXELS = 16384
"""The largest height and width that pictures are resized to."""


def size_of(given: object) -> tuple[int, int]:
    """Return (height, width) from a number such as 64, a pair (48, 64), or a string "64" or "48x64".

    Raises ``OptionError`` for anything else.
    """
    sides: Sequence[object] = cast("Sequence[object]", given) if isinstance(given, list | tuple) else (given,)
    if isinstance(given, str):
        sides = given.lower().replace("×", "x").split("x")
    found = [int(side) for side in sides if _is_side(side)]
    if large := [side for side in found if side > MOST_PIXELS]:
        raise OptionError(
            f"size={given!r}: sides are from 1 to {MOST_PIXELS:,} pixels, not {max(large):,}\n"
            f"  help: networks usually take pictures of 32 to {_LARGEST_SUGGESTED} pixels"
        )
    if not 1 <= len(sides) == len(found) <= 2:
        raise OptionError(
            f"size={given!r}; expected pixels: a side such as 64, or height and width such as (48, 64) or '48x64'"
        )
    return found[0], found[-1]


def _is_side(given: object) -> TypeGuard[int]:
    """Return whether this is a number of pixels, as an integer or as its digits."""
    if isinstance(given, str):
        return given.isdecimal() and len(given) <= _MOST_DIGITS and int(given) >= 1
    return isinstance(given, Integral) and not isinstance(given, bool) and int(given) >= 1


def same_size(sizes: dict[tuple[int, int], int], where: str) -> tuple[int, int]:
    """Return the only size in ``sizes``, which counts pictures by (height, width).

    Raises ``DataError``, which begins with ``where`` and suggests a size, if there are several.
    """
    if len(sizes) == 1:
        return next(iter(sizes))
    heights, widths = (sorted(side) for side in zip(*sizes))
    usual = max(sizes, key=lambda size: sizes[size])
    if 2 * sizes[usual] > sum(sizes.values()) and max(usual) <= _LARGEST_SUGGESTED:
        suggested = f"{usual[0]}" if usual[0] == usual[1] else f"{usual[0]}x{usual[1]}"
    else:
        smaller = sorted(min(size) for size in sizes)[len(sizes) // 2]
        suggested = f"{min(_LARGEST_SUGGESTED, max(8, 1 << smaller.bit_length() - 1))}"
    raise DataError(
        f"{where}: pictures of {len(sizes):,} different sizes, heights {heights[0]} to {heights[-1]} and widths "
        f"{widths[0]} to {widths[-1]}, most often {usual[0]}×{usual[1]}; a network takes one\n"
        f'  help: give size={suggested}, and resize="stretch", resize="crop" or resize="pad"'
    )
