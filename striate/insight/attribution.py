"""Attributes the score of a class to pixels by derivatives: saliency and integrated gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from striate.errors import OptionError
from striate.graph.value import Array
from striate.insight.sample import Target, baseline_of, class_index, one_hot, one_sample, score_gradient, scores
from striate.nn.module import Module

_TOGETHER = 32
"""The number of pictures that are differentiated in one run of the program."""


def saliency(model: Module, image: npt.ArrayLike, target: Target = None) -> Array:
    """Return ∂f_c(x)/∂x, (C, H, W): how much the score of class c grows with each pixel of a picture.

    The score f_c(x) is the model's output number c, which is the logit for a model without a softmax layer. ``image``
    is the picture x (C, H, W). ``target`` is the class c, by number or name; None: the predicted class. The derivative
    is with respect to the pixels as they are given (0 … 255 for bytes), before the model standardizes them. The result
    has the model's dtype. Simonyan, Vedaldi and Zisserman, arXiv:1312.6034.

    Raises ``OptionError`` for an unknown class, ``DataError`` for NaN or infinity in the picture, and ``ShapeError``
    for a model whose outputs are not (N, C).
    """
    x = one_sample(model, image)
    logits = scores(model, x)
    mask = one_hot(class_index(model, target, logits[0]), logits, 1)
    return np.asarray(score_gradient(model, x, mask))[0]


def integrated_gradients(
    model: Module, image: npt.ArrayLike, target: Target = None, baseline: str | npt.ArrayLike = "zeros", steps: int = 64
) -> Array:
    """Return the contribution of each pixel to the score of a class, (C, H, W), by integrated gradients.

        (x − b) ⊙ ∫₀¹ ∇f_c(b + t(x − b)) dt

    f_c is the score, the model's output number c; ⊙ multiplies elementwise. The contributions add up to the difference
    between the scores of the picture x and the baseline b, f_c(x) − f_c(b) (completeness). Sundararajan, Taly and Yan,
    arXiv:1703.01365.

    target    the class, by number or name; None: the predicted class
    baseline  "zeros", "mean" (of the training data, from the standardizer), a number, one number per channel, or a
              picture
    steps     points of the Gauss-Legendre rule that approximates the integral; more points reduce the error, which is
              tiny for smooth networks and larger for ReLU networks

    Raises ``OptionError`` for an unknown class or baseline, "mean" without a standardizer, or steps below 1;
    ``DataError`` for NaN or infinity; and ``ShapeError`` for a baseline of another shape and for a model whose outputs
    are not (N, C).
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise OptionError(f"steps={steps!r}; expected a whole number, 1 or more")
    x = one_sample(model, image)
    logits = scores(model, x)
    index = class_index(model, target, logits[0])
    start = baseline_of(model, baseline, x)
    points, weights = np.polynomial.legendre.leggauss(steps)
    points, weights = (points + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
    total = np.zeros(x.shape[1:], np.float64)
    for first in range(0, steps, _TOGETHER):
        t = points[first : first + _TOGETHER].reshape(-1, *(1,) * (x.ndim - 1))
        path = (start + t * (x - start)).astype(x.dtype)
        gradients = np.asarray(score_gradient(model, path, one_hot(index, logits, len(path))), np.float64)
        total += np.tensordot(weights[first : first + _TOGETHER], gradients, 1)
    return ((x - start)[0] * total).astype(x.dtype)
