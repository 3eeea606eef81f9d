"""Locates in a picture what a model recognizes as a class: Grad-CAM and occlusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from striate import options
from striate.errors import OptionError, ShapeError
from striate.graph.op import Kind
from striate.graph.value import Array, Value
from striate.insight.layers import Layers
from striate.insight.sample import Target, baseline_of, class_index, one_hot, one_sample, scores
from striate.nn.module import Module
from striate.ops.window import per_axis
from striate.passes.differentiate import differentiate
from striate.tracing import active_trace

_TOGETHER = 64
"""The number of occluded pictures that are predicted together."""
_STANDARDIZER = "standardizer"


def grad_cam(model: Module, image: npt.ArrayLike, target: Target = None, layer: str | None = None) -> Array:
    """Return a map (H, W) of where a layer finds evidence for a class, by Grad-CAM.

        max(0, Σ_k α_k A_k)   with α_k = mean over positions of ∂f_c/∂A_k

    f_c is the score, the model's output number c, and A_k is channel k of the output of ``layer``. The default layer is
    the last one that is not a pooling and whose output has more than one position (row and column). The map is enlarged
    to the size of the picture by linear interpolation, as PyTorch's ``interpolate(align_corners=False)`` does.
    ``target`` is the class c, by number or name; None: the predicted class. Selvaraju et al., arXiv:1610.02391.

    Raises ``OptionError`` for an unknown layer or class, and ``ShapeError`` for a layer without positions, or if no
    layer has positions.
    """
    if layer is not None:
        options.require_instance("layer", layer, str, '"conv1"')
    x = one_sample(model, image)
    logits = scores(model, x)
    mask = one_hot(class_index(model, target, logits[0]), logits, 1)

    def maps_and_gradient(x: Value, mask: Value) -> tuple[Value, Value]:
        outputs = model(x)
        layers = Layers(active_trace("grad_cam"), outputs)
        maps = _last_with_positions(layers) if layer is None else layers.value(layer)
        if maps.type.rank < 3:
            raise ShapeError(
                f"the output of layer {layer!r}, {maps.type}, has no positions\n"
                "  help: choose a layer before the Flatten"
            )
        return maps, differentiate(outputs, [maps], seed=mask)[0]

    found = model.computed(("grad-cam", layer), {"x": x, "mask": mask}, maps_and_gradient)
    maps, gradient = (np.asarray(array[0], np.float64) for array in found)
    weights = gradient.reshape(len(gradient), -1).mean(axis=1)
    heat = np.maximum(np.tensordot(weights, maps, 1), 0.0)
    return resized(heat, x.shape[2:]).astype(x.dtype)


def _last_with_positions(layers: Layers) -> Value:
    """Return the output of the last layer with positions that is not a pooling or the standardizer."""
    for name, value in reversed(layers.values.items()):
        if (
            name != _STANDARDIZER  # its maps are the picture itself
            and value.type.rank > 2
            and value.type.size() > value.type.concrete(1)[1]
            and value.node.op.kind is not Kind.WINDOW
        ):
            return value
    raise ShapeError("no layer of this model has outputs with positions, so nothing can be located")


def resized(heat: Array, size: Sequence[int]) -> Array:
    """Return a map (H, W) resized to ``size`` by linear interpolation between the centres of pixels.

    Beyond the centres of the outermost pixels of ``heat``, the result is constant.
    """
    for axis, (old, new) in enumerate(zip(heat.shape, size, strict=True)):
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(place.astype(np.int64), max(old - 2, 0))
        share = (place - low).reshape(-1, *(1,) * (heat.ndim - axis - 1))
        heat = np.take(heat, low, axis) * (1 - share) + np.take(heat, np.minimum(low + 1, old - 1), axis) * share
    return heat


def occlusion(
    model: Module,
    image: npt.ArrayLike,
    target: Target = None,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: str | npt.ArrayLike = "zeros",
) -> Array:
    """Return a map (H, W) of how much the score of a class falls when a window of the picture is covered.

    The window slides in steps of ``stride``, and the last window ends at the edge. Each pixel of the picture x gets the
    mean of f_c(x) − f_c(x with the window covered) over the windows that contain it; f_c is the score of class c, the
    model's output number c. Zeiler and Fergus, arXiv:1311.2901.

    target    the class c, by number or name; None: the predicted class
    window    size in pixels, one number or one per axis; None: about a fifth of the picture along each axis
    stride    in pixels, one number or one per axis; None: half of the window
    baseline  what covers the window, as in ``integrated_gradients``

    Raises ``OptionError`` for an unknown class, a window larger than the picture, or a stride larger than the window;
    ``ShapeError`` for inputs without positions. The other errors are those of ``integrated_gradients``.
    """
    x = one_sample(model, image)
    size = x.shape[2:]
    if not size:
        raise ShapeError(f"expected a picture with positions, (C, H, W), got {x.shape[1:]}")
    spans = (
        tuple(max(1, round(length / 5)) for length in size) if window is None else per_axis("window", window, len(size))
    )
    steps = tuple(max(1, span // 2) for span in spans) if stride is None else per_axis("stride", stride, len(size))
    if any(span > length for span, length in zip(spans, size)):
        raise OptionError(f"window={window!r} is larger than the picture of {'×'.join(map(str, size))}")
    if any(step > span for step, span in zip(steps, spans)):
        raise OptionError(f"stride={stride!r} is larger than the window {spans}: pixels between would never be covered")
    logits = scores(model, x)
    index = class_index(model, target, logits[0])
    cover = baseline_of(model, baseline, x)[0]
    starts = [sorted({*range(0, length - span, step), length - span}) for length, span, step in zip(size, spans, steps)]
    places = [
        tuple(slice(start, start + span) for start, span in zip(corner, spans)) for corner in itertools.product(*starts)
    ]
    fall, count = np.zeros(size), np.zeros(size)
    for first in range(0, len(places), _TOGETHER):
        part = places[first : first + _TOGETHER]
        covered = np.repeat(x, len(part), axis=0)
        for picture, place in zip(covered, part):
            picture[(slice(None), *place)] = cover[(slice(None), *place)]
        lost = float(logits[0, index]) - np.asarray(scores(model, covered)[:, index], np.float64)
        for amount, place in zip(lost, part):
            fall[place] += amount
            count[place] += 1
    return (fall / count).astype(x.dtype)
