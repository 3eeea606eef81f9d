"""The report's section on the outputs of the layers for single pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from striate.insight import feature_maps
from striate.report.drawing import cards_of, units_of
from striate.report.html import Markup, element, joined
from striate.report.material import Array, Example, Material
from striate.report.page import Section, absent, details
from striate.report.pixels import enlarged, picture, sheet, shown, stretched, warm

CHANNELS = 16
"""The largest number of feature maps that are shown of one layer."""
EXAMPLES = 3
_SIDE = 40
_STANDARDIZER = "standardizer"


def section(material: Material) -> Section:
    """Build the report's section on feature maps: for some pictures, the outputs of the layers."""
    lead = (
        "A picture passing through the network: each square is one channel of a layer, from dark at its smallest to "
        "bright at its largest value. Early layers keep the outlines of the picture, later ones only tell what is "
        "where. Bad signs: squares of a single colour, which say the same about every place of every picture, or a "
        "layer whose channels all look alike."
    )
    examples = material.examples(EXAMPLES)
    if not examples:
        return Section("features", "Feature maps", lead, absent(no_examples(material)))
    if len(material.model.input_shape) != 3:
        return Section("features", "Feature maps", lead, absent("The inputs are not pictures."))
    names = _chosen(material)
    if not names:
        return Section("features", "Feature maps", lead, absent("No layer has feature maps."))
    material.say("following pictures through the layers")
    maps = feature_maps(material.model, np.stack([one.image for one in examples]), names)
    named = [name for name in names if name in maps]  # a name may also match other layers, as a pattern
    parts = [
        details(
            _summary(example, material), _followed(example, {name: maps[name][index] for name in named}), open=not index
        )
        for index, example in enumerate(examples)
    ]
    return Section("features", "Feature maps", lead, element("div", *parts))


def no_examples(material: Material) -> str:
    """Return the reason why the report has no picture to show."""
    return f"No pictures: {material.missing}. Or give some with --image."


def _summary(example: Example, material: Material) -> str:
    """Return the name and class of an example."""
    return example.name if example.label is None else f"{example.name}, class {material.classes[example.label]}"


def _chosen(material: Material) -> list[str]:
    """Return the last layer of each unit of the drawing that has positions, about a dozen at most."""
    ends = [unit.cards[-1].blocks[-1] for unit in units_of(cards_of(material.blocks))]
    maps = [block for block in ends if block.output.type.rank == 4]
    names = [block.path for block in maps if math.prod(block.output.type.concrete(1)[2:]) > 1]
    known = [name for name in dict.fromkeys(names) if name and name != _STANDARDIZER]
    step = math.ceil(len(known) / 12)
    return known if step <= 1 else [*known[:1], *known[step::step]]


def _followed(example: Example, maps: dict[str, Array]) -> Markup:
    """Return a picture and its feature maps, layer by layer."""
    given = picture(example.image)
    size = max(1, round(2 * _SIDE / max(given.shape[:2])))
    first = element(
        "figure", shown(enlarged(given, size), f"{example.name}, as the network sees it"),
        element("figcaption", "the picture"),
    )  # fmt: skip
    return element("div", first, [_layer(name, one) for name, one in maps.items()], class_="strip-of-pictures")


def _layer(name: str, maps: Array) -> Markup:
    """Return the feature maps of one layer."""
    channels, height, width = maps.shape
    shown_channels = _telling(maps)
    size = max(1, round(_SIDE / max(height, width)))
    tiles = [enlarged(warm(stretched(maps[channel])), size) for channel in shown_channels]
    columns = min(len(tiles), 4)
    flat = int(np.sum(maps.reshape(channels, -1).max(axis=1) == maps.reshape(channels, -1).min(axis=1)))
    silent = f"; {flat} of one colour" if flat else ""
    part = f"{len(tiles)} of {channels}" if len(tiles) < channels else f"{channels}"
    return element(
        "figure",
        shown(sheet(tiles, columns, 5), f"Feature maps of layer {name}: {part} channels of {height} by {width}"),
        element("figcaption", joined(element("b", name), f" {part} channels of {height}×{width}{silent}")),
    )


def _telling(maps: Array) -> Sequence[int]:
    """Return the channels with the largest standard deviation, in ascending order."""
    spread = maps.reshape(len(maps), -1).std(axis=1)
    return sorted(int(channel) for channel in np.argsort(-spread, kind="stable")[:CHANNELS])
