"""What a unit looks for: the pictures of a data set, and the patches in them, that excite it most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.data.dataset import Dataset
from striate.data.loader import batches
from striate.errors import OptionError
from striate.graph.value import Array
from striate.insight.feature_maps import feature_maps
from striate.insight.mistakes import require_count
from striate.insight.receptive_field import ReceptiveField
from striate.nn.module import Module

_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class Exciting:
    """A picture that excites a unit: its place in the data set, its class, the unit's largest output there, the
    position in the layer's map where that is, the part of the picture behind it, and that part itself."""

    index: int
    label: str
    value: float
    position: tuple[int, ...]
    region: tuple[slice, ...]
    image: Array
    patch: Array


def most_exciting(model: Module, layer: str, unit: int, dataset: Dataset, count: int = 9) -> list[Exciting]:
    """The ``count`` pictures in which a unit (a channel, a feature) of a layer has its largest output, that first.

    Of each picture the largest output counts; the patch is its receptive field, cut off at the edge of the picture.
    Of equal outputs the first in the data set come first. Raises ``OptionError`` for an unknown layer or unit.
    """
    return excitement(model, layer, dataset, count, [unit])[unit]


def excitement(
    model: Module, layer: str, dataset: Dataset, count: int = 9, units: Sequence[int] | None = None
) -> dict[int, list[Exciting]]:
    """``most_exciting`` of several units (by default of all) in one pass over the data set."""
    require_count(count)
    values: list[Array] = []
    places: list[Array] = []
    chosen: list[int] | None = None
    for x, _, _ in batches(dataset, _TOGETHER, shuffle=False):
        maps = feature_maps(model, x, (layer,))[layer]
        if chosen is None:
            chosen = _checked(layer, maps.shape[1], units)
        flat = maps.reshape(*maps.shape[:2], -1)[:, chosen]
        best = flat.argmax(axis=2)
        values.append(np.take_along_axis(flat, best[:, :, None], 2)[:, :, 0])
        places.append(best)
    field = ReceptiveField(model, layer, dataset.images.shape[1:])
    found: dict[int, list[Exciting]] = {}
    for column, unit in enumerate(chosen or ()):
        value = np.concatenate([part[:, column] for part in values])
        place = np.concatenate([part[:, column] for part in places])
        order = np.argsort(-value, kind="stable")[:count]
        found[unit] = [_exciting(dataset, int(i), float(value[i]), int(place[i]), field) for i in order]
    return found


def _checked(layer: str, size: int, units: Sequence[int] | None) -> list[int]:
    if units is None:
        return list(range(size))
    for unit in units:
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer) or not 0 <= unit < size:
            raise OptionError(f"unit {unit!r}: layer {layer!r} has units 0 … {size - 1}")
    return [int(unit) for unit in units]


def _exciting(dataset: Dataset, index: int, value: float, place: int, field: ReceptiveField) -> Exciting:
    position = tuple(int(p) for p in np.unravel_index(place, field.positions)) if field.positions else ()
    region = field(position)
    image = dataset.images[index]
    label = dataset.classes[int(dataset.labels[index])]
    return Exciting(index, label, value, position, region, image, image[(slice(None), *region)])
