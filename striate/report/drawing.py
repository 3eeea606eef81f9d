"""Draws the network: data flow from top to bottom through boxes, with branches side by side.

A *card* is a box with a strip for every block of a chain, such as a convolution, its normalization and its activation.
Only a normalization, an activation or plain arithmetic can continue a chain. A *unit* is a part of the network that
reads one array and passes one array to the next unit. Each unit is a picture of its own, so that the page can show the
drawing in as many columns as fit on the screen.

    ┌──────────┐          the trunk (the longest path through the unit) on the left,
    │ conv     │──╮       other paths in lanes on the right, without boxes if they contain no blocks
    │ norm     │  │
    └──────────┘  │
    ┌──────────┐  │
    │ + add    │←─╯
    └──────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from striate.graph.value import Value
from striate.report.anatomy import Block, sizes_text
from striate.report.html import Markup, element, joined
from striate.report.labels import colour_of, label_of

STRIP, GAP, EDGE = 24.0, 24.0, 3.0
TRUNK, SIDE, CHANNEL = 232.0, 164.0, 22.0
"""Widths of the trunk's boxes, of boxes beside it, and of a line without boxes, in pixels."""

CHARACTER = 6.6
_TAIL = 14


@dataclass(eq=False)
class Card:
    """A box of the drawing, with a strip for each of its blocks (layers).

    A unit is a part of the network that is drawn as one picture. ``before`` are the cards whose outputs this card
    reads, with None for the input of the unit. ``lane`` is the card's column, 0 for the main path, and ``top`` its
    upper edge in the unit's picture, in pixels.
    """

    blocks: list[Block]
    before: list[Card | None] = field(default_factory=list["Card | None"])
    """The cards that its inputs come from, the trunk's first; None is the entry of the unit."""
    lane: int = 0
    top: float = 0.0

    @property
    def height(self) -> float:
        """The height of the card in the drawing, in pixels: the sum of the heights of its strips."""
        return STRIP * len(self.blocks)

    @property
    def bottom(self) -> float:
        """The position of the card's lower edge in the unit's picture, in pixels from the top."""
        return self.top + self.height


class Unit(NamedTuple):
    """A part of the network that is drawn as one picture, with its ``cards`` (boxes).

    Only one array passes from a unit to the next. ``entry`` is the array that the first card reads; None if it reads no
    array.
    """

    cards: list[Card]
    entry: Value | None


def drawing(blocks: Sequence[Block]) -> Markup:
    """Return the drawing of a network as SVG pictures, one below the other.

    Each block is a strip of a box. The strip links to ``#layer-INDEX``, where INDEX is the ``index`` of the block.
    """
    cards = cards_of(blocks)
    units = units_of(cards)
    for unit in units:
        _place(unit)
    width = max((_width(unit) for unit in units), default=TRUNK)
    seen = ""
    pictures: list[Markup] = []
    for index, unit in enumerate(units):
        shape = "" if unit.entry is None else sizes_text(unit.entry.shape)
        pictures.append(_Drawing(unit, width, shape if shape != seen else "", index == len(units) - 1).svg())
        seen = shape
    if width > 2.2 * TRUNK:  # more than a phone can show without shrinking it
        return element("div", *pictures, class_="network lanes", tabindex=0, role="region", aria_label="The drawing")
    wide = "twofold" if width > TRUNK + 3 * CHANNEL else "branched" if width > TRUNK + CHANNEL else "single"
    return element("div", *pictures, class_=f"network {wide}")


def cards_of(blocks: Sequence[Block]) -> list[Card]:
    """Group chains of blocks into boxes.

    A normalization, an activation or plain arithmetic with one input joins the box whose output it reads, if no other
    block reads that output. Every other block begins a new box.
    """
    home: dict[Value, Card] = {}
    readers: dict[Value, int] = {}
    for block in blocks:
        for value in block.inputs:
            readers[value] = readers.get(value, 0) + 1
    cards: list[Card] = []
    for block in blocks:
        sources = [home.get(value) for value in block.inputs]
        last = sources[0] if len(sources) == 1 else None
        joins = last is not None and last.blocks[-1].output is block.inputs[0] and readers[block.inputs[0]] == 1
        if last is not None and joins and colour_of(block) in ("normalization", "activation", "other"):
            last.blocks.append(block)
            card = last
        else:
            card = Card([block], list(dict.fromkeys(sources)))
            cards.append(card)
        for node in block.nodes:
            home.update((value, card) for value in node.outputs)
    return cards


