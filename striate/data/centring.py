"""Centre and scale pictures like the training data, for prediction on the command line and in the lab.

A network only recognizes digits of the sizes and at the positions that it has seen. So the training pictures are
measured: the shade of the background, the size of the figures, and whether they are centred by their outline or by
their mass (MNIST is centred by mass, the digits of the package fill their frame). Pictures without a plain background,
such as photographs, are not changed.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from striate.data.picture import decoded
from striate.data.reading import Reading

Array = npt.NDArray[Any]

_SAMPLE = 1000
_PLAIN = 0.6  # share of the border that has the background's shade: digits 0.77, MNIST 1.0, photographs below 0.3
_NEAR = 16
_INK = 64  # of 255: pixels that differ from the background by more belong to the figure


@dataclass(frozen=True)
class Centring:
    """The position and size of the figures in the pictures of a data set.

    background  shade of the background, 0 … 255
    extent      the longer side of the figure, as a share of the picture's side: above 0, at most 1
    by_mass     True: the figure's centre of mass is in the middle of the picture; False: the centre of its outline
    """

    background: int
    extent: float
    by_mass: bool

    @classmethod
    def of(cls, images: Array) -> Centring | None:
        """Measure uint8 pictures (N, C, H, W); returns None if they have no plain background, or no figure on it."""
        if images.ndim != 4 or images.dtype != np.uint8 or min(images.shape[2:]) < 2:
            return None
        grey = images[:_SAMPLE].mean(axis=1)
        border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
        background = float(np.median(border))
        if (abs(border - background) <= _NEAR).mean() < _PLAIN:
            return None
        figures = [(figure, box) for figure in grey if (box := box_of(abs(figure - background) > _INK)) is not None]
        if not figures:
            return None
        extents = [
            max((bottom - top) / len(f), (right - left) / f.shape[1]) for f, (top, bottom, left, right) in figures
        ]
        outline = np.array([((t + b) / 2 / len(f), (le + r) / 2 / f.shape[1]) for f, (t, b, le, r) in figures])
        mass = np.array([mass_of(abs(f - background)) / f.shape for f, _ in figures])
        steadier = bool(mass.std(axis=0).sum() < outline.std(axis=0).sum())
        return cls(round(background), float(np.median(extents)), steadier)

    def to_json(self) -> dict[str, object]:
        """Return the fields as a dictionary of plain values, for ``run.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> Centring | None:
        """Return the ``Centring`` for a dictionary from ``to_json``; None for anything else."""
        match document:
            case {"background": int(shade), "extent": float(extent), "by_mass": bool(by_mass)}:
                usable = 0 <= shade <= 255 and 0 < extent <= 1
                return cls(shade, extent, by_mass) if usable else None
            case _:
                return None

    def apply(self, picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, bool]:
        """Return the picture with its figure placed as in the data, and whether dark and light were exchanged.

        Dark and light are exchanged if this brings the background closer to the background of the data. The result is
        RGB, with the proportions of ``size`` (height, width) but several times as large, so that the caller can shrink
        it to ``size``. A picture without a figure keeps its size.
        """
        grey = np.asarray(picture.convert("L"), dtype=np.float32)
        edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        paper = float(np.median(edge))
        swapped = abs(paper - self.background) > 127
        if swapped:
            picture = Image.eval(picture.convert("RGB"), lambda value: 255 - value)
            grey, paper = 255 - grey, 255 - paper
        ink = abs(grey - paper)
        box = box_of(ink > _INK)
        if box is None:
            return picture, swapped
        top, bottom, left, right = box
        height, width = size
        scale = max(1, round(256 / max(size)))
        sheet_height, sheet_width = height * scale, width * scale
        longest = max((bottom - top) / sheet_height, (right - left) / sheet_width)
        zoom = self.extent / longest
        tall, wide = max(1, round((bottom - top) * zoom)), max(1, round((right - left) * zoom))
        colours = (
            picture.convert("RGB").crop((left, top, right, bottom)).resize((wide, tall), Image.Resampling.BILINEAR)
        )
        shade = (self.background,) * 3
        sheet = Image.new("RGB", (sheet_width, sheet_height), shade)
        y, x = (sheet_height - tall) / 2, (sheet_width - wide) / 2
        if self.by_mass:
            down, across = mass_of(ink[top:bottom, left:right]) * zoom
            y = min(max(sheet_height / 2 - down, 0), sheet_height - tall)
            x = min(max(sheet_width / 2 - across, 0), sheet_width - wide)
        sheet.paste(colours, (round(x), round(y)))
        return sheet, swapped


def box_of(ink: Array) -> tuple[int, int, int, int] | None:
    """Return (top, bottom, left, right) of the box around a mask's true elements; None if there are none.

    ``bottom`` and ``right`` are exclusive.
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def mass_of(ink: Array) -> Array:
    """Return the centre of mass of the weights ``ink`` (H, W) as (y, x), in pixels from the upper left corner.

    The centre of the first pixel is (0.5, 0.5). If all weights are 0, the result is (0, 0).
    """
    weights: Array = np.asarray(ink, np.float64)
    rows, columns = (np.array([place + 0.5 for place in range(size)]) for size in ink.shape)
    total = max(float(weights.sum()), 1e-9)
    down = float(np.einsum("yx,y->", weights, rows)) / total
    across = float(np.einsum("yx,x->", weights, columns)) / total
    return np.array([down, across])


class Placed(NamedTuple):
    """A picture as an input of a network.

    pixels   uint8 (C, H, W)
    swapped  whether light and dark were exchanged, to agree with the training data
    size     (height, width) of the file
    """

    pixels: npt.NDArray[np.uint8]
    swapped: bool
    size: tuple[int, int]


def centred(content: bytes, name: str, reading: Reading, form: Centring | None) -> Placed:
    """Decode the bytes of a picture file to uint8 (C, H, W), with the figure placed as in the training data.

    ``reading`` has the channels and the size (H, W) of the result. ``form`` is the position and size of the figures in
    the training data; if it is None, the picture is only resized. Raises ``DataError``, which contains ``name``, if the
    bytes cannot be decoded.
    """
    picture = decoded(io.BytesIO(content), name, most=reading.most)
    size = picture.height, picture.width
    if form is None:
        return Placed(reading.fitted(picture), False, size)
    placed, swapped = form.apply(picture, reading.size)
    return Placed(reading.fitted(placed), swapped, size)
