"""Draws the inside of a network: filters, feature maps, and the inputs with the largest activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from striate import options
from striate.data.dataset import Dataset, require_dataset
from striate.data.filters import filter as filtered
from striate.data.filters import filter_weights, shows_differences
from striate.errors import OptionError, ShapeError, unknown_option
from striate.insight import feature_maps, top_activations_by_unit
from striate.insight.sample import require_model
from striate.nn.module import Module
from striate.plot.canvas import (
    FAINT,
    INK,
    ORANGE,
    RED,
    Array,
    Grid,
    bare,
    columns_for,
    compact,
    finished,
    show_picture,
    show_signed,
)

_MOST_CHANNELS = 16
_MOST_LAYERS = 24


def filters(model: Module, layer: str | None = None, count: int = 64, path: str | Path | None = None) -> Figure:
    """Draw the learned filters of a convolution.

    ``layer`` is the path of the convolution; None: the first one. The first ``count`` filters are shown. A filter with
    1 or 3 input channels has one cell, labelled with ± its largest weight in absolute value. A filter with another
    number of channels has a row of cells, one for each channel; then at most 16 filters and 16 channels are shown.
    Positive weights are red, negative ones blue, and zeros white; every filter has its own scale. Filters with 3 input
    channels are also shown as colour pictures, in which grey is zero. If ``path`` is given, the figure is written to
    this file.

    Raises ``OptionError`` for a layer without filters, listing the layers that have some.
    """
    options.whole_number("count", count, 1)
    name, weights = _filter_bank(model, layer)
    total, depth = weights.shape[:2]
    shown = weights[:count]
    size = "×".join(map(str, weights.shape[2:]))
    title = f"{total} filters of {size}"
    more = f", the first {len(shown)} shown" if len(shown) < total else ""
    note = f"layer {name}, {depth} input channel{'s' if depth > 1 else ''}{more}; red +, blue −, each to its own scale"
    if depth == 3:
        return finished(_colour_filters(shown, title, note), path)
    if depth == 1:
        grid = _grid_for(len(shown), title, note)
        for number, one in enumerate(shown):
            axes = grid.axes(number, f"{number}   ±{compact(float(np.abs(one).max()))}", size=7)
            show_signed(axes, one[0])
        return finished(grid.figure, path)
    slices = min(depth, _MOST_CHANNELS)
    rows = shown[:16]
    note = (
        f"layer {name}: each row a filter ({len(rows)} of {total}), each column an input channel ({slices} of {depth})"
    )
    grid = Grid(len(rows), slices, 0.5, title, note + "\nred +, blue −, each filter to its own scale", lines=0)
    for row, one in enumerate(rows):
        limit = float(np.abs(one).max())
        for column in range(slices):
            axes = grid.axes(row * slices + column)
            show_signed(axes, one[column], limit)
            if column == 0:
                axes.set_ylabel(str(row), fontsize=7, color=FAINT, rotation=0, labelpad=1, va="center", ha="right")
    return finished(grid.figure, path)


def _grid_for(count: int, title: str, note: str, cell: float = 0.9, lines: int = 1, aspect: float = 1.0) -> Grid:
    """Return a grid for this number of cells."""
    columns = columns_for(count)
    return Grid(math.ceil(count / columns), columns, cell, title, note, lines, aspect)


def _colour_filters(shown: Array, title: str, note: str) -> Figure:
    """Draw filters in colour, with each of their channels below."""
    columns = columns_for(len(shown))
    note += "\nabove in colour around grey, below its red, green and blue weights"
    grid = Grid(math.ceil(len(shown) / columns), columns, 1.02, title, note, 1, aspect=4 / 3)
    for number, one in enumerate(shown):
        limit = float(np.abs(one).max()) or 1.0
        outer = grid.axes(number, f"{number}   ±{compact(limit)}", size=7)
        outer.axis("off")
        above = outer.inset_axes((0.0, 0.25, 1.0, 0.75))
        bare(above)
        show_picture(above, 0.5 + 0.5 * one / limit)
        for channel in range(3):
            below = outer.inset_axes((channel / 3 + 0.01, 0.0, 0.31, 0.2325))
            bare(below)
            show_signed(below, one[channel], limit)
    return grid.figure


def _filter_bank(model: Module, layer: str | None) -> tuple[str, Array]:
    """Return the name of a layer and its weights (O, C, rows, columns); 1-d filters have one row."""
    require_model(model)
    banks = {
        name.removesuffix(".weight"): array
        for name, array in model.named_parameters()
        if name.rpartition(".")[2] == "weight" and array.ndim in (3, 4)
    }
    if not banks:
        raise OptionError("this model has no convolution in one or two dimensions, so there are no filters to show")
    name = next(iter(banks)) if layer is None else layer
    if not isinstance(name, str) or name not in banks:
        raise unknown_option("layer with filters", name, banks)
    weights = np.asarray(banks[name])
    return name, weights if weights.ndim == 4 else weights[:, :, np.newaxis]


def features(
    model: Module,
    image: npt.ArrayLike,
    layers: str | Sequence[str] | None = None,
    count: int = 8,
    path: str | Path | None = None,
) -> Figure:
    """Draw the feature maps of a picture (C, H, W): a row for each layer, with its first ``count`` channels.

    ``layers`` is a pattern for layer paths, such as ``"conv*"``, or a list of patterns; None: all layers, or 24 evenly
    spaced ones if there are more. Only layers whose outputs have rows and columns are drawn. If a layer has negative
    outputs, its maps are drawn in red and blue, with zero in white; otherwise from dark to bright. Each map has its own
    scale. A map that is 0 everywhere is crossed out as silent. If ``path`` is given, the figure is written to this
    file. Raises ``OptionError`` for an unknown layer, and ``ShapeError`` if no chosen layer has rows and columns.
    """
    options.whole_number("count", count, 1)
    picture = np.asarray(image)
    found = feature_maps(model, picture[np.newaxis], "*" if layers is None else layers)
    maps = {name: array[0] for name, array in found.items() if array.ndim == 4 and array[0, 0].size > 1}
    if not maps:
        raise ShapeError("none of these layers has outputs with rows and columns")
    some = f"{len(maps)} layers"
    if layers is None and len(maps) > _MOST_LAYERS:
        names, last = list(maps), len(maps) - 1
        some = f"{_MOST_LAYERS} of {len(maps)} layers"
        chosen = [names[round(number * last / (_MOST_LAYERS - 1))] for number in range(_MOST_LAYERS)]
        maps = {name: maps[name] for name in chosen}
    columns = min(count, max(len(array) for array in maps.values()))
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    note = "each map to its own scale; red +, blue − where a layer gives both signs, else bright from zero"
    aspect = max(0.4, min(2.0, picture.shape[1] / picture.shape[2]))
    grid = Grid(len(maps) + 1, columns, 0.92, f"What {some} see", note, 1, aspect)
    show_picture(grid.axes(0, f"the picture, {' × '.join(map(str, picture.shape))}"), picture)
    for row, (name, array) in enumerate(maps.items(), 1):
        _feature_row(grid, row, columns, f"{name}  {kinds.get(name, '')}".strip(), array)
    return finished(grid.figure, path)


def _feature_row(grid: Grid, row: int, columns: int, name: str, maps: Array) -> None:
    """Draw the feature maps of one layer as a row of the grid."""
    more = f", {columns} of {len(maps)}" if len(maps) > columns else ""
    signed = bool((maps < 0).any())
    for channel, one in enumerate(maps[:columns]):
        size = " × ".join(map(str, maps.shape))
        axes = grid.axes(row * columns + channel, f"{name}   {size}{more}" if channel == 0 else "")
        if not one.any():
            _silent(axes)
        elif signed:
            show_signed(axes, one)
        else:
            axes.imshow(one, cmap="magma", vmin=0, vmax=float(one.max()), interpolation="nearest")
        axes.text(
            0.03, 0.97, str(channel), transform=axes.transAxes, fontsize=6, color="white", va="top",
            bbox={"facecolor": INK, "alpha": 0.55, "pad": 0.8, "edgecolor": "none"},
        )  # fmt: skip


def _silent(axes: Axes) -> None:
    """Mark a cell as silent."""
    axes.set_facecolor("#f1f2f4")
    axes.plot([0, 1], [0, 1], transform=axes.transAxes, color="#c3c7cc", linewidth=0.8)
    axes.plot([0, 1], [1, 0], transform=axes.transAxes, color="#c3c7cc", linewidth=0.8)
    axes.text(0.5, 0.5, "silent", transform=axes.transAxes, fontsize=7, color=RED, ha="center", va="center")


def top_activations(
    model: Module,
    layer: str,
    dataset: Dataset,
    units: Sequence[int] | int | None = None,
    count: int = 8,
    *,
    whole: bool = False,
    path: str | Path | None = None,
) -> Figure:
    """Draw the patches of a data set for which units (channels) of a layer have their largest outputs.

    units  indices of units, or one index; None: the first eight; each unit has a row
    count  number of patches for each unit
    whole  True shows the whole pictures, with the patch framed
    path   the file to which the figure is written; None: it is not written

    A patch is the receptive field of the position at which the unit has its largest output in the picture. The patch is
    labelled with the class of the picture and with this output. A unit whose output is 0 everywhere is marked as
    silent. Raises ``OptionError`` for an unknown layer or unit.
    """
    require_dataset(dataset, "dataset")
    if units is None:
        wide = feature_maps(model, dataset.images[:1], (layer,))[layer].shape[1]
        units = range(min(8, wide))
    chosen = [units] if isinstance(units, int) else list(units)
    found = top_activations_by_unit(model, layer, dataset, count, chosen)
    largest = max((one.patch.shape[1] for rows in found.values() for one in rows), default=1)
    widest = max((one.patch.shape[2] for rows in found.values() for one in rows), default=1)
    note = f"{dataset.name}: the {largest}×{widest} pixels behind the largest output; above, their class and the output"
    if whole:
        largest, widest = dataset.images.shape[2:]
    grid = Grid(len(found), count, 0.92, f"Largest outputs of layer {layer}", note, 1, max(0.4, largest / widest))
    for row, (unit, patches) in enumerate(found.items()):
        silent = not any(one.value for one in patches)
        for column, one in enumerate(patches):
            lead = f"unit {unit}:  " if column == 0 else ""
            caption = f"{lead}{one.label}  {compact(one.value)}"
            axes = grid.axes(
                row * count + column, f"unit {unit}" if silent and not column else "" if silent else caption
            )
            if silent:
                _silent(axes)
                continue
            show_picture(axes, one.image if whole else one.patch)
            if whole:
                _frame(axes, one.region)
                continue
            axes.set_facecolor("#f1f2f4")
            left, top = (_cut_off(part, size) for part, size in zip(one.region[::-1], (widest, largest)))
            axes.set_xlim(-0.5 - left, widest - 0.5 - left)
            axes.set_ylim(largest - 0.5 - top, -0.5 - top)
    return finished(grid.figure, path)


def _frame(axes: Axes, region: tuple[slice, ...]) -> None:
    """Draw a frame around a part of a picture."""
    (top, bottom), (left, right) = ((part.start - 0.5, part.stop - 0.5) for part in region)
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=ORANGE, linewidth=1.6)


def _cut_off(part: slice, size: int) -> int:
    """Return how many pixels are missing from a patch at its first edge; 0 if it does not touch that edge."""
    return size - (part.stop - part.start) if part.start == 0 else 0


def filter(
    picture: npt.ArrayLike,
    filter: str | npt.ArrayLike,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    path: str | Path | None = None,
    **parameters: Any,
) -> Figure:
    """Draw a picture, a filter and the filtered picture side by side.

    The arguments and errors are those of ``st.filter``; if ``path`` is given, the figure is written to this file.
    """
    weights = filter_weights(filter, **parameters)
    pixels = np.asarray(picture)
    numbers = np.asarray(filtered(pixels, weights, mode=mode, cval=cval), np.float64)
    before, after = _channels_first(pixels), _channels_first(numbers)
    name = filter if isinstance(filter, str) else "own filter"
    given = ", ".join(f"{key}={value:g}" for key, value in parameters.items())
    aspect = max(0.4, min(2.0, before.shape[1] / before.shape[2]))
    signed = shows_differences(weights)
    note = "red brightens, blue darkens, white is 0" if signed and len(after) == 1 else ""
    title = f"{name}({given})" if given else name
    grid = Grid(1, 3, 2.6, title, note, 1, aspect)
    show_picture(grid.axes(0, "picture"), before)
    stencil = grid.axes(
        1, f"× weights {weights.shape[0]}×{weights.shape[1]}, up to ±{compact(float(np.abs(weights).max()))}"
    )
    show_signed(stencil, weights)
    stencil.set_anchor("W")
    if max(weights.shape) <= 7:
        for (row, column), weight in np.ndenumerate(weights):
            heavy = abs(weight) > 0.55 * np.abs(weights).max()
            stencil.text(
                column,
                row,
                compact(float(weight)),
                fontsize=9,
                ha="center",
                va="center",
                color="white" if heavy else INK,
            )
    low, high = float(after.min()), float(after.max())
    result = grid.axes(2, f"= {compact(low)} … {compact(high)}")
    if signed and len(after) == 1:
        show_signed(result, after[0], float(np.quantile(np.abs(after), 0.995)) or None)
    elif signed:
        show_picture(result, 0.5 + 0.5 * np.clip(after / (np.quantile(np.abs(after), 0.995) or 1.0), -1, 1))
    else:
        white = 1.0 if float(before.max()) <= 1 and pixels.dtype.kind == "f" else 255.0
        show_picture(result, np.clip(after / white, 0, 1))
    return finished(grid.figure, path)


def _channels_first(picture: Array) -> Array:
    """Return a picture as (C, H, W)."""
    if picture.ndim == 2:
        return picture[np.newaxis]
    if picture.ndim != 3:
        raise ShapeError(f"expected one picture, (H, W), (H, W, C) or (C, H, W), got shape {picture.shape}")
    return picture if picture.shape[0] in (1, 3, 4) else np.moveaxis(picture, -1, 0)


__all__ = ["features", "filter", "filters", "top_activations"]
