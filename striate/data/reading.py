"""Converts picture files to inputs, by the same rule for training, evaluation, prediction and reports."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from striate.data.picture import decoded, pixels_of
from striate.errors import DataError, OptionError

Pixels = npt.NDArray[np.uint8]
MODES = {1: "L", 3: "RGB"}


class Resize(Enum):
    """What happens to a picture whose proportions differ from those of the inputs."""

    stretch = "stretch"  # the proportions are not kept
    crop = "crop"  # the proportions are kept, and only the middle is used
    pad = "pad"  # the proportions are kept, and white is added on two sides


@dataclass(frozen=True)
class Reading:
    """How a picture file becomes an input (C, height, width), uint8.

    channels  1 grey, 3 RGB
    size      (height, width) in pixels
    resize    how pictures of other proportions are resized
    most      the value that becomes 255 in 16-bit grey pictures: 65535, or 4095 where the camera has 12 bits

    Every picture is rotated as its EXIF orientation says, and laid on white where it is transparent.
    """

    channels: int
    size: tuple[int, int]
    resize: Resize = Resize.stretch
    most: int = 65535

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object, for ``run.json``."""
        return {**asdict(self), "size": list(self.size), "resize": self.resize.value}

    @classmethod
    def from_json(cls, document: object) -> Reading | None:
        """Return the ``Reading`` of a JSON object that ``to_json`` wrote; None for anything else."""
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
        """Return a decoded picture as uint8 (C, height, width)."""
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

        Raises ``DataError``, with ``name``, where they cannot be decoded.
        """
        return self.fitted(decoded(io.BytesIO(content), name, MODES[self.channels], most=self.most))


def size_of(text: str) -> tuple[int, int]:
    """Return (height, width) from text such as ``64`` or ``48x64``; raises ``OptionError`` for other text."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 1 <= int(part) <= 16384 for part in parts):
        raise OptionError(f"--size {text!r}; expected a side such as 64, or a height and a width such as 48x64")
    return int(parts[0]), int(parts[-1])


def same_size(sizes: dict[tuple[int, int], int], where: str) -> tuple[int, int]:
    """Return the only size in ``sizes``, which counts pictures by (height, width).

    Raises ``DataError``, suggesting a size, where there are several.
    """
    if len(sizes) == 1:
        return next(iter(sizes))
    heights, widths = (sorted(side) for side in zip(*sizes))
    usual = max(sizes, key=lambda size: sizes[size])
    suggested = min(224, max(8, 1 << (sorted(min(size) for size in sizes)[len(sizes) // 2]).bit_length() - 1))
    raise DataError(
        f"{where}: pictures of {len(sizes):,} different sizes, heights {heights[0]} to {heights[-1]} and widths "
        f"{widths[0]} to {widths[-1]}, most often {usual[0]}×{usual[1]}; a network takes one\n"
        f"  help: --size {suggested}, with --resize {', '.join(Resize.__members__)}"
    )
