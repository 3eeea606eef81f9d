"""What the doctor measures besides reading the watch: labels, targets, predictions, weights and silent units.

Each function records its result in the trace of the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.doctor.kept import KeptBatches
from striate.doctor.probe import answers_of, losses_in, probe_of, targets_of, tried_constant_loss
from striate.doctor.reading import gaps_of
from striate.doctor.training_trace import Forms, Silence, TrainingTrace
from striate.errors import StriateError
from striate.watch import Watch

Array = npt.NDArray[Any]
SUSPECT = 1.15
"""Both modes are compared where the evaluation loss exceeds this multiple of the training loss."""
DOUBTFUL = 0.05
"""Both modes are also compared while starting values are more than this share of running statistics."""


def count_labels(trace: TrainingTrace, y: Array) -> None:
    """Record how often each class occurs in the labels ``y`` of a batch, and how mixed the batch is.

    The mixture is 1 − Σ p², with p the share of each class. Negative labels, which the loss ignores, are left out.
    """
    if trace.setup.classifies and y.ndim == 1 and y.dtype.kind in "iu":
        y = y[y >= 0]  # the loss ignores negative labels
        if not len(y):
            return
        counts = np.bincount(y, minlength=len(trace.labels_seen))
        trace.labels_seen = counts + np.pad(trace.labels_seen, (0, len(counts) - len(trace.labels_seen)))
        if len(trace.mixtures) < 200:
            trace.mixtures.append((float(1 - np.square(counts / len(y)).sum()), len(y)))


def measure_targets(trace: TrainingTrace, kept: KeptBatches) -> None:
    """Record statistics of the kept targets of a training that does not classify.

    These are the moments of the targets, the loss of the best constant prediction, and, for targets of 0 and 1,
    statistics of the predictions.
    """
    trace.targets = targets_of(kept.targets)
    if trace.targets is None or not kept.recent:
        return
    loss, y = trace.setup.loss, np.concatenate(kept.targets)
    if trace.baseline is None:
        known = loss.constant_loss(y, np.ones(len(y)))
        outputs = kept.recent[-1][1].shape[1:]
        trace.baseline = tried_constant_loss(y, loss, outputs) if math.isnan(known) else known
    structure = trace.structure
    if structure is not None and structure.outputs == 1 and math.isfinite(trace.targets.rarer):
        last = structure.last
        bounded = last is not None and last.activation is not None and last.activation.output_bounds[1] <= 1
        try:
            shown = np.concatenate([np.asarray(trace.setup.model(x)) for x, _ in kept.recent])
        except StriateError:
            return
        trace.answers = answers_of(shown, np.concatenate([y for _, y in kept.recent]), bounded)


def compare_modes(trace: TrainingTrace, kept: KeptBatches, watch: Watch) -> None:
    """Record the loss of the same batch in training and in evaluation mode, if the two losses seem to differ.

    They differ if the running statistics of normalizations do not fit the data. ``watch`` has the statistics of the
    layers in the last step.
    """
    setup = trace.setup
    if trace.structure is None or not kept.recent or not trace.losses:
        return
    tracked = [one.normalization.running_statistics() for one in trace.structure.norms if one.normalization]
    momenta = [one.momentum for one in tracked if one is not None and one.momentum is not None]
    batches = kept.to_compare()
    evaluation = losses_in(setup.model, setup.loss, batches, training=False) if any(tracked) else math.nan
    seen = trace.recent_loss / (setup.batch_size if setup.loss.reduction == "sum" else 1)
    doubtful = any((1 - m) ** trace.steps > DOUBTFUL or m > 1 / 2 for m in momenta)
    if not (evaluation > SUSPECT * seen or (doubtful and math.isfinite(evaluation))):
        return
    training = losses_in(setup.model, setup.loss, batches, training=True)
    gaps = gaps_of(trace.structure, watch.means(), watch.stds())
    trace.forms.append(Forms(trace.epochs, training, evaluation, gaps))


def measure_weights(trace: TrainingTrace, sizes: Mapping[str, float]) -> None:
    """Record the norms ‖w‖ of every weight w, at the start of the training and now.

    ``sizes`` has the norms at the start by path of the layer.
    """
    for one in trace.structure.maps if trace.structure else ():
        weight = one.parameters.get("weight")
        if weight is not None and one.path in sizes:
            now = float(np.linalg.norm(weight.data.astype(np.float64)))
            trace.sizes[one.path] = sizes[one.path], now


def measure_first_move(trace: TrainingTrace, moved: Mapping[str, Array], sizes: Mapping[str, float]) -> None:
    """Record how far the first update Δw moved each weight w: ‖Δw‖ / ‖w‖, with w as it was before the update.

    ``moved`` has the updates by parameter name, and ``sizes`` the norms ‖w‖ by path of the layer.
    """
    for path, size in sizes.items():
        change = moved.get(f"{path}.weight")
        if change is not None and size > 0:
            trace.first_moves[path] = float(np.linalg.norm(change.astype(np.float64))) / size


def count_silent(trace: TrainingTrace, watch: Watch, first_fired: Mapping[str, Array]) -> None:
    """Record which units of each layer were never above 0 in the past epoch, which ``watch`` observed.

    Also record how many of these units were above 0 in the first step. By path of the layer, ``first_fired`` has a bool
    for each unit: whether it was above 0 for some sample of the first step.
    """
    silent = watch.silent_units()
    for path, fired in watch.firing().items():
        indices = tuple(silent.get(path, ()))
        first = first_fired.get(path)
        alive = int(first[list(indices)].sum()) if first is not None and indices else 0
        trace.silence[path] = Silence(len(fired), indices, alive)


def measure_predictions(trace: TrainingTrace, kept: KeptBatches) -> None:
    """Record statistics of the predictions for a fixed part of the training data, if the training classifies."""
    shown = kept.to_probe() if trace.setup.classifies else None
    if shown is not None:
        x, y = shown
        probe = probe_of(np.asarray(trace.setup.model(x)), y, trace.epochs)
        if probe is not None:
            trace.probes.append(probe)
