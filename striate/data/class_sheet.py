"""Draw some samples of each class on one picture, one row per class, optionally also after augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from striate.data.augment import InputStage
from striate.data.contact_sheet import sheet_font
from striate.data.dataset import Array, Dataset
from striate.errors import DataError

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 33, 36), (110, 114, 120)
_LINES = [(31, 119, 180), (214, 95, 14), (44, 140, 60), (150, 60, 160), (120, 120, 120), (190, 160, 20)]
_SIDE, _WIDE, _GAP, _HEAD = 72, 120, 8, 46
_FINER = 3  # lines are drawn so many times as large, and shrunk
_MOST_ROWS = 40
_NAME = 150


def class_sheet(data: Dataset, title: str, across: int = 8, augment: str = "", seed: int = 0) -> Image.Image:
    """Draw up to ``across`` samples of each class, one row per class, at most 40 rows.

    Pictures are drawn with square pixels, signals as a line per channel, volumes as their middle slice. With
    ``augment``, such as "crop:4 flip", a second row for each class shows the same samples changed at random, as a
    network sees them in one epoch. ``seed`` determines these changes. Data without class labels have one row. ``title``
    is drawn at the top.

    Raises ``DataError`` for the features of tables, which cannot be drawn, and ``OptionError`` for unknown transforms.
    """
    if data.images.ndim == 2:
        raise DataError(f"{data.name}: features of a table have no picture")
    rows = _rows(data, across)[:_MOST_ROWS]
    stage = InputStage(data, augment, seed=seed) if augment else None
    width = _WIDE if data.images.ndim == 3 else _SIDE
    height = len(rows) * (2 if stage else 1) * (_SIDE + _GAP)
    sheet = Image.new("RGB", (_NAME + across * (width + _GAP) + _GAP, _HEAD + height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 12), title, fill=_INK, font=sheet_font(18))
    axes = (0, *range(2, data.images.ndim))
    low, high = data.images.min(axis=axes), data.images.max(axis=axes)
    top = _HEAD
    for name, count, places in rows:
        batches = [(data.images[places], name, f"{count:,} samples")]
        if stage is not None:
            batches.append((np.asarray(stage.batch(places, epoch=0)[0]), "", "augmented"))
        for images, label, note in batches:
            draw.text((_GAP, top + 18), _shortened(label), fill=_INK, font=sheet_font(15))
            draw.text((_GAP, top + 40), note, fill=_FAINT, font=sheet_font(12))
            for number, image in enumerate(images):
                tile = _tile(image, width, low, high)
                sheet.paste(tile, (_NAME + number * (width + _GAP), top + (_SIDE - tile.height) // 2))
            top += _SIDE + _GAP
    return sheet


def _rows(data: Dataset, across: int) -> list[tuple[str, int, Array]]:
    """Return name, number of samples, and indices of some samples spread over each class."""
    if not data.is_classification:
        return [("all", len(data), np.linspace(0, len(data) - 1, min(across, len(data))).astype(np.int64))]
    rows: list[tuple[str, int, Array]] = []
    for number, name in enumerate(data.classes):
        own = np.flatnonzero(data.labels == number)
        if len(own):
            spread = np.unique(np.linspace(0, len(own) - 1, min(across, len(own))).astype(np.int64))
            rows.append((name, len(own), own[spread]))
    return rows


def _tile(image: Array, width: int, low: Array, high: Array) -> Image.Image:
    """Return a drawing of a sample; ``low`` and ``high`` (C,) are the range of each channel in the data set."""
    if image.ndim == 2:
        return _curve(image, width, low, high)
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    shown = image[:3] if len(image) in (3, 4) else image[:1]
    if shown.dtype != np.uint8:
        least, most = float(low.min()), float(high.max())
        shown = np.clip((shown - least) / max(most - least, 1e-12) * 255, 0, 255).astype(np.uint8)
    pixels = shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _curve(signal: Array, width: int, low: Array, high: Array) -> Image.Image:
    """Return a drawing of a signal (C, L): a line for each of the first six channels, from ``low`` to ``high``."""
    wide, tall = width * _FINER, _SIDE * _FINER
    tile = Image.new("RGB", (wide, tall), (247, 248, 250))
    draw = ImageDraw.Draw(tile)
    for channel, colour, least, most in zip(signal, _LINES, low.tolist(), high.tolist()):
        share = np.clip((channel - least) / max(most - least, 1e-12), -0.05, 1.05)
        y = tall * (0.93 - 0.86 * share)
        x = np.linspace(0.03 * wide, 0.97 * wide, len(channel))
        points: Sequence[tuple[float, float]] = list(zip(x.tolist(), y.tolist()))
        draw.line(points if len(points) > 1 else [points[0], points[0]], fill=colour, width=_FINER)
    return tile.resize((width, _SIDE), Image.Resampling.BOX)


def _shortened(name: str) -> str:
    """Return a name that fits beside its row."""
    return name if len(name) <= 17 else name[:16] + "…"
