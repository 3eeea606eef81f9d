"""Draw many pictures on one sheet, each with its name and, if a filter made it, the filter's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 33, 36), (110, 114, 120)
_NEGATIVE, _POSITIVE = np.array([33, 102, 172.0]), np.array([178, 24, 43.0])
_GAP, _CAPTION, _STENCIL = 14, 46, 36


@dataclass(frozen=True)
class Tile:
    """A picture on a contact sheet.

    ``name`` and ``note`` are the lines of text below the picture. ``weights`` are the weights of the filter that made
    the picture; None if no filter made it.
    """

    picture: Image.Image
    name: str
    note: str = ""
    weights: Array | None = None


def shown_pixels(numbers: Array, signed: bool, white: float = 255.0) -> Pixels:
    """Convert the result of a filter to uint8 for display.

    Unsigned numbers are scaled so that ``white`` becomes 255, and clipped. Signed numbers are scaled so that 99.5 % of
    them are in range; 0 becomes grey 128, and negative numbers become darker.
    """
    if not signed:
        scaled = numbers * (255.0 / white)
    else:
        largest = float(np.quantile(np.abs(numbers), 0.995)) or float(np.abs(numbers).max())
        scaled = 128.0 + numbers * (127.0 / largest if largest > 0 else 0.0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def signed_colours(weights: Array) -> Pixels:
    """Colour an array of weights as uint8 (rows, columns, 3).

    0 becomes white, negative numbers blue and positive numbers red; the largest absolute value has the full colour.
    """
    largest = float(np.abs(weights).max()) or 1.0
    share = (np.abs(weights) / largest)[..., np.newaxis]
    full = np.where(weights[..., np.newaxis] < 0, _NEGATIVE, _POSITIVE)
    return np.rint(255 * (1 - share) + full * share).astype(np.uint8)


def contact_sheet(title: str, tiles: Sequence[Tile], columns: int | None = None) -> Image.Image:
    """Draw the tiles row by row under a title, as one RGB picture.

    ``columns`` is the number of tiles in a row; None makes about as many rows as columns.
    """
    across = columns or max(1, math.ceil(math.sqrt(len(tiles))))
    width = max(max(tile.picture.width, _STENCIL + 8 + _text_width(tile)) for tile in tiles)
    height = max(tile.picture.height for tile in tiles)
    rows = math.ceil(len(tiles) / across)
    head = 52
    sheet = Image.new("RGB", (across * (width + _GAP) + _GAP, head + rows * (height + _CAPTION + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 14), title, fill=_INK, font=sheet_font(20))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        _draw(sheet, draw, tile, _GAP + column * (width + _GAP), head + row * (height + _CAPTION + _GAP), width, height)
    return sheet


def _draw(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int, width: int, height: int
) -> None:
    """Draw one tile into the cell of ``width`` and ``height`` pixels at (left, top)."""
    picture = tile.picture
    sheet.paste(picture.convert("RGB"), (left + (width - picture.width) // 2, top + height - picture.height))
    text = left
    if tile.weights is not None:
        stencil = Image.fromarray(signed_colours(tile.weights))
        scale = _STENCIL / max(stencil.size)
        size = (max(1, round(stencil.width * scale)), max(1, round(stencil.height * scale)))
        stencil = stencil.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
        place = (left, top + height + 6 + (_STENCIL - size[1]) // 2)
        draw.rectangle((place[0] - 1, place[1] - 1, place[0] + size[0], place[1] + size[1]), outline=(205, 208, 212))
        sheet.paste(stencil, place)
        text += _STENCIL + 8
    draw.text((text, top + height + 5), tile.name, fill=_INK, font=sheet_font(15))
    if tile.note:
        draw.text((text, top + height + 25), tile.note, fill=_FAINT, font=sheet_font(12))


def _text_width(tile: Tile) -> int:
    """Return the width of a tile's texts in pixels."""
    return math.ceil(max(sheet_font(15).getlength(tile.name), sheet_font(12).getlength(tile.note)))


def sheet_font(size: int) -> Any:
    """Return Pillow's default font; ``size`` is in pixels."""
    return ImageFont.load_default(size)
