"""One picture from a PNG or JPEG file, in the form that a network wants."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from striate.errors import DataError, OptionError

_MOST_PIXELS = 64_000_000  # 256 MB as RGBA
_MODES = {1: "L", 3: "RGB"}
# What Pillow lets through from damaged files, by its parsers' many hands.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_picture(path: Path | str, channels: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(channels, height, width) uint8, 0 … 255, from a PNG or JPEG; ``size`` is (height, width).

    Turned as its EXIF orientation says, laid on white where it is transparent, made grey (1 channel) or colour (3),
    shrunk by averaging areas or enlarged linearly. Its proportions are not kept.

    Raises ``DataError`` naming the file when it is missing, no picture, damaged, or larger than 64 million pixels;
    ``OptionError`` for other numbers of channels.
    """
    if channels not in _MODES:
        raise OptionError(f"channels={channels}; a picture has 1 (grey) or 3 (red, green, blue)")
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return pixels_of(opened(path, str(path)), channels, size)


def opened(source: Path | BinaryIO, name: str, most_pixels: int = _MOST_PIXELS) -> Image.Image:
    """A PNG or JPEG, decoded, turned as its EXIF orientation says, without transparency. ``name`` is for errors.

    Its size is read from its head, before memory is asked for. Raises ``DataError`` as ``read_picture`` does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the stricter limit
            with Image.open(source, formats=("PNG", "JPEG")) as file:
                if file.width * file.height > most_pixels:
                    raise DataError(f"{name}: {file.width}×{file.height} is more than {most_pixels:,} pixels")
                return _on_white(ImageOps.exif_transpose(file))
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{name}: not a PNG or JPEG picture that can be read: {error}") from error


def pixels_of(picture: Image.Image, channels: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(channels, height, width) uint8 of a decoded picture, as ``read_picture`` gives it."""
    height, width = size
    shrinks = width <= picture.width and height <= picture.height
    picture = picture.convert(_MODES[channels])
    picture = picture.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _on_white(picture: Image.Image) -> Image.Image:
    """8 bits a channel, without transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey, which ``convert`` would clip at 255
        return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    sheet = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(sheet, picture.convert("RGBA"))