def units_of(cards: Sequence[Card]) -> list[Unit]:
    """Divide the cards into units: a unit ends with a card whose output is all that later cards need."""
    last_reader: dict[Card | None, int] = {}
    for index, card in enumerate(cards):
        for source in card.before:
            last_reader[source] = index
    units: list[Unit] = []
    current: list[Card] = []
    needed = last_reader.get(None, 0)
    for index, card in enumerate(cards):
        current.append(card)
        if needed <= index:
            first = current[0].blocks[0].inputs
            units.append(Unit(current, first[0] if first else None))
            current = []
        needed = max(needed, last_reader.get(card, index))
    if current:
        first = current[0].blocks[0].inputs
        units.append(Unit(current, first[0] if first else None))
    for unit in units:
        own = set(unit.cards)
        for card in unit.cards:
            card.before = list(dict.fromkeys(source if source in own else None for source in card.before))
    return units


def _place(unit: Unit) -> None:
    """Set the lane and height of all cards.

    The longest path is in lane 0, and every other card in the first lane that is free.
    """
    length: dict[Card | None, float] = {None: 0.0}
    for card in unit.cards:
        card.before.sort(key=lambda source: -length[source])
        length[card] = length[card.before[0] if card.before else None] + card.height + GAP
    trunk: set[Card] = set()
    at: Card | None = max(unit.cards, key=lambda card: length[card])
    while at is not None:
        trunk.add(at)
        at = at.before[0] if at.before else None
    taken: dict[int, float] = {}
    for card in unit.cards:
        start = max((source.bottom if source else 0.0 for source in card.before), default=0.0)
        card.top = start + GAP
        card.lane = 0
        if card not in trunk:
            above = card.before[0]
            follows = above is not None and above.lane > 0 and taken.get(above.lane, 0.0) <= above.bottom
            lane = above.lane if above is not None and follows else 1
            while not follows and taken.get(lane, -1.0) >= card.top:
                lane += 1
            card.lane = lane
            taken[lane] = card.bottom
        else:
            card.top = max(card.top, taken.get(0, 0.0) + GAP)
            taken[0] = card.bottom


def _width(unit: Unit) -> float:
    """Return the width of the picture of a unit."""
    return _Drawing(unit, TRUNK, "", False).needed


