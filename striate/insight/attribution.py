"""Which pixels the score of a class depends on, from derivatives: saliency and integrated gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from striate.errors import OptionError
from striate.graph.value import Array
from striate.insight.sample import Target, baseline_of, class_index, one_hot, one_sample, score_gradient, scores
from striate.nn.module import Module

_TOGETHER = 32
"""Number of pictures that are differentiated in one run of the program."""


def saliency(model: Module, image: npt.ArrayLike, target: Target = None) -> Array:
    """∂f_c(x)/∂x, of the shape of the picture (C, H, W): how much the score of class c grows with each pixel.

    The score is the model's output c; for a model without a softmax layer that is the logit. ``target`` is the class,
    by number or name, by default the predicted one. The derivative is with respect to the pixels as they are given (0 …
    255 for bytes), through the model's standardizer. Simonyan, Vedaldi and Zisserman, arXiv:1312.6034.

    Raises ``OptionError`` for an unknown class, ``ShapeError`` for a model whose outputs are not (N, C).
    """
    x = one_sample(model, image)
    logits = scores(model, x)
    mask = one_hot(class_index(model, target, logits[0]), logits, 1)
    return np.asarray(score_gradient(model, x, mask))[0]


def integrated_gradients(
    model: Module, image: npt.ArrayLike, target: Target = None, baseline: str | npt.ArrayLike = "zeros", steps: int = 64
) -> Array:
    """(x − b) ⊙ ∫₀¹ ∇f_c(b + t(x − b)) dt, of the shape of the picture (C, H, W)

    The contribution of each pixel to the difference between the scores of the picture x and the baseline b. The
    contributions add up to it: Σ = f_c(x) − f_c(b) (completeness). The integral is a sum over ``steps`` points of the
    Gauss-Legendre rule: exact for smooth networks, close for ReLUs, closer with more steps. ``baseline`` is "zeros",
    "mean" (of the training data, from the standardizer), a number, one for each channel, or a picture.
    Sundararajan, Taly and Yan, arXiv:1703.01365.

    Raises ``OptionError`` for an unknown class or baseline, or for steps below 1; ``ShapeError`` as ``saliency``.
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
