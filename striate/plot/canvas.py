"""The layout and colours that all figures share, and the display of pictures and signed numbers.

Figures are made without pyplot, so that they belong to the caller and need no display.
"""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from striate import options
from striate.errors import OptionError
from striate.persistence import write_atomically

Array = npt.NDArray[Any]

INK, FAINT, RULE = "#202124", "#6e7278", "#d5d8dc"
BLUE, RED, GREEN, ORANGE = "#2166ac", "#b2182b", "#2a7f4f", "#d9822b"
SIGNED = "RdBu_r"
"""The colour map for signed numbers: negative ones are blue, positive ones red, zero is white."""
HEAT = "inferno"
_DOTS = 120


class Drawing(Figure):
    """A matplotlib figure that a notebook shows even if pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        return written(self, "png")


def written(figure: Figure, ending: str) -> bytes:
    """Return a figure as the bytes of a file; ``ending`` is its format, such as "png"."""
    stream = BytesIO()
    figure.savefig(stream, format=ending)
    return stream.getvalue()


def new_figure(width: float, height: float, title: str = "", note: str = "") -> Drawing:
    """Return a figure with ``title`` and, in smaller print, ``note`` at the top, and an empty area below them.

    The area is ``width`` × ``height`` inches.
    """
    head = (0.42 if title else 0.1) + 0.24 * (note.count("\n") + 1 if note else 0)
    figure = Drawing(figsize=(width, height + head), dpi=_DOTS, facecolor="white")
    FigureCanvasAgg(figure)
    total = height + head
    left = 0.16 / width
    if title:
        figure.text(left, 1 - 0.1 / total, title, fontsize=12, fontweight="bold", color=INK, va="top", ha="left")
    if note:
        figure.text(left, 1 - (0.38 if title else 0.06) / total, note, fontsize=8.5, color=FAINT, va="top", ha="left")
    figure.subplots_adjust(top=1 - head / total, bottom=0.0, left=0.0, right=1.0)
    return figure


def finished(figure: Figure, path: str | Path | None) -> Figure:
    """Write the figure to the file ``path``, unless that is None, and return the figure.

    The suffix of ``path`` gives the format (PNG, PDF, SVG …). The file is written completely or not at all. Raises
    ``OptionError`` for an unknown suffix.
    """
    if path is None:
        return figure
    target = options.path("path", path)
    ending = target.suffix.lower().removeprefix(".")
    known = sorted(figure.canvas.get_supported_filetypes())
    if ending not in known:
        raise OptionError(f"{target}: figures are written as {', '.join(known)}")
    write_atomically(target, written(figure, ending))
    return figure


class Grid:
    """A figure of ``rows`` × ``columns`` cells of equal size below a title and a note.

    ``cell`` is the width of a cell in inches, ``aspect`` its height divided by its width, ``lines`` the number of lines
    of the caption above each cell, and ``beside`` the width of the free space on the right in inches.
    """

    def __init__(
        self, rows: int, columns: int, cell: float, title: str, note: str = "", lines: int = 1, aspect: float = 1.0,
        beside: float = 0.0,
    ) -> None:  # fmt: skip
        self.columns, self._cell, self._high = columns, cell, cell * aspect
        self._caption = 0.06 + 0.16 * lines if lines else 0.0
        self._gap, self._margin = 0.1, 0.16
        width = max(2 * self._margin + columns * (cell + self._gap) - self._gap + beside, _least_width(title, note))
        height = rows * (self._high + self._caption + self._gap) + 0.06
        self.figure = new_figure(width, height, title, note)
        self._width, self._total = width, float(self.figure.get_size_inches()[1])
        self._top = self._total * float(self.figure.subplotpars.top)

    def axes(self, number: int, caption: str = "", colour: str = INK, size: float = 8.0) -> Axes:
        """Return empty axes without ticks in cell ``number``, counted in reading order from 0.

        ``caption`` is printed above the cell, in the colour ``colour`` and the font size ``size`` in points.
        """
        row, column = divmod(number, self.columns)
        x = self._margin + column * (self._cell + self._gap)
        y = self._top - (row + 1) * (self._high + self._caption + self._gap) + self._gap
        place = (x / self._width, y / self._total, self._cell / self._width, self._high / self._total)
        axes = self.figure.add_axes(place)
        bare(axes)
        if caption:
            self.figure.text(
                x / self._width, (y + self._high + 0.04) / self._total, caption, fontsize=size, color=colour,
                va="bottom", ha="left", linespacing=1.15,
            )  # fmt: skip
        return axes

    def colour_bar(self, image: AxesImage, low: str, high: str) -> None:
        """Add a narrow colour bar for ``image`` to the right of the cells; ``low`` and ``high`` label its ends."""
        x = self._margin + self.columns * (self._cell + self._gap) + 0.06
        height = min(self._high, 1.6)
        y = self._top - self._caption - self._high
        axes = self.figure.add_axes((x / self._width, y / self._total, 0.12 / self._width, height / self._total))
        bar = self.figure.colorbar(image, cax=axes)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        axes.set_yticks([])
        for text, where, align in ((low, 0.0, "bottom"), (high, 1.0, "top")):
            axes.text(1.5, where, text, transform=axes.transAxes, fontsize=7.5, color=FAINT, va=align)


def _least_width(title: str, note: str) -> float:
    """Return the approximate width of title and note in inches."""
    longest = max((len(line) for line in note.splitlines()), default=0)
    return 0.4 + max(0.092 * len(title), 0.063 * longest)


def bare(axes: Axes) -> None:
    """Remove ticks and their labels from the axes, and leave a thin frame around them."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(RULE)
        spine.set_linewidth(0.8)


