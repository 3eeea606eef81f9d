"""Converts arrays to PNG pictures inside the page.

signed      −m … 0 … m              → blue … white … orange: weights
warm        0 … 1                   → dark … bright: amounts, such as a feature map or a Grad-CAM map
picture     an input (C, H, W)      → the picture itself
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from striate.report.html import Markup, element

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
"""Pictures (H, W, 3), uint8."""

_SIGNED = ((5, 80, 155), (111, 169, 214), (247, 247, 247), (240, 163, 105), (178, 73, 0))
_WARM = ((13, 8, 60), (94, 18, 110), (181, 54, 88), (238, 121, 45), (252, 205, 90), (252, 254, 190))
"""The colours of ``warm`` at equal distances. In grey, both scales keep their order of brightness."""


def _stops(values: Array, colours: Sequence[tuple[int, int, int]]) -> Pixels:
    """Return values from 0 to 1 as colours, interpolated between ``colours`` at equal distances."""
    places = np.linspace(0, 1, len(colours))
    table = np.asarray(colours, float)
    clipped = np.clip(np.nan_to_num(values.astype(float), nan=0.0), 0, 1)
    return np.stack([np.interp(clipped, places, table[:, i]) for i in range(3)], axis=-1).round().astype(np.uint8)


def signed(values: Array, largest: float | None = None) -> Pixels:
    """Return numbers (H, W) around 0 as colours (H, W, 3), uint8: blue below 0, orange above.

    Numbers with the absolute value ``largest`` have the full colour. None means the largest absolute value in
    ``values``. NaN and infinity are drawn as 0.
    """
    finite = np.nan_to_num(values.astype(float), nan=0.0, posinf=0.0, neginf=0.0)
    top = largest or float(np.max(np.abs(finite), initial=0.0)) or 1.0
    return _stops(finite / top / 2 + 0.5, _SIGNED)


def warm(values: Array) -> Pixels:
    """Return numbers from 0 to 1 as colours (H, W, 3), uint8, from dark to bright."""
    return _stops(values, _WARM)


def stretched(values: Array) -> Array:
    """Return numbers shifted and scaled so that they span 0 … 1; zeros if they are all equal.

    NaN and infinity count as 0.
    """
    values = np.nan_to_num(values.astype(float), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def picture(image: Array) -> Pixels:
    """Return one input (C, H, W) as colours (H, W, 3), uint8.

    uint8 is shown as it is; other numbers are scaled from their range to 0 … 255. If C is not 3, the mean of the
    channels is shown in grey.
    """
    values = image.astype(float) / 255 if image.dtype == np.uint8 else stretched(image)
    if image.shape[0] != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return (255 * values.transpose(1, 2, 0)).round().astype(np.uint8)


def over(image: Pixels, heatmap: Array) -> Pixels:
    """Return a picture, in grey, blended with the colours of a heatmap (H, W) of the same size.

    The values of the heatmap are from 0 to 1; the larger a value, the more its colour covers the picture.
    """
    grey = image.astype(float).mean(axis=2, keepdims=True)
    cover = 0.2 + 0.55 * np.clip(heatmap, 0, 1)[..., np.newaxis]
    return ((1 - cover) * grey + cover * warm(heatmap)).round().astype(np.uint8)


def enlarged(tile: Pixels, times: int) -> Pixels:
    """Return a picture in which every pixel is repeated as a square of ``times`` × ``times`` pixels."""
    return tile.repeat(times, axis=0).repeat(times, axis=1)


def sheet(tiles: Sequence[Pixels], columns: int, gap: int = 1) -> Pixels:
    """Arrange tiles of one size row by row, ``columns`` in a row, with ``gap`` pixels between them.

    Gaps have the colour (1, 2, 3), which ``data_uri`` makes transparent.
    """
    height, width, _ = tiles[0].shape
    rows = math.ceil(len(tiles) / columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), _GAP, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        page[top : top + height, left : left + width] = tile
    return page


_GAP = (1, 2, 3)


def data_uri(pixels: Pixels) -> str:
    """Return a picture as ``data:image/png;base64,…``; gaps between tiles are transparent."""
    alpha = np.where((pixels == _GAP).all(axis=2), 0, 255).astype(np.uint8)
    if alpha.all():
        grey = (pixels[..., :1] == pixels).all()
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
    else:
        image = Image.fromarray(np.dstack([pixels, alpha]))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def shown(pixels: Pixels, alt: str, class_: str = "pixels", scale: float = 1) -> Markup:
    """Return the picture as an ``img`` element of the page, with the alternative text ``alt``.

    The picture is shown at ``scale`` times its size if the screen is wide enough. Its pixels stay squares.
    """
    height, width, _ = pixels.shape
    return element(
        "img", src=data_uri(pixels), alt=alt, width=round(width * scale), height=round(height * scale),
        class_=class_, decoding="async",
    )  # fmt: skip
