"""Draws over a picture which of its parts speak for a class, according to a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from striate import insight
from striate.errors import ShapeError
from striate.insight.sample import Target, class_index, one_sample, scores
from striate.nn.module import Module
from striate.plot.canvas import HEAT, Array, Grid, compact, finished, show_picture, show_signed
from striate.train.evaluation import log_softmax

Names = Sequence[str]


def _class_line(model: Module, picture: Array, target: Target, classes: Names) -> str:
    """Return text such as ``class 7 (99.8 %)``, and the predicted class where that is another one."""
    logits = scores(model, one_sample(model, picture))
    index, likely = class_index(model, target, logits[0]), int(np.argmax(logits[0]))
    probabilities = np.exp(log_softmax(logits))[0]
    names = classes or cast("Names", getattr(model, "classes", ()))

    def said(number: int) -> str:
        name = names[number] if number < len(names) else str(number)
        return f"{name} ({100 * probabilities[number]:.1f} %)"

    return f"class {said(index)}" + ("" if index == likely else f"; predicted is {said(likely)}")


def _picture(image: npt.ArrayLike) -> Array:
    """Return one picture (C, H, W) as an array; raises ``ShapeError`` for another rank."""
    picture = np.asarray(image)
    if picture.ndim != 3:
        raise ShapeError(f"expected one picture (C, H, W), got an array of shape {picture.shape}")
    return picture


def _signed_overlay(
    title: str, what: str, picture: Array, numbers: Array, unit: str, line: str, path: str | Path | None
) -> Figure:
    """Draw a picture, a signed map of it, and the map over the picture."""
    aspect = max(0.4, min(2.0, picture.shape[1] / picture.shape[2]))
    grid = Grid(1, 3, 2.3, title, line, 1, aspect, beside=1.0)
    show_picture(grid.axes(0, "picture"), picture)
    limit = float(np.quantile(np.abs(numbers), 0.995)) or float(np.abs(numbers).max()) or 1.0
    image = show_signed(grid.axes(1, what), numbers, limit)
    over = grid.axes(2, "over the picture")
    show_picture(over, picture, faint=True)
    strength = np.clip(np.abs(numbers) / limit, 0, 1)
    over.imshow(numbers, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.9 * np.sqrt(strength), interpolation="nearest")
    grid.colour_bar(image, f"−{compact(limit)}", f"+{compact(limit)}\n{unit}")
    return finished(grid.figure, path)


def saliency(
    model: Module, image: npt.ArrayLike, target: Target = None, *, classes: Names = (), path: str | Path | None = None
) -> Figure:
    """Draw the derivative of a class's score with respect to each pixel over a picture (C, H, W).

    The derivatives are those of ``insight.saliency``. Of the derivatives with respect to the channels of a pixel, the
    one with the largest absolute value is shown. Red: a brighter pixel raises the score; blue: it lowers the score.
    ``target`` is the class, by number or name; None: the predicted class. ``classes`` are names to show in place of the
    model's. If ``path`` is given, the figure is written to this file. Raises ``ShapeError`` unless ``image`` is (C, H,
    W), and the errors of ``insight.saliency``.
    """
    picture = _picture(image)
    found = insight.saliency(model, picture, target)
    strongest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[np.newaxis], 0)[0]
    line = _class_line(model, picture, target, classes) + "; red: brighter pixels raise its score, blue: they lower it"
    return _signed_overlay(
        "Saliency", "∂ score / ∂ pixel", picture, strongest, "score per\nunit of a pixel", line, path
    )


def integrated_gradients(
    model: Module,
    image: npt.ArrayLike,
    target: Target = None,
    baseline: str | npt.ArrayLike = "zeros",
    steps: int = 64,
    *,
    classes: Names = (),
    path: str | Path | None = None,
) -> Figure:
    """Draw each pixel's contribution to a class's score over a picture (C, H, W), by integrated gradients.

    Contributions are summed over channels. ``classes`` are names to show in place of the model's. If ``path`` is given,
    the figure is written to this file; the other arguments and the errors are those of
    ``insight.integrated_gradients``.
    """
    picture = _picture(image)
    found = insight.integrated_gradients(model, picture, target, baseline, steps).sum(axis=0)
    line = _class_line(model, picture, target, classes)
    start = baseline if isinstance(baseline, str) else "own baseline"
    line += f"; contributions add up to {float(found.sum()):+.3g}, from {start} to the picture"
    return _signed_overlay("Integrated gradients", "contribution to the score", picture, found, "score", line, path)


def occlusion(
    model: Module,
    image: npt.ArrayLike,
    target: Target = None,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    *,
    baseline: str | npt.ArrayLike = "zeros",
    classes: Names = (),
    path: str | Path | None = None,
) -> Figure:
    """Draw over a picture (C, H, W) how much a class's score falls when a part of the picture is covered.

    Red: covering the part lowers the score; blue: it raises it. ``classes`` are names to show in place of the model's.
    If ``path`` is given, the figure is written to this file; the other arguments and the errors are those of
    ``insight.occlusion``.
    """
    picture = _picture(image)
    found = insight.occlusion(model, picture, target, window, stride, baseline)
    line = _class_line(model, picture, target, classes) + "; red: covering it lowers the score, blue: raises it"
    return _signed_overlay("Occlusion", "fall of the score", picture, found, "score", line, path)


def grad_cam(
    model: Module,
    image: npt.ArrayLike,
    target: Target = None,
    layer: str | None = None,
    *,
    classes: Names = (),
    path: str | Path | None = None,
) -> Figure:
    """Draw over a picture (C, H, W) where a layer finds evidence for a class, by Grad-CAM.

    ``classes`` are names to show in place of the model's. If ``path`` is given, the figure is written to this file; the
    other arguments and the errors are those of ``insight.grad_cam``.
    """
    picture = _picture(image)
    heat = insight.grad_cam(model, picture, target, layer)
    aspect = max(0.4, min(2.0, picture.shape[1] / picture.shape[2]))
    line = _class_line(model, picture, target, classes)
    note = f"{line}; {'the last layer with positions' if layer is None else f'layer {layer}'}"
    grid = Grid(1, 3, 2.3, "Grad-CAM", note, 1, aspect, beside=1.0)
    show_picture(grid.axes(0, "picture"), picture)
    largest = float(heat.max())
    image_of_heat = grid.axes(1, "where the class is seen").imshow(
        heat, cmap=HEAT, vmin=0, vmax=largest or 1.0, interpolation="bilinear"
    )
    over = grid.axes(2, "over the picture")
    show_picture(over, picture, faint=True)
    share = heat / (largest or 1.0)
    over.imshow(heat, cmap=HEAT, vmin=0, vmax=largest or 1.0, alpha=0.15 + 0.6 * share, interpolation="bilinear")
    grid.colour_bar(image_of_heat, "0", compact(largest) if largest else "0 everywhere:\nno evidence for\nthis class")
    return finished(grid.figure, path)


__all__ = ["grad_cam", "integrated_gradients", "occlusion", "saliency"]
