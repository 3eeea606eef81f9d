"""Statistics of a model's predictions and losses on samples that the doctor chooses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.doctor.training_trace import Answers, Probe, Targets
from striate.errors import StriateError
from striate.nn.loss import Loss
from striate.nn.module import Module

Array = npt.NDArray[Any]
Batch = tuple[Array, Array]


def probe_of(outputs: Array, y: Array, epoch: int) -> Probe | None:
    """Return statistics of class scores (n, C) and their labels (n,) after epoch ``epoch``.

    Samples with negative labels are left out. The result is None if the arrays have other shapes, labels are not
    integers below C, outputs are not finite, or fewer than two samples are left.
    """
    if outputs.ndim != 2 or y.ndim != 1 or y.dtype.kind not in "iu":
        return None
    outputs, y = outputs[y >= 0], y[y >= 0]  # the loss ignores negative labels
    if len(outputs) < 2 or not np.isfinite(outputs).all() or y.max() >= outputs.shape[1]:
        return None
    z = outputs.astype(np.float64).clip(-1e30, 1e30)
    losses = entropies(z, y)
    predicted = outputs.argmax(axis=1)
    counts = np.bincount(predicted, minlength=outputs.shape[1])
    return Probe(
        epoch,
        loss=float(losses.mean()),
        accuracy=float((predicted == y).mean()),
        top_share=float(counts.max() / len(y)),
        top_class=int(counts.argmax()),
        std=float(z.std(axis=0).mean()),
        squashed=bool((z >= 0).all() and np.allclose(z.sum(axis=1), 1, atol=1e-4)),
    )


def entropies(z: Array, y: Array) -> Array:
    """Return the cross entropy −log softmax(z)[y] of each sample, float64 (n,), for z (n, C) and y (n,)."""
    logs = z.astype(np.float64) - z.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(y)), y]


def answers_of(outputs: Array, y: Array, bounded: bool) -> Answers | None:
    """Return statistics of the outputs (n, 1) of a model with a single output, for targets ``y`` (n, …) of 0 and 1.

    If ``bounded``, the outputs are probabilities; otherwise they are logits, to which the sigmoid is applied. The
    result is None for other shapes and for outputs that are not finite.
    """
    if outputs.ndim != 2 or outputs.shape[1] != 1 or not np.isfinite(outputs).all():
        return None
    z = outputs.astype(np.float64)
    probabilities = z if bounded else 1 / (1 + np.exp(-z.clip(-500, 500)))
    return Answers(len(z), float((probabilities > 0.5).mean()), float(probabilities.mean()), float(y.mean()))


def targets_of(batches: Sequence[Array]) -> Targets | None:
    """Return statistics of the targets in these batches, such as mean and quantiles; None for no batches."""
    if not batches:
        return None
    values = np.concatenate([one.reshape(len(one), -1) for one in batches]).astype(np.float64)
    rarer = math.nan
    if values.shape[1] == 1 and np.isin(values, (0.0, 1.0)).all():
        rarer = min(float(values.mean()), 1 - float(values.mean()))
    std = math.sqrt(float(values.var(axis=0).mean()))
    scale = math.sqrt(float(np.square(values).mean()))
    return Targets(len(values), float(values.mean()), std, scale, rarer, tuple(np.quantile(values, (0, 0.02, 0.98, 1))))


def constant_loss(shares: Array, loss: Loss, batch_size: int) -> float | None:
    """Return the loss of the best constant prediction for labels with the given class shares (C,).

    For a loss that sums over the batch, the loss per sample is multiplied by ``batch_size``. The result is None for a
    loss whose best constant prediction is not known.
    """
    mean = loss.constant_loss(np.arange(len(shares)), np.asarray(shares, np.float64))
    if math.isnan(mean):
        return None
    return mean * batch_size if loss.reduction == "sum" else mean


def tried_constant_loss(targets: Array, loss: Loss, outputs: tuple[int, ...]) -> float | None:
    """Return the smallest loss of a few constant predictions, for a loss whose best constant prediction is not known.

    The constants are 0, the mean of the targets, and, if the mean is between 0 and 1, the logit of the mean.
    ``outputs`` is the shape of a prediction for one sample. The result is None if the loss is finite for none of them.
    """
    mean = float(targets.mean())
    constants = [mean, 0.0]
    if 0 < mean < 1:
        constants.append(math.log(mean / (1 - mean)))
    try:
        found = [loss_of(loss, np.full((len(targets), *outputs), one, np.float32), targets) for one in constants]
    except (StriateError, TypeError, ValueError, AttributeError):
        return None
    finite = [one for one in found if math.isfinite(one)]
    return min(finite) if finite else None


def loss_of(loss: Loss, outputs: Array, y: Array) -> float:
    """Return the loss of predictions for targets, computed on arrays, as a float.

    For a loss that takes logits, with outputs (n, C) and integer labels, the result is the mean cross entropy, without
    smoothing or class weights.
    """
    if loss.takes_logits and outputs.ndim == 2 and y.ndim == 1 and y.dtype.kind in "iu":
        known = y >= 0
        return float(entropies(outputs[known], y[known]).mean())
    return float(np.asarray(loss(outputs, loss.target(y, len(outputs), outputs.dtype))))


def losses_in(model: Module, loss: Loss, batches: Sequence[Batch], training: bool) -> float:
    """Return the mean of the losses of several batches, with the model in training or evaluation mode.

    The model predicts each batch (x, y) separately; ``training`` chooses the mode. The result is NaN if there are no
    batches, or if the model or the loss raises an error.
    """
    try:
        found = [loss_of(loss, np.asarray(model(x, training=training)), y) for x, y in batches]
    except (StriateError, TypeError, ValueError, AttributeError, IndexError):
        return math.nan
    return float(np.mean(found)) if found else math.nan
