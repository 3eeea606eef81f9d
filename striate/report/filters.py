"""The report's section on the learned filters of the convolutions, drawn as squares of colour."""

from __future__ import annotations

import math

import numpy as np

from striate.graph.graph import Parameter
from striate.graph.op import Kind
from striate.report.anatomy import Block
from striate.report.html import Markup, element
from striate.report.labels import label_of
from striate.report.material import Array, Material
from striate.report.page import Section, absent, details
from striate.report.pixels import Pixels, enlarged, sheet, shown, signed, stretched

MOST = 256
"""The largest number of filters that are shown of one layer."""
_TILE = 42
"""About how many pixels the side of one filter has on the screen."""
_SMALL = 16


def section(material: Material) -> Section:
    """Build the report's section on the learned filters of all convolutions.

    The filters of the first convolution are visible at once, the other filters after a click.
    """
    found = [(block, weights) for block in material.blocks if (weights := _weights(material, block)) is not None]
    lead = (
        "Each square is one filter: the weights by which it multiplies the pixels under it. Orange is positive, blue "
        "negative, white zero, on one scale per layer. Good first filters look like edges, spots or waves. Bad signs: "
        "unstructured noise (too little training, or too high a learning rate), filters that are all white (dead), or "
        "many that are the same."
    )
    if not found:
        return Section("filters", "Learned filters", lead, absent("This network has no convolution with positions."))
    first, *others = found
    return Section(
        "filters", "Learned filters", lead,
        element("div", element("h3", _title(first[0])), _bank(*first),
                [details(_title(block), _bank(block, weights)) for block, weights in others]),
    )  # fmt: skip


def _weights(material: Material, block: Block) -> Array | None:
    """Return the weights (out, in, height, width) of a convolution larger than 1×1; None for other blocks."""
    node = block.main_node
    if node is None or node.op.kind is not Kind.CONTRACTION:
        return None
    source = next((value.node.op for value in node.inputs if isinstance(value.node.op, Parameter)), None)
    if source is None or len(source.type.shape) < 3:
        return None
    weights = np.asarray(material.model.parameter(source.name).data)
    if weights.ndim == 3:
        weights = weights[:, :, np.newaxis, :]
    if weights.ndim == 5:
        weights = weights[:, :, weights.shape[2] // 2]
    return weights if math.prod(weights.shape[2:]) > 1 else None


def _title(block: Block) -> str:
    """Return the path and label of a block."""
    return f"{block.path}: {label_of(block)}" if block.path else label_of(block)


def _bank(block: Block, weights: Array) -> Markup:
    """Return the filters of a layer as a picture.

    Filters with 1 or 3 input channels are one square each; others are a row of squares, one for each input channel.
    """
    filters, depth, height, width = weights.shape
    norms = np.sqrt(np.sum(np.square(weights, dtype=np.float64), axis=(1, 2, 3)))
    lost = int(np.count_nonzero(~np.isfinite(weights)))
    broken = f"; {lost:,} of its numbers are NaN or infinite" if lost else ""
    alike = f"{filters} filters; their norms lie between {norms.min():.3g} and {norms.max():.3g}{broken}"
    largest = float(np.abs(weights[np.isfinite(weights)]).max(initial=0.0))
    if depth in (1, 3):
        tiles = [signed(one[0], largest) if depth == 1 else _colours(one) for one in weights[:MOST]]
        size = max(1, _TILE // max(height, width))
        columns = min(len(tiles), 8 if len(tiles) <= 64 else 16)
        more = f" The first {MOST} are shown." if filters > MOST else ""
        what = "Each filter in the colours that it answers to." if depth == 3 else ""
        pixels = sheet([enlarged(tile, size) for tile in tiles], columns, 3)
        return _figure(pixels, f"{alike}.{more} {what}", block, weights)
    rows, columns = min(filters, 24), min(depth, 24)
    size = max(1, _SMALL // max(height, width))
    tiles = [enlarged(signed(weights[o, c], largest), size) for o in range(rows) for c in range(columns)]
    part = f" Shown are {rows} filters and {columns} channels." if (rows, columns) != (filters, depth) else ""
    return _figure(
        sheet(tiles, columns, 2), f"{alike}. A row is one filter, a column one of its {depth} input channels.{part}",
        block, weights,
    )  # fmt: skip


def _colours(one: Array) -> Pixels:
    """Return a filter of three channels as a picture in colour."""
    return (255 * stretched(one).transpose(1, 2, 0)).round().astype(np.uint8)


def _figure(pixels: Pixels, caption: str, block: Block, weights: Array) -> Markup:
    """Return a picture of filters with its caption."""
    filters, depth, height, width = weights.shape
    alt = f"Filters of layer {block.path}: {filters} filters of {height} by {width} over {depth} channels"
    return element("figure", shown(pixels, alt), element("figcaption", caption.strip()))
