"""Read picture files as uint8 arrays for a network, and encode arrays as PNG or JPEG files."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from striate.errors import DataError, OptionError
from striate.options import path as checked_path
from striate.options import whole_number

MOST_PIXELS = 64_000_000  # 256 MB as RGBA
_MODES = {1: "L", 3: "RGB"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm",
    ".pnm",
}  # fmt: skip
_GREY = ("1", "L", "LA", "La", "F")
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"}, ".jpg": {"format": "JPEG", "quality": 95}, ".jpeg": {"format": "JPEG", "quality": 95},
}  # fmt: skip


def read_picture(path: Path | str, channels: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a picture file as uint8 (channels, height, width), 0 … 255; ``size`` is (height, width).

    The picture is rotated as its EXIF orientation says, composed with a white background if it is transparent,
    converted to grey (1 channel) or RGB (3), and resized without keeping its proportions: shrunk by averaging areas,
    enlarged linearly.

    Raises ``DataError``, which names the file, if it is missing, damaged, not a picture, or larger than 64 million
    pixels; ``OptionError`` for other numbers of channels.
    """
    if channels not in (1, 3):
        raise OptionError(f"channels={channels!r}; expected 1 (grey) or 3 (red, green, blue)")
    height, width = (whole_number("size", side, 1, MOST_PIXELS) for side in size)
    return fitted_pixels(_opened(checked_path("path", path), _MODES[channels]), channels, (height, width))


def fitted_pixels(picture: Image.Image, channels: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return a Pillow image as uint8 (channels, height, width), converted and resized as in ``read_picture``."""
    height, width = size
    shrinks = width <= picture.width and height <= picture.height
    picture = picture.convert(_MODES[channels])
    return pixels_of(picture.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR))


def open_picture(path: Path | str, grey: bool = False, largest: int | None = None) -> npt.NDArray[np.uint8]:
    """Read a picture file in its own size as uint8: (1, H, W) for grey pictures, (3, H, W) for coloured ones.

    The picture is rotated as its EXIF orientation says, and composed with a white background if it is transparent. With
    ``grey=True`` it is converted to grey. If a side has more than ``largest`` pixels, the picture is shrunk to that
    size by averaging areas, with its proportions. Raises ``DataError`` as ``read_picture`` does.
    """
    picture = _opened(checked_path("path", path), _MODES[1] if grey else None)
    if largest is not None and max(picture.size) > largest:
        width, height = (max(1, round(side * largest / max(picture.size))) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return pixels_of(picture)


def pixels_of(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a Pillow image as a uint8 array: (1, height, width) if it is grey, (3, height, width) if it is RGB."""
    pixels = np.asarray(picture, dtype=np.uint8).reshape(picture.height, picture.width, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def image_of(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Return uint8 pixels (1, H, W) or (3, H, W) as a grey or an RGB Pillow image."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def encoded_picture(picture: Image.Image, path: Path) -> bytes:
    """Return the bytes of a picture file, in the format of the suffix of ``path``; nothing is written.

    Raises ``OptionError`` for a suffix other than .png, .jpg or .jpeg.
    """
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise OptionError(f"{path}: the name must end with one of {', '.join(_FORMATS)}")
    stream = BytesIO()
    picture.save(stream, **_FORMATS[ending])
    return stream.getvalue()


def _opened(path: Path, mode: str | None) -> Image.Image:
    """Decode the picture file at a path, as ``decoded`` does; raises ``DataError`` if it does not exist."""
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, not a picture' if path.is_dir() else 'no such file'}")
    return decoded(path, str(path), mode)


def decoded(
    source: Path | BinaryIO,
    name: str,
    mode: str | None = None,
    most_pixels: int = MOST_PIXELS,
    formats: tuple[str, ...] = FORMATS,
    most: int = 65535,
) -> Image.Image:
    """Decode a picture to a Pillow image with 8 bits per channel, upright and without transparency.

    The picture is rotated as its EXIF orientation says, and composed with a white background if it is transparent.

    source       a path or an open binary file
    name         the name of the picture in errors
    mode         "L" (grey) or "RGB"; None: that of the file
    most_pixels  limit of width · height, checked in the header before memory is allocated
    formats      the accepted formats, by Pillow's names
    most         the value that becomes 255 in grey pictures of 16 bits

    Only the first picture of a file is decoded. Raises ``DataError`` as ``read_picture`` does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is stricter
            with Image.open(source, formats=formats) as file:
                require_pixels(file, name, most_pixels)
                own = _MODES[1] if file.mode in _GREY or file.mode.startswith("I") else _MODES[3]
                return _on_white(ImageOps.exif_transpose(file), most).convert(mode or own)
    except DataError:
        raise
    except Exception as error:
        # Pillow's own text for an unknown format names the object that it was given
        why = "no known kind of picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{name}: not a picture that can be read ({', '.join(formats)}): {why}") from error


def require_pixels(picture: Image.Image, name: str, most: int = MOST_PIXELS) -> None:
    """Raise ``DataError``, with the picture's ``name``, for a picture of more than ``most`` pixels.

    Only the size in the picture's header is read; no pixel is decoded.
    """
    if picture.width * picture.height > most:
        raise DataError(f"{name}: {picture.width}×{picture.height} is more than {most:,} pixels")


def _on_white(picture: Image.Image, most: int) -> Image.Image:
    """Return the image with 8 bits a channel, on a white background if it is transparent."""
    if picture.mode.startswith("I"):  # 16-bit grey, which ``convert`` would clip at 255
        levels = np.asarray(picture).astype(np.int64).clip(0, most)
        return Image.fromarray(((levels * 255 + most // 2) // most).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    sheet = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(sheet, picture.convert("RGBA"))
