"""1×1 convolutions as matrix products: all positions of a sample are treated as one row.

A tile of positions then continues from one row of the image to the next, so that only the end of a sample leaves an
incomplete tile. This requires arrays whose rows are contiguous in memory, without a halo between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from striate.codegen.region import Load, Region
from striate.codegen.storage import NO_HALO, Storage, Three
from striate.ops.kernels.geometry import Geometry

Strides = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class OneRow:
    """A 1×1 convolution whose positions form one row.

    ``geometry`` is its geometry, ``source`` the layout of its input, and ``region`` its epilogue (the fused elementwise
    work).
    """

    geometry: Geometry
    source: Storage
    region: Region


def is_pointwise(g: Geometry) -> bool:
    """Return whether convolution ``g`` is 1×1 with stride 1 and no padding, so that each output reads one position."""
    return g.kernel == g.stride == (1, 1, 1) and g.before == (0, 0, 0) and g.size == g.count


def in_one_row(g: Geometry, source: Storage, region: Region) -> OneRow | None:
    """Return convolution ``g`` with all positions of a sample in one row; None if this is impossible or already so.

    The convolution must be 1×1 with stride 1 and no padding. In its input (``source``) and in all arrays that its
    epilogue (``region``, the fused elementwise work) reads or writes, the rows must be contiguous, without a border of
    zeros (halo) between them.
    """
    row, domain = storage_in_one_row(source), region.domain
    if not is_pointwise(g) or row is None or domain.sizes[:2] == (1, 1):
        return None
    loads = [item for item in region.instructions if isinstance(item, Load)]
    if any(store.halo != NO_HALO for store in region.stores):
        return None
    if any(_step(item.strides, domain.sizes) is None for item in (*loads, *region.stores)):
        return None
    instructions = tuple(
        replace(item, strides=_flat(item.strides, domain.sizes)) if isinstance(item, Load) else item
        for item in region.instructions
    )
    stores = tuple(replace(item, strides=_flat(item.strides, domain.sizes)) for item in region.stores)
    flat = replace(domain, sizes=(1, 1, domain.pixels))
    return OneRow(geometry_in_one_row(g), row, replace(region, domain=flat, instructions=instructions, stores=stores))


def geometry_in_one_row(g: Geometry) -> Geometry:
    """Return the geometry ``g`` of a 1×1 convolution with its positions as a single row of D·H·W positions."""
    size = (1, 1, math.prod(g.size))
    return replace(g, size=size, count=size)


def storage_in_one_row(storage: Storage) -> Storage | None:
    """Return the memory layout ``storage`` as one row of positions; None if its rows are not contiguous."""
    step = _step(storage.strides, storage.sizes)
    if step is None:
        return None
    n, c = storage.strides[:2]
    whole = storage.pixels * step
    return replace(storage, sizes=(1, 1, storage.pixels), halo=NO_HALO, strides=(n, c, whole, whole, step))


def _step(strides: Strides, sizes: Three) -> int | None:
    """Return the common distance, in elements, from each position to the next; None if there is no common distance.

    The distance is 0 if all positions read the same element, or if there is only one.
    """
    step, expected = None, 0
    for stride, size in zip(reversed(strides[2:]), reversed(sizes), strict=True):
        if size > 1:
            if step is None:
                step = expected = stride
            if stride != expected:
                return None
            expected = stride * size
    return step or 0


def _flat(strides: Strides, sizes: Three) -> Strides:
    return strides[0], strides[1], 0, 0, _step(strides, sizes) or 0
