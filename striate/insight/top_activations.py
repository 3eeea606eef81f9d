"""Finds the pictures of a data set, and the patches in them, for which a unit has its largest outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate import options
from striate.data.dataset import Dataset, require_classes
from striate.data.loader import batches
from striate.errors import OptionError
from striate.graph.value import Array
from striate.insight.feature_maps import feature_maps
from striate.insight.receptive_field import ReceptiveField
from striate.insight.sample import require_model
from striate.nn.module import Module

_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class TopActivation:
    """A picture for which a unit of a layer has a large output.

    index     index of the picture in the data set
    label     name of its class
    value     the unit's largest output for the picture
    position  position of that output in the layer's map; () for a layer without positions
    region    receptive field of that position in the picture, as slices (H, W)
    image     the picture (C, H, W)
    patch     the part of the picture inside the region
    """

    index: int
    label: str
    value: float
    position: tuple[int, ...]
    region: tuple[slice, ...]
    image: Array
    patch: Array


def top_activations(model: Module, layer: str, unit: int, dataset: Dataset, count: int = 9) -> list[TopActivation]:
    """Return the ``count`` pictures with the largest outputs of one unit of a layer, largest first.

    ``unit`` is the index of a channel or feature of the layer's output. Pictures are compared by the unit's largest
    output in each. A result's ``patch`` is the receptive field of this output in the picture. Pictures with equal
    outputs stay in the order of the data set. Raises ``OptionError`` for an unknown layer or unit, a count below 1, or
    data without class labels.
    """
    return top_activations_by_unit(model, layer, dataset, count, [unit])[unit]


def top_activations_by_unit(
    model: Module, layer: str, dataset: Dataset, count: int = 9, units: Sequence[int] | None = None
) -> dict[int, list[TopActivation]]:
    """Return the results of ``top_activations`` for several units, as a dict by unit, in one pass over the data set.

    ``units`` are the indices of channels or features of the layer's output; None: all of them.
    """
    options.whole_number("count", count, 1)
    options.require_instance("layer", layer, str, '"conv1"')
    require_model(model)
    require_classes(dataset, "dataset")
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
    found: dict[int, list[TopActivation]] = {}
    for column, unit in enumerate(chosen or ()):
        value = np.concatenate([part[:, column] for part in values])
        place = np.concatenate([part[:, column] for part in places])
        order = np.argsort(-value, kind="stable")[:count]
        found[unit] = [_top_activation(dataset, int(i), float(value[i]), int(place[i]), field) for i in order]
    return found


def _checked(layer: str, size: int, units: Sequence[int] | None) -> list[int]:
    """Return the units as integers (all for None); raises ``OptionError`` for one that does not exist."""
    if units is None:
        return list(range(size))
    for unit in units:
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer) or not 0 <= unit < size:
            raise OptionError(f"unit {unit!r}: layer {layer!r} has units 0 … {size - 1}")
    return [int(unit) for unit in units]


def _top_activation(dataset: Dataset, index: int, value: float, place: int, field: ReceptiveField) -> TopActivation:
    """Return the result for one picture; ``place`` is the flat index of the largest output in the map."""
    position = tuple(int(p) for p in np.unravel_index(place, field.positions)) if field.positions else ()
    region = field(position)
    image = dataset.images[index]
    label = dataset.classes[int(dataset.labels[index])]
    return TopActivation(index, label, value, position, region, image, image[(slice(None), *region)])
