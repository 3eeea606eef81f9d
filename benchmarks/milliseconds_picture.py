"""Draw the picture of ``milliseconds``: whole steps as bars, then the same by layer, for both frameworks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from dissection import Work
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from striate.experiments.drawing import FAINT, GREY, INK, in_few_colours


@dataclass(frozen=True)
class Colour:
    """A colour of the picture, its title in the legend, and the kinds of work that it represents."""

    title: str
    fill: str
    text: str
    works: tuple[Work, ...]


COLOURS = (
    Colour("convolution, forward", "#a9cbe8", INK, (Work.FORWARD,)),
    Colour("convolution, input gradient", "#4b87c4", "white", (Work.INPUT_GRADIENT,)),
    Colour("convolution, weight gradient", "#1f4e87", "white", (Work.WEIGHT_GRADIENT,)),
    Colour("normalization (striate: with the two below)", "#e08214", INK, (Work.NORMALIZATION,)),
    Colour("activation", "#f3b267", INK, (Work.ACTIVATION,)),
    Colour("addition of shortcuts and their gradients", "#fadcb4", INK, (Work.ADDITION,)),
    Colour("pooling", "#2a9d6f", "white", (Work.POOLING,)),
    Colour("linear, loss, update, copies", "#8158a8", "white", (Work.LINEAR, Work.LOSS, Work.UPDATE, Work.COPY)),
    Colour("the rest: memory, dispatch, waiting, Python", "#c3c9d0", INK, (Work.REST,)),
)
CONVOLUTIONS = (Work.FORWARD, Work.INPUT_GRADIENT, Work.WEIGHT_GRADIENT)
BETWEEN = (Work.NORMALIZATION, Work.ACTIVATION, Work.ADDITION)

WIDTH, DOTS = 10.0, 150
LEFT, RIGHT = 1.95, 0.25
"""Inches left (for the names) and right of the bars."""
HEAD, KEY, TITLE, BAR, AXIS, ROW, FOOT = 0.5, 0.82, 0.62, 0.36, 0.5, 0.37, 0.85
"""Heights in inches of: the title, the legend, a section's title, a whole step, an axis, a layer, and the caption."""
DIGIT = 0.64
"""The width of a digit of this font, relative to the font size."""
SMALLEST = 7.5
"""The smallest font size in points that is readable in a picture 900 pixels wide."""
STYLE = {"font.family": "DejaVu Sans", "svg.hashsalt": "striate", "text.color": INK, "xtick.labelcolor": GREY}


@dataclass(frozen=True)
class Bar:
    """The seconds of one step, by kind of work, and by layer and kind of work."""

    name: str
    parts: Mapping[Work, float]
    layers: Mapping[str, Mapping[Work, float]]

    @property
    def seconds(self) -> float:
        """The seconds of the whole step."""
        return sum(self.parts.values())

    def of(self, works: Sequence[Work]) -> float:
        """Return the seconds that these kinds of work take together."""
        return sum(self.parts.get(work, 0.0) for work in works)


@dataclass(frozen=True)
class Section:
    """One network: the steps of striate and of PyTorch."""

    title: str
    bars: Sequence[Bar]

    @property
    def height(self) -> float:
        """The height of the section in inches."""
        return TITLE + len(self.bars) * BAR + AXIS + len(self.bars[0].layers) * ROW + AXIS

    def head(self) -> str:
        """Return the title of the section: the network, both times, and their ratio."""
        ours, theirs = self.bars
        times = theirs.seconds / ours.seconds
        return f"{self.title}: {milliseconds(ours.seconds)} ms instead of {milliseconds(theirs.seconds)}, {times:.1f}×"

    def verdict(self) -> str:
        """Return a sentence that says in which kinds of work the difference arises."""
        ours, theirs = self.bars
        kinds = (
            ("in convolutions", CONVOLUTIONS),
            ("in normalization, activation and addition", BETWEEN),
            ("in all else", [work for work in Work if work not in CONVOLUTIONS + BETWEEN]),
        )
        saved = [f"{1e3 * (theirs.of(works) - ours.of(works)):.0f} {where}" for where, works in kinds]
        return f"{1e3 * (theirs.seconds - ours.seconds):.0f} ms less: " + ", ".join(saved)


def milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds, with at least two digits."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.00995 else f"{1e3 * seconds:.1f}"