def plain(axes: Axes) -> None:
    """Style axes for curves: ticks, a faint grid, and no frame lines at the top and on the right."""
    axes.grid(True, color="#eceef0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=FAINT, length=3)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(RULE)


def show_picture(axes: Axes, picture: Array, faint: bool = False) -> None:
    """Show a picture (C, H, W) in the axes: 1 channel in grey, 3 in colour, others by their mean.

    0 is black. White is 255 if the dtype is uint8, and 1 for other dtypes. Pictures of other dtypes with numbers
    outside 0 … 1 are first scaled linearly to this range. ``faint`` shows the picture in pale grey.
    """
    pixels = as_pixels(picture)
    if faint:
        pixels = 0.55 + 0.45 * (pixels if pixels.ndim == 2 else pixels.mean(axis=2))
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def as_pixels(picture: Array) -> Array:
    """Return a picture (C, H, W) as numbers from 0 to 1: (H, W, 3) for 3 channels, otherwise (H, W).

    If the dtype is uint8, the numbers are divided by 255. Numbers of other dtypes are kept if all of them lie from 0 to
    1, and otherwise scaled linearly to this range. For 2 or more than 3 channels, the result is the mean over the
    channels.
    """
    if picture.dtype == np.uint8:
        scaled = picture / 255.0
    else:
        numbers = np.asarray(picture, np.float64)
        low, high = float(numbers.min()), float(numbers.max())
        within = low >= 0 and high <= 1
        scaled = numbers if within else (numbers - low) / ((high - low) or 1.0)
    if len(scaled) == 3:
        return scaled.transpose(1, 2, 0)
    return scaled[0] if len(scaled) == 1 else scaled.mean(axis=0)


def show_signed(axes: Axes, numbers: Array, limit: float | None = None) -> AxesImage:
    """Show numbers (H, W) in the axes: positive ones in red, negative ones in blue, 0 in white.

    Numbers of ±``limit`` and beyond have the darkest red and blue; None means the largest absolute value.
    """
    largest = float(np.abs(numbers).max()) if limit is None else limit
    return axes.imshow(numbers, cmap=SIGNED, vmin=-(largest or 1.0), vmax=largest or 1.0, interpolation="nearest")


def columns_for(count: int, most: int = 8) -> int:
    """Return the number of columns for a grid of ``count`` cells that is somewhat wider than high, at most ``most``."""
    return max(1, min(most, math.ceil(math.sqrt(count * 1.6))))


def compact(number: float) -> str:
    """Return a number as text with three significant digits: 0.0123, 12.3, 1.2e-05."""
    return f"{number:.3g}"
