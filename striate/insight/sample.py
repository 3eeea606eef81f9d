"""Checks the arguments that this package's functions share: model, picture, class and baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from striate import options
from striate.data.standardizer import Standardizer
from striate.errors import DataError, OptionError, ShapeError, unknown_option
from striate.graph.value import Array, DType, Value
from striate.nn.module import Module
from striate.nn.standardization import Standardization
from striate.passes.differentiate import differentiate

Target = int | str | None


def require_model(model: object) -> None:
    """Raise ``OptionError`` unless ``model`` is a ``Module``."""
    options.require_instance("model", model, Module, 'st.load("model.safetensors")')


def require_layers(layers: object) -> tuple[str, ...]:
    """Return one pattern or a list of patterns as a tuple; raises ``OptionError`` for anything else."""
    given = (layers,) if isinstance(layers, str) else layers
    if isinstance(given, list | tuple):
        found = tuple(one for one in cast("Sequence[object]", given) if isinstance(one, str))
        if len(found) == len(cast("Sequence[object]", given)):
            return found
    raise OptionError(f'layers={layers!r}; expected the name or pattern of a layer, such as "conv*", or a list of them')


def require_shape(shape: object) -> tuple[int, ...]:
    """Return the shape of one sample as a tuple; raises ``OptionError`` unless it holds positive integers."""
    if not isinstance(shape, list | tuple):
        raise OptionError(f"shape={shape!r}; expected the shape of one sample, such as (1, 28, 28)")
    return tuple(options.whole_number("a size of shape", one, 1) for one in cast("Sequence[object]", shape))


def as_floats(model: Module, images: npt.ArrayLike) -> Array:
    """Return ``images`` converted to the model's dtype; raises ``DataError`` for NaN and infinity."""
    require_model(model)
    dtype = (model.dtype or DType.float32).numpy
    found = model.as_input(images).astype(dtype)
    if not np.isfinite(found).all():
        raise DataError("the picture contains NaN or infinity; all numbers must be finite")
    return found


def one_sample(model: Module, image: npt.ArrayLike) -> Array:
    """Return one picture (C, H, W) as a batch (1, C, H, W), in the model's dtype.

    Raises ``DataError`` for NaN and infinity, and ``ShapeError`` for a single number.
    """
    found = as_floats(model, image)
    if found.ndim == 0:
        raise ShapeError("expected one picture (C, H, W), got a single number")
    return found[np.newaxis]


def scores(model: Module, images: Array) -> Array:
    """Return the model's outputs (N, C); raises ``ShapeError`` for outputs of another rank."""
    try:
        found = np.asarray(model(images))
    except ShapeError as error:
        if len(images) == 1 and images.ndim > 2:
            raise ShapeError(f"{error}\n  help: explain one picture at a time, images[0] instead of images") from error
        raise
    if found.ndim != 2:
        raise ShapeError(f"the model has outputs of shape {found.shape}; expected (N, C), a score for each class")
    return found


def class_index(model: Module, target: Target, logits: Array) -> int:
    """Return the number of the class to explain; ``target`` is its number or name, or None for the predicted class.

    Raises ``OptionError`` for a class that the model does not have. ``logits`` (C,) are the model's outputs.
    """
    count = len(logits)
    if target is None:
        return int(np.argmax(logits))
    if isinstance(target, str):
        names = cast("Sequence[str]", getattr(model, "classes", ()))
        if not names:
            raise OptionError(f"target={target!r}: this model has no class names\n  help: give the number of the class")
        if target not in names:
            raise unknown_option("class", target, names)
        return list(names).index(target)
    if isinstance(target, bool) or not isinstance(cast("object", target), int | np.integer) or not 0 <= target < count:
        raise OptionError(f"target={target!r}; expected the number of a class, 0 … {count - 1}")
    return int(target)


def one_hot(index: int, logits: Array, n: int) -> Array:
    """Return an array (n, C) that is 1 in column ``index`` and 0 elsewhere: the ``mask`` of ``score_gradient``.

    C and the dtype are those of ``logits`` (…, C).
    """
    mask = np.zeros((n, logits.shape[-1]), logits.dtype)
    mask[:, index] = 1
    return mask


def score_gradient(model: Module, images: Array, mask: Array) -> Array:
    """Return ∂ Σ_c mask[n, c] · f_c(x[n]) / ∂x[n] for every sample n, in the shape of ``images``.

    x are the ``images``, as floats, ``mask`` is (N, C), and f_c is the model's output number c.
    """

    def gradient(x: Value, mask: Value) -> Value:
        return differentiate(model(x), [x], seed=mask)[0]

    return model.computed("score gradient", {"x": images, "mask": mask}, gradient)


def baseline_of(model: Module, baseline: str | npt.ArrayLike, x: Array) -> Array:
    """Return the baseline, an input that stands for no information, as an array with the shape of x.

    ``baseline`` is "zeros", "mean" (of the training data, from the standardizer), a number, one number per channel, or
    a picture. Raises ``OptionError`` for another text and for "mean" without a standardizer, ``DataError`` for anything
    but finite numbers, and ``ShapeError`` for another shape.
    """
    if isinstance(baseline, str):
        if baseline == "zeros":
            return np.zeros_like(x)
        if baseline == "mean":
            return np.broadcast_to(_training_mean(model, x), x.shape).astype(x.dtype)
        raise unknown_option("baseline", baseline, ["zeros", "mean", "a number, one for each channel, or a picture"])
    given = np.asarray(baseline)
    if given.dtype.kind not in "buif" or not np.isfinite(given).all():
        raise DataError("the baseline must consist of finite numbers")
    if given.shape == x.shape[1:2] and x.ndim > 2:
        given = given.reshape(-1, *(1,) * (x.ndim - 2))
    if given.shape not in ((), x.shape[1:]) and given.shape != (x.shape[1], *(1,) * (x.ndim - 2)):
        raise ShapeError(f"a baseline of shape {given.shape} for a picture of shape {x.shape[1:]}")
    return np.broadcast_to(given, x.shape).astype(x.dtype)


def _training_mean(model: Module, x: Array) -> Array:
    """Return the mean of the training data per channel; raises ``OptionError`` without a standardizer."""
    standardizer = model.standardizer
    if isinstance(standardizer, Standardization):
        mean = standardizer.parameter("mean").data
    elif isinstance(standardizer, Standardizer):
        mean = standardizer.mean
    else:
        raise OptionError(
            'baseline="mean" needs a standardizer, and this model has none\n  help: give the mean as numbers'
        )
    return np.asarray(mean).reshape(1, -1, *(1,) * (x.ndim - 2))