class Page:
    """A figure that is filled from the top; all lengths are in inches."""

    def __init__(self, height: float) -> None:
        self.figure = Figure(figsize=(WIDTH, height), dpi=DOTS, facecolor="white")
        self.height, self.top = height, 0.0

    def text(self, x: float, below: float, words: str, **style: object) -> None:
        """Draw a text at x, ``below`` inches under the current position."""
        self.figure.text(x / WIDTH, 1 - (self.top + below) / self.height, words, va="top", **style)

    def axes(self, height: float, most: float) -> Axes:
        """Add axes from 0 to ``most`` ms at the current position, and move it below them."""
        bottom = 1 - (self.top + height) / self.height
        axes = self.figure.add_axes(
            (LEFT / WIDTH, bottom, (WIDTH - LEFT - RIGHT) / WIDTH, height / self.height), facecolor="white"
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlim(0, most)
        axes.set_yticks([])
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", length=0, labelsize=8.5)
        axes.xaxis.set_major_formatter("{x:.0f} ms")
        self.top += height
        return axes


def draw_parts(axes: Axes, place: float, height: float, parts: Mapping[Work, float], size: float) -> float:
    """Draw one stacked bar, with numbers where they fit, and return its end in ms."""
    per_inch = axes.get_xlim()[1] / (WIDTH - LEFT - RIGHT)
    start = 0.0
    for colour in COLOURS:
        length = 1e3 * sum(parts.get(work, 0.0) for work in colour.works)
        axes.barh(place, length, height, left=start, color=colour.fill, edgecolor="white", linewidth=0.6)
        words = milliseconds(length / 1e3)
        digits = len(words) - words.count(".") / 2
        fits = [each for each in (size, 0.8 * size) if length > 1.15 * digits * DIGIT * each / 72 * per_inch]
        if fits and fits[0] >= SMALLEST:
            middle = start + length / 2
            axes.text(middle, place, words, ha="center", va="center_baseline", fontsize=fits[0], color=colour.text)
        start += length
    return start


def draw_section(page: Page, section: Section) -> None:
    """Draw the section of one network: its title, whole steps, and layers."""
    page.text(0.2, 0.12, section.head(), fontsize=13, fontweight="bold")
    page.text(0.2, 0.37, section.verdict(), fontsize=9.5, color=GREY)
    page.top += TITLE
    most = 1.07e3 * max(bar.seconds for bar in section.bars)
    axes = page.axes(BAR * len(section.bars), most)
    axes.set_ylim(len(section.bars) - 0.5, -0.5)
    for place, bar in enumerate(section.bars):
        end = draw_parts(axes, place, 0.8, bar.parts, 10)
        axes.text(end, place, f" {milliseconds(bar.seconds)}", va="center_baseline", fontsize=11, fontweight="bold")
        axes.text(0, place, f"{bar.name}  ", ha="right", va="center_baseline", fontsize=11, fontweight="bold")
    names = [bar.name for bar in section.bars]
    page.text(
        0.2,
        AXIS - 0.24,
        f"by layer, on a scale of its own; {names[0]} above, {names[1]} below",
        fontsize=9.5,
        color=GREY,
    )
    page.top += AXIS

    layers = list(section.bars[0].layers)
    most = 1.07e3 * max(sum(parts.values()) for bar in section.bars for parts in bar.layers.values())
    axes = page.axes(ROW * len(layers), most)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    thick = 0.84 / len(section.bars)
    for place, layer in enumerate(layers):
        axes.text(0, place, f"{layer}  ", ha="right", va="center_baseline", fontsize=9)
        for row, bar in enumerate(section.bars):
            weight = "normal" if row else "bold"
            height = place + (row - (len(section.bars) - 1) / 2) * thick
            end = draw_parts(axes, height, thick, bar.layers[layer], 7.8)
            axes.text(end, height, f" {milliseconds(end / 1e3)}", va="center_baseline", fontsize=8, fontweight=weight)
    page.top += AXIS


def save_picture(sections: Sequence[Section], caption: str, path: Path) -> None:
    """Draw all sections below each other and write the file; its suffix chooses the format."""
    with rc_context(STYLE):
        page = Page(HEAD + KEY + sum(section.height for section in sections) + FOOT)
        page.text(0.2, 0.16, "Where each millisecond of a training step goes", fontsize=15, fontweight="bold")
        page.top += HEAD
        patches = [Patch(color=colour.fill, label=colour.title) for colour in COLOURS]
        page.figure.legend(
            handles=patches, loc="upper left", bbox_to_anchor=(0.1 / WIDTH, 1 - page.top / page.height), ncols=3,
            frameon=False, fontsize=9, handlelength=1.2, handleheight=1.0, columnspacing=1.6, borderaxespad=0.2,
        )  # fmt: skip
        page.top += KEY
        for section in sections:
            draw_section(page, section)
        page.text(0.2, 0.0, textwrap.fill(caption, 150), fontsize=8, color=GREY, linespacing=1.35)
        written = BytesIO()
        ending = path.suffix.removeprefix(".") or "png"
        page.figure.savefig(written, format=ending, facecolor="white")
    path.write_bytes(in_few_colours(written) if ending == "png" else written.getvalue())
