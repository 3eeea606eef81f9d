"""ONNX's operator Resize, which is a linear map along each axis.

Resize is translated to ``ops.repeat`` or ``ops.interpolate`` where these give the same result, and to matrix products
elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from striate import ops
from striate.graph.value import Array, Value
from striate.persistence.onnx.call import Call, Operand, operator, require_small

MODES = ("nearest", "linear", "cubic")
PLACES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
)  # fmt: skip
ROUNDINGS: dict[str, Callable[[float], float]] = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5), "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip


@dataclass(frozen=True)
class Resampling:
    """The options of a Resize node that apply to all axes, from its attributes.

    ``where`` is the attribute coordinate_transformation_mode, ``rounding`` is nearest_mode, and ``cubic`` is
    cubic_coeff_a; the other fields have the names of their attributes.
    """

    mode: str
    where: str
    rounding: str
    cubic: float
    exclude_outside: bool
    antialias: bool


@dataclass(frozen=True)
class Axis:
    """One resized axis: ``size`` input elements, ``count`` output elements, enlarged by the factor ``scale``.

    ``region`` (start, end) is the part of the input that is resized, as fractions of the axis; it is (0, 1) except in
    the mode tf_crop_and_resize.
    """

    size: int
    count: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


def place(axis: Axis, where: str, p: int) -> float:
    """Return the coordinate along the input axis that corresponds to position ``p`` of the output axis.

    ``where`` is ONNX's coordinate_transformation_mode, such as "half_pixel".
    """
    size, exact = axis.size, axis.scale * axis.size
    match where:
        case "align_corners":
            return p * (size - 1) / (exact - 1) if exact != 1 else 0.0
        case "asymmetric":
            return p / axis.scale
        case "tf_crop_and_resize":
            first, last = axis.region
            if axis.count == 1:
                return 0.5 * (first + last) * (size - 1)
            return first * (size - 1) + p * (last - first) * (size - 1) / (axis.count - 1)
        case "pytorch_half_pixel" if axis.count == 1:
            return -0.5
        case "half_pixel_symmetric":
            return size / 2 * (1 - axis.count / exact) + (p + 0.5) / axis.scale - 0.5
        case _:
            return (p + 0.5) / axis.scale - 0.5


def matrix(axis: Axis, options: Resampling) -> Array:
    """Return the resize of one axis as a matrix (input size, output size), so that output = input @ matrix.

    Where an output position needs elements outside the input, the first or last element takes their place. With the
    option ``exclude_outside``, elements outside are left out instead, and the weights of the elements inside are scaled
    to a sum of 1.
    """
    found = np.zeros((axis.size, axis.count))
    for p in range(axis.count):
        x = place(axis, options.where, p)
        for at, weight in _weights(x, axis.scale, options):
            inside = 0 <= at < axis.size
            if inside or not options.exclude_outside:
                found[min(max(at, 0), axis.size - 1), p] += weight
    if options.exclude_outside:
        found /= np.where(found.sum(axis=0) == 0, 1, found.sum(axis=0))
    return found


def _weights(x: float, scale: float, options: Resampling) -> list[tuple[int, float]]:
    if options.mode == "nearest":
        return [(int(ROUNDINGS[options.rounding](x)), 1.0)]
    narrow = min(scale, 1.0) if options.antialias else 1.0
    reach = 1 if options.mode == "linear" else 2
    whole = math.floor(x)
    span = math.ceil(reach / narrow)
    offsets = range(whole - span, whole + span + 2)
    distances = [(at, abs((at - x) * narrow)) for at in offsets]
    found = [(at, _tent(d) if reach == 1 else _keys(d, options.cubic)) for at, d in distances]
    total = sum(weight for _, weight in found)
    return [(at, weight / total) for at, weight in found if weight]


def _tent(distance: float) -> float:
    return max(0.0, 1 - distance)


def _keys(d: float, a: float) -> float:
    """Return the weight of cubic convolution at distance d with coefficient a (Keys 1981)."""
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


@operator("Resize", "Upsample")
def resize(call: Call) -> Operand:
    x = call.value(0)
    rank = x.type.rank
    new = call.opset >= 11
    options = Resampling(
        call.choice("mode", "nearest", MODES),
        call.choice("coordinate_transformation_mode", "half_pixel" if new else "asymmetric", PLACES),
        call.choice("nearest_mode", "round_prefer_floor" if new else "floor", tuple(ROUNDINGS)),
        call.float("cubic_coeff_a", -0.75), bool(call.int("exclude_outside")), bool(call.int("antialias")),
    )  # fmt: skip
    axes = [call.axis(axis, rank) for axis in call.ints("axes") or range(rank)]
    changed = {place: axis for place, axis in _axes(call, x, axes).items() if not _is_whole(axis, options)}
    if 0 in changed and x.type.batched:
        raise call.error(f"the samples of {x.type} are resized")
    positions = all(place >= 2 for place in changed) and rank >= 3
    found = _interpolated(x, changed, options) if positions else None
    if found is not None:
        return found
    for place_of, axis in changed.items():
        require_small(call, (axis.size, axis.count))
        outside = options.where == "tf_crop_and_resize" and not all(
            0 <= place(axis, options.where, p) <= axis.size - 1 for p in range(axis.count)
        )
        if outside:
            raise call.error("places outside of the input, which have a value of their own, are not computed")
        order = [one for one in range(rank) if one != place_of] + [place_of]
        back = [order.index(one) for one in range(rank)]
        weights = call.captured(matrix(axis, options).astype(np.float32))
        x = ops.transpose(ops.matmul(ops.transpose(x, order), weights), back)
    return x


def _is_whole(axis: Axis, options: Resampling) -> bool:
    """Return whether the resize leaves this axis unchanged."""
    return axis.size == axis.count and axis.scale == 1 and options.where != "tf_crop_and_resize"


def _interpolated(x: Value, changed: dict[int, Axis], options: Resampling) -> Value | None:
    """Resize by repetition or ``ops.interpolate``, which are faster than matrix products.

    Returns None if neither computes exactly what the options ask for.
    """
    size = x.type.concrete(1)[2:]
    target = [changed[place].count if place in changed else length for place, length in enumerate(size, 2)]
    scales = [changed[place].scale if place in changed else 1.0 for place in range(2, x.type.rank)]
    if options.mode == "nearest":
        whole = all(scale == int(scale) for scale in scales)
        rounded = options.rounding.startswith("round") and options.where.endswith(
            ("half_pixel", "half_pixel_symmetric")
        )
        if whole and (rounded or (options.where, options.rounding) == ("asymmetric", "floor")):
            for axis, scale in enumerate(scales, 2):
                x = ops.repeat(x, int(scale), axis) if scale != 1 else x
            return x
        return None
    exact = all(math.isclose(length * scale, count) for length, scale, count in zip(size, scales, target))
    if options.mode != "linear" or options.antialias or options.exclude_outside:
        return None
    if not exact or not (
        options.where == "align_corners" or (options.where.endswith("half_pixel") and 1 not in target)
    ):
        return None
    mode = ("linear", "bilinear", "trilinear")[len(size) - 1] if len(size) <= 3 else ""
    return ops.interpolate(x, target, mode=mode, align_corners=options.where == "align_corners") if mode else None


def _axes(call: Call, x: Value, axes: list[int]) -> dict[int, Axis]:
    """Return the resized axes by position, from the node's scales or its sizes.

    With sizes, ``keep_aspect_ratio_policy`` may choose one scale for all axes.
    """
    size = x.type.concrete(1)
    regions = _regions(call, axes)
    if call.given(3) and len(call.sizes(3)):
        wanted = {axis: one for axis, one in zip(axes, call.sizes(3)) if not (x.type.batched and axis == 0)}
        counts = {axis: int(one) for axis, one in wanted.items() if isinstance(one, int)}
        if len(counts) != len(wanted):
            raise call.error("a size is N, the number of samples")
        factors = {axis: count / size[axis] for axis, count in counts.items()}
        policy = call.choice("keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller"))
        if policy != "stretch":
            one = (min if policy == "not_larger" else max)(factors.values())
            factors = dict.fromkeys(factors, one)
            counts = {axis: math.floor(size[axis] * one + 0.5) for axis in factors}
    else:
        old = call.opset < 9 and call.node.operator == "Upsample"
        given = call.floats("scales") or [] if old else call.known(2 if call.opset >= 11 else 1).reshape(-1).tolist()
        factors = {axis: float(f"{scale:.7g}") for axis, scale in zip(axes, given)}
        if x.type.batched and factors.pop(0, 1.0) != 1:
            raise call.error(f"the samples of {x.type} are resized")
        counts = {
            axis: math.floor(size[axis] * scale * (regions[axis][1] - regions[axis][0]) + 1e-6)
            for axis, scale in factors.items()
        }
    if any(count < 1 or factors[axis] <= 0 for axis, count in counts.items()):
        raise call.error(f"{x.type} is resized to {list(counts.values())}")
    return {axis: Axis(size[axis], count, factors[axis], regions[axis]) for axis, count in counts.items()}


def _regions(call: Call, axes: list[int]) -> dict[int, tuple[float, float]]:
    """Return the region of each axis that is read, in fractions; (0, 1) except with tf_crop_and_resize."""
    if call.text("coordinate_transformation_mode") != "tf_crop_and_resize":
        return dict.fromkeys(axes, (0.0, 1.0))
    ends = [float(one) for one in call.known(1).reshape(-1).tolist()]
    if len(ends) != 2 * len(axes):
        raise call.error(f"{len(ends)} ends of regions for {len(axes)} axes")
    return {axis: (ends[place], ends[place + len(axes)]) for place, axis in enumerate(axes)}