class _Drawing:
    """Draws one unit of the network as SVG."""

    def __init__(self, unit: Unit, width: float, entry: str, last: bool) -> None:
        self.unit, self.width, self.entry, self.last = unit, width, entry, last
        self.bottom = max(card.bottom for card in unit.cards)
        lanes = max(card.lane for card in unit.cards)
        self.left = [EDGE, *(EDGE + TRUNK + CHANNEL + (SIDE + CHANNEL) * lane for lane in range(lanes))]
        self.edge = self.left[-1] + (SIDE if lanes else TRUNK)
        self.channels: list[list[tuple[float, float]]] = []
        self.ways = [way for card in unit.cards for source in card.before for way in self._way(source, card)]
        self.needed = self.edge + CHANNEL * len(self.channels) + EDGE + 2 * bool(self.channels)

    def svg(self) -> Markup:
        """Return the picture of the unit."""
        end = self.bottom + (GAP if self.last else 0.0)
        parts = [*self.ways, *(self._card(card) for card in self.unit.cards)]
        if self.entry:
            parts.append(self._shape(self.entry, GAP / 2 + 2))
        if self.last:
            parts.append(self._shape(sizes_text(self.unit.cards[-1].blocks[-1].output.shape), end - 6))
            parts.append(_path(f"M{EDGE + TRUNK / 2} {self.bottom}V{end - 1}", arrow=True))
        return element(
            "svg", *parts, viewBox=f"0 0 {self.width:g} {end:g}", width=self.width, height=end, class_="unit",
            role="group", aria_label=self._spoken(),
        )  # fmt: skip

    def _spoken(self) -> str:
        """Return a description for screen readers."""
        names = ", then ".join(label_of(block) for card in self.unit.cards for block in card.blocks)
        return f"{names}; {len(self.channels) or 'no'} connections skip layers"

    def _middle(self, lane: int) -> float:
        """Return the horizontal middle of a lane."""
        return self.left[lane] + (SIDE if lane else TRUNK) / 2

    def _shape(self, text: str, y: float) -> Markup:
        """Return the text of a shape beside an arrow."""
        return element("text", text, x=self._middle(0) - 8, y=y, class_="shape")

    def _way(self, source: Card | None, card: Card) -> list[Markup]:
        """Return the line from a card (or from the entry, on top of the trunk) to a card that reads it."""
        lane, start = (0, 0.0) if source is None else (source.lane, source.bottom)
        x, target = self._middle(lane), self._middle(card.lane)
        first = source is card.before[0]
        between = any(
            other.lane == lane and other is not card and start < other.top < card.top for other in self.unit.cards
        )
        if lane == card.lane and not between:
            return [_path(f"M{x} {start}V{card.top - 1}", arrow=True)]
        turn = start + GAP / 3
        if first and not any(o.lane == card.lane and turn <= o.bottom and o.top < card.top for o in self.unit.cards):
            bend = f"M{x} {start}V{turn}" if source else f"M{x} {turn}"
            return [_path(f"{bend}H{target}V{card.top - 1}", arrow=True)]
        side = card.top + STRIP / 2 + 4 * (len(card.before) - 2 - card.before.index(source))
        right = self.left[card.lane] + (SIDE if card.lane else TRUNK)
        if lane > card.lane and not between:
            return [_path(f"M{x} {start}V{side - 6}Q{x} {side} {x - 6} {side}H{right + 1}", arrow=True)]
        channel = self._channel(start, card.bottom)
        far = self.edge + CHANNEL * (channel + 1) - 4
        out = f"M{x} {turn}H{far - 6}Q{far} {turn} {far} {turn + 6}"
        back = f"V{side - 6}Q{far} {side} {far - 6} {side}H{right + 1}"
        return [_path(out + back, arrow=True, skip=True)]

    def _channel(self, start: float, end: float) -> int:
        """Return the first channel on the far right that is free between two heights."""
        for index, taken in enumerate(self.channels):
            if all(end <= begin or stop <= start for begin, stop in taken):
                taken.append((start, end))
                return index
        self.channels.append([(start, end)])
        return len(self.channels) - 1

    def _card(self, card: Card) -> Markup:
        """Return one card of the drawing, with its strips and frame."""
        left, width = self.left[card.lane], SIDE if card.lane else TRUNK
        strips = [self._strip(block, left, card.top + STRIP * i, width) for i, block in enumerate(card.blocks)]
        frame = element("rect", x=left, y=card.top, width=width, height=card.height, rx=5, class_="frame")
        return element("g", *strips, frame)

    def _strip(self, block: Block, left: float, top: float, width: float) -> Markup:
        """Return one strip: the block's label and the end of its path, as a link."""
        label = label_of(block)
        room = int((width - 16) / CHARACTER)
        text = label if len(label) <= room else f"{label[: room - 1]}…"
        rest = room - len(text) - 2
        path = block.path
        tail = "" if rest < 4 else path if len(path) <= min(rest, _TAIL) else f"…{path[1 - min(rest, _TAIL) :]}"
        inside = joined(
            element("title", f"{path}: {label} → {block.shape}"),
            element("rect", x=left, y=top, width=width, height=STRIP, class_=f"strip {colour_of(block)}", rx=5),
            element("text", text, x=left + 8, y=top + STRIP / 2 + 4),
            element("text", tail, x=left + width - 7, y=top + STRIP / 2 + 4, class_="path") if tail else None,
        )
        return element("a", inside, href=f"#layer-{block.index}")


def _path(d: str, arrow: bool = False, skip: bool = False) -> Markup:
    """Return a line of the drawing; ``d`` is its path in SVG, ``skip`` marks a skip connection."""
    head = "url(#arrow)" if arrow else None
    return element("path", d=d, class_="way skip" if skip else "way", marker_end=head)
