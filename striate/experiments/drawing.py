"""Draw the pictures of experiments: the common frame, and a few kinds of panels.

matplotlib is imported when a picture is drawn. ``axes`` arguments are matplotlib Axes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.errors import MissingExtraError
from striate.experiments.experiment import Outcome
from striate.experiments.measurement import Array, Form, Measurement
from striate.experiments.prediction import Ruling
from striate.persistence import write_atomically

INK, GREY, FAINT = "#1f2933", "#6b7785", "#d9dee4"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#2f6db3", "#e08214", "#2a9d6f", "#c8423b", "#8158a8", "#67b3dd"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#b0892f", "#d17aa8", "#52606d", "#7fb069")
_RULINGS = {Ruling.HOLDS: GREEN, Ruling.CONDITION: ORANGE, Ruling.FAILS: RED}
_STYLE = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.labelcolor": INK, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlecolor": INK, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "text.color": INK, "axes.grid": False, "grid.color": FAINT, "legend.frameon": False, "svg.hashsalt": "striate",
}  # fmt: skip
WIDTH, HEIGHT, DOTS = 10.0, 5.8, 100
_CAPTION_COLUMNS = 148


def save_picture(outcome: Outcome, path: Path) -> None:
    """Draw the picture of an outcome as PNG: title, panels, and below them the predictions and the verdict.

    Raises ``MissingExtraError`` if matplotlib is not installed.
    """
    try:
        matplotlib, figures = import_module("matplotlib"), import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingExtraError("pictures need matplotlib\n  help: pip install 'striate[plot]'") from error
    with matplotlib.rc_context(_STYLE):
        lines = caption(outcome)
        below = 0.19 * len(lines) + 0.15
        page = figures.Figure(figsize=(WIDTH, HEIGHT + below), dpi=DOTS, layout="constrained")
        page.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
        head, body, foot = page.subfigures(3, 1, height_ratios=(0.55, HEIGHT - 0.55, below))
        one = outcome.experiment
        head.text(0.012, 0.4, f"{one.name}  {one.title}", fontsize=15, fontweight="bold", va="center")
        head.text(0.988, 0.4, one.equation, fontsize=11, color=GREY, ha="right", va="center")
        one.draw(outcome.found, body)
        for row, (line, colour) in enumerate(lines):
            foot.text(0.012, 1 - (row + 0.6) / (len(lines) + 0.5), line, fontsize=9, color=colour, va="center")
        written = BytesIO()
        page.savefig(written, format="png", metadata={"Software": "striate"})
    write_atomically(path, in_few_colours(written))


def in_few_colours(png: BytesIO) -> bytes:
    """Return the picture as PNG with a palette of 256 colours, which takes about a third of the bytes."""
    small = BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def caption(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the caption as (line, colour) pairs: each prediction with its result, the verdict, and the data."""
    lines: list[tuple[str, str]] = []
    for one in outcome.compared:
        mark = "came true:" if one.came_true else "not seen:"
        kind = "Limit predicted" if one.prediction.condition else "Predicted"
        text = f"{kind}, {mark} {one.prediction.text}"
        lines += [(line, INK if one.came_true else RED) for line in _wrapped(text)]
    lines += [(line, _RULINGS[outcome.verdict.ruling]) for line in _wrapped(f"Verdict: it {outcome.verdict}")]
    seeds = f"{outcome.size.seeds} seeds" if outcome.size.seeds > 1 else "one seed"
    lines.append((f"Data: {outcome.data}. Median over {seeds}; marks are single seeds.", GREY))
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _CAPTION_COLUMNS, subsequent_indent="    ")


def bars(
    axes: Any,
    found: Measurement,
    quantity: str,
    settings: Sequence[str],
    labels: Sequence[str] | None = None,
    colours: Sequence[str] = (BLUE,),
    chance: float | None = None,
) -> None:
    """Draw a bar for each setting: its length is the median of a quantity, with a mark for each seed.

    ``found`` has the measurements, and ``quantity`` is the name of the drawn quantity. The median is written beside
    the bar. ``labels`` default to the names of the settings. ``colours`` are those of the bars, repeated if there are
    fewer. ``chance`` is a value of the quantity at which a dotted line is drawn; None: no line.
    """
    form = found.quantity(quantity).form
    factor = 100 if form is Form.PERCENT else 1
    places = list(range(len(settings)))
    medians = [factor * found.median(setting, quantity) for setting in settings]
    chosen = [colours[place % len(colours)] for place in places]
    axes.barh(places, medians, color=chosen, height=0.62, alpha=0.9)
    for place, setting in zip(places, settings):
        values = factor * np.array(found.values(setting, quantity))
        axes.plot(values, np.full(len(values), place), "|", color=INK, markersize=8, markeredgewidth=1.2)
        if len(values):
            text = f" {found.short(setting, quantity)}"
            axes.text(float(values.max()), place, text, va="center", ha="left", fontsize=9)
    if chance is not None:
        axes.axvline(factor * chance, color=GREY, linewidth=1, linestyle=":")
        axes.text(factor * chance, -0.5, " chance", color=GREY, fontsize=8, ha="left", va="bottom")
    axes.set_yticks(places, list(settings if labels is None else labels))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(settings) - 0.4, -0.8)
    if form is Form.PERCENT:
        axes.set_xlim(0, 118)
        axes.set_xticks([0, 20, 40, 60, 80, 100])


def band(
    axes: Any, x: Sequence[float] | Array, low: Array, middle: Array, high: Array, colour: str, label: str
) -> None:
    """Draw the line ``middle`` of medians within a band from ``low`` to ``high``, the extremes over the seeds.

    All three have one number for each element of ``x``; ``label`` names the line in the legend.
    """
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, middle, "o-", color=colour, markersize=4, linewidth=1.8, label=label)


def mosaic(images: Array, columns: int, gap: int = 1) -> Array:
    """Arrange pictures (n, H, W) as tiles of one picture, row by row, with ``columns`` tiles in a row.

    Tiles are ``gap`` pixels apart; gaps and unused tiles are NaN.
    """
    count, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def filters(axes: Any, weights: Array, columns: int) -> Any:
    """Draw filters (n, H, W) as tiles, ``columns`` in a row; positive weights are red, negative ones blue.

    Each filter is scaled by its largest |weight|. Returns matplotlib's AxesImage.
    """
    scaled = weights / np.maximum(np.abs(weights).max(axis=(1, 2), keepdims=True), 1e-12)
    return picture(axes, mosaic(scaled, columns), "RdBu_r", -1, 1)


def picture(
    axes: Any, image: Array, colours: str = "gray_r", low: float | None = None, high: float | None = None
) -> Any:
    """Draw an image (H, W) without ticks or frame, and return matplotlib's AxesImage.

    ``colours`` is the name of a matplotlib colormap; ``low`` and ``high`` are the values at its ends, by default the
    minimum and the maximum of the image.
    """
    shown = axes.imshow(image, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown
