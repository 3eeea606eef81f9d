"""What the functions of this room take: a model that tells classes apart, one picture, and the class asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from striate.data.standardizer import Standardizer
from striate.errors import DataError, OptionError, ShapeError, unknown_option
from striate.graph.value import Array, DType, Value
from striate.nn.module import Module
from striate.nn.standardization import Standardization
from striate.passes.differentiate import differentiate

Target = int | str | None


def as_floats(model: Module, images: Any) -> Array:
    """Images in the model's dtype: bytes too become numbers that a gradient can be taken by."""
    dtype = (model.dtype or DType.float32).numpy
    found = model.as_input(images).astype(dtype)
    if not np.isfinite(found).all():
        raise DataError("the picture holds NaN or infinity; every number must be finite")
    return found


def one_sample(model: Module, image: Any) -> Array:
    """(1, …) from one picture (C, H, W), without a batch axis."""
    found = as_floats(model, image)
    if found.ndim == 0:
        raise ShapeError("wanted one picture (C, H, W), got a single number")
    return found[np.newaxis]


def scores(model: Module, images: Array) -> Array:
    """(N, C): the model's outputs. Raises ``ShapeError`` for a model of another kind."""
    try:
        found = np.asarray(model(images))
    except ShapeError as error:
        if len(images) == 1 and images.ndim > 2:
            raise ShapeError(f"{error}\n  (one picture is explained at a time: images[0], not images)") from error
        raise
    if found.ndim != 2:
        raise ShapeError(
            f"the model gives outputs of shape {found.shape}; what can be explained are (N, C), a score for each class"
        )
    return found


def class_index(model: Module, target: Target, logits: Array) -> int:
    """The class asked about: the given number or name, or the one that the model predicts."""
    count = len(logits)
    if target is None:
        return int(np.argmax(logits))
    if isinstance(target, str):
        names = cast("Sequence[str]", getattr(model, "classes", ()))
        if not names:
            raise OptionError(f"target={target!r}: this model has no names of classes\n  help: give its number")
        if target not in names:
            raise unknown_option("class", target, names)
        return list(names).index(target)
    if isinstance(target, bool) or not isinstance(cast("object", target), int | np.integer) or not 0 <= target < count:
        raise OptionError(f"target={target!r}; wanted the number of a class, 0 … {count - 1}")
    return int(target)


def one_hot(index: int, logits: Array, n: int) -> Array:
    """(n, C) with a one at the class: the score's derivative by the outputs."""
    mask = np.zeros((n, logits.shape[-1]), logits.dtype)
    mask[:, index] = 1
    return mask


def score_gradient(model: Module, images: Array, mask: Array) -> Array:
    """∂ Σ_c mask[n, c] · f_c(x[n]) / ∂x[n], for every sample by itself; images in floats."""

    def gradient(x: Value, mask: Value) -> Value:
        return differentiate(model(x), [x], seed=mask)[0]

    return model.computed("score gradient", {"x": images, "mask": mask}, gradient)


def baseline_of(model: Module, baseline: str | npt.ArrayLike, x: Array) -> Array:
    """A picture (1, …) that shows nothing: "zeros", "mean" (of the training data, as the standardizer has it), one
    number, one number for each channel, or a picture."""
    if isinstance(baseline, str):
        if baseline == "zeros":
            return np.zeros_like(x)
        if baseline == "mean":
            return np.broadcast_to(_training_mean(model, x), x.shape).astype(x.dtype)
        raise unknown_option("baseline", baseline, ["zeros", "mean", "a number, one for each channel, or a picture"])
    given = np.asarray(baseline)
    if given.dtype.kind not in "buif" or not np.isfinite(given).all():
        raise DataError("a baseline is made of finite numbers")
    if given.shape == x.shape[1:2] and x.ndim > 2:
        given = given.reshape(-1, *(1,) * (x.ndim - 2))
    if given.shape not in ((), x.shape[1:]) and given.shape != (x.shape[1], *(1,) * (x.ndim - 2)):
        raise ShapeError(f"a baseline of shape {given.shape} for a picture of shape {x.shape[1:]}")
    return np.broadcast_to(given, x.shape).astype(x.dtype)


def _training_mean(model: Module, x: Array) -> Array:
    standardizer = model.standardizer
    if isinstance(standardizer, Standardization):
        mean = standardizer.parameter("mean").data
    elif isinstance(standardizer, Standardizer):
        mean = standardizer.mean
    else:
        raise OptionError('baseline="mean" is that of a standardizer, and this model has none\n  help: give numbers')
    return np.asarray(mean).reshape(1, -1, *(1,) * (x.ndim - 2))
