"""The trace of one training: all observations that the rules read, collected while the training runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.loader import batch_count
from striate.doctor.sample import Sample
from striate.doctor.setup import Setup
from striate.doctor.structure import Structure

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerReading:
    """The statistics of one layer's outputs, gradients and updates in one step.

    mean, std      of all outputs of the layer, over samples, channels and positions
    zeros          share of outputs that are 0; NaN if these are not counted
    saturated      share of outputs on the flat ends of the activation; None for other layers
    gradient_norm  norm of the gradient with respect to all parameters of the layer; None without parameters
    update_ratio   ‖Δθ‖ / ‖θ‖ for all parameters θ of the layer and their change Δθ; None without parameters
    """

    mean: float
    std: float
    zeros: float
    saturated: float | None = None
    gradient_norm: float | None = None
    update_ratio: float | None = None


@dataclass(frozen=True)
class Reading:
    """The statistics of all layers in one step, by path; ``step`` and ``epoch`` count from 1."""

    step: int
    epoch: int
    loss: float
    layers: Mapping[str, LayerReading]


@dataclass(frozen=True)
class Silence:
    """The units (channels or neurons) of one layer that were 0 for every sample of an epoch.

    units           number of units of the layer
    silent          indices of the units that never fired, that is, whose outputs were never above 0
    fired_at_first  how many of the silent units had fired in the first step
    """

    units: int
    silent: tuple[int, ...]
    fired_at_first: int

    @property
    def share(self) -> float:
        """The share of the layer's units that were never above 0, from 0 to 1."""
        return len(self.silent) / max(self.units, 1)


@dataclass(frozen=True)
class Probe:
    """Statistics of the model's predictions for a fixed part of the training data after an epoch.

    epoch, loss, accuracy    the epoch, and the mean cross entropy and accuracy of the predictions
    top_class, top_share     the class that is predicted most often, and the share of samples for which it is predicted
    std                      standard deviation of an output over the samples, averaged over the outputs
    squashed                 whether the outputs of every sample are positive and add up to 1
    """

    epoch: int
    loss: float
    accuracy: float
    top_share: float  # share of the samples that are predicted to be top_class
    top_class: int
    std: float  # standard deviation over the samples, averaged over the outputs
    squashed: bool  # the outputs of every sample are positive and add up to 1


@dataclass(frozen=True)
class Drift:
    """How far one batch is from the running statistics of a normalization; medians over its channels.

    ``mean_distance`` is in standard deviations of the batch. ``variance_ratio`` is running / batch or batch / running,
    whichever is larger.
    """

    mean_distance: float  # in standard deviations of the batch
    variance_ratio: float  # max(running/batch, batch/running)


@dataclass(frozen=True)
class Gap:
    """How far the last batch is from the running statistics of a normalization, over all its channels.

    ``mean_distance`` is in standard deviations of the batch. ``variance_ratio`` is running / batch.
    """

    mean_distance: float  # in standard deviations of the batch
    variance_ratio: float  # running / batch


@dataclass(frozen=True)
class Forms:
    """The mean loss of the same batches in training mode and in evaluation mode, with the weights after an epoch.

    ``epoch`` is the number of the epoch, and ``training`` and ``evaluation`` are the two losses. ``gaps`` has the
    ``Gap`` of each normalization by path, in running order.
    """

    epoch: int
    training: float
    evaluation: float
    gaps: Mapping[str, Gap]  # by path of the normalization, in running order


@dataclass(frozen=True)
class Targets:
    """Statistics of the numbers to predict, in a regression or for a loss that the user wrote.

    count      number of samples
    mean       mean of all targets
    std        root of the mean variance: the variance of each output over the samples, averaged over the outputs
    scale      root mean square
    rarer      share of the less frequent value, if all targets are 0 or 1; else NaN
    quantiles  the smallest target, the quantiles of 2 % and 98 %, and the largest target
    """

    count: int
    mean: float
    std: float  # root of the mean variance of the outputs
    scale: float  # root mean square
    rarer: float  # share of the rarer of 0 and 1; NaN for other targets
    quantiles: tuple[float, ...]  # least, 2 %, 98 %, largest


@dataclass(frozen=True)
class Answers:
    """Statistics of a single output that predicts targets of 0 and 1.

    count     number of samples
    positive  share of the samples for which 1 is predicted
    mean      mean predicted probability of 1
    truth     share of targets that are 1
    """

    count: int
    positive: float  # share of the samples for which 1 is predicted
    mean: float  # mean predicted probability of 1
    truth: float  # share of targets that are 1


@dataclass
class TrainingTrace:
    """All observations of one training so far. Rules read it and never change it.

    setup                  how the training is run
    structure              the layers of the network; None before it is traced, or if that fails
    data, validation       samples of the training and validation data; None without such data
    readings               the statistics of all layers, for every step in which they were recorded
    losses                 the loss of every step
    epoch_losses           the mean training loss of every epoch
    validation_losses, validation_accuracies    one for every epoch; None for an epoch without validation
    probes, forms          statistics of predictions after some epochs; see ``Probe`` and ``Forms``
    silence                units that were always 0 in the last epoch, by path of the layer
    drifts                 distances between statistics of batches and the running ones, by path of the normalization
    mixtures               for the first 200 batches (1 − Σ p², size), with p the shares of the classes in the batch
    labels_seen            number of samples of each label in all batches so far, int64
    starts, gains          mean bias, and √(mean w² · fan-in) for the weight w, at the start, by path of the layer
    scales                 √(mean γ²) for the scale γ at the start, by path of the normalization
    first_moves            ‖Δw‖ / ‖w‖ for the change Δw of the weight w in the first step, by path of the layer
    sizes                  the norms ‖w‖ of the weight w at the start and now, by path of the layer
    random_and_frozen      paths of layers that are frozen with their random initial weights
    copies                 paths of layers whose units remain copies of each other, from ``copied_units``
    targets, answers       statistics of the targets, and of a single output that predicts 0 or 1; None if not measured
    baseline               loss of the best constant prediction; None if it is not known
    continued              whether the model had been trained before
    broke_down             message of the ``NonFiniteError`` that ended the training; "" if there was none
    finished               whether the training has ended
    """

    setup: Setup
    structure: Structure | None = None
    data: Sample | None = None
    validation: Sample | None = None
    readings: list[Reading] = field(default_factory=list[Reading])
    losses: list[float] = field(default_factory=list[float])
    epoch_losses: list[float] = field(default_factory=list[float])
    validation_losses: list[float | None] = field(default_factory=list[float | None])
    validation_accuracies: list[float | None] = field(default_factory=list[float | None])
    probes: list[Probe] = field(default_factory=list[Probe])
    silence: dict[str, Silence] = field(default_factory=dict[str, Silence])
    drifts: dict[str, list[Drift]] = field(default_factory=dict[str, list[Drift]])
    mixtures: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    labels_seen: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    starts: dict[str, float] = field(default_factory=dict[str, float])
    gains: dict[str, float] = field(default_factory=dict[str, float])
    first_moves: dict[str, float] = field(default_factory=dict[str, float])
    scales: dict[str, float] = field(default_factory=dict[str, float])
    random_and_frozen: tuple[str, ...] = ()
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    copies: tuple[str, ...] = ()
    forms: list[Forms] = field(default_factory=list[Forms])
    targets: Targets | None = None
    answers: Answers | None = None
    baseline: float | None = None
    continued: bool = False
    broke_down: str = ""
    finished: bool = False

    @property
    def steps(self) -> int:
        """The number of training steps so far."""
        return len(self.losses)

    @property
    def epochs(self) -> int:
        """The number of finished epochs so far."""
        return len(self.epoch_losses)

    @property
    def lr(self) -> float:
        """The learning rate that the optimizer was given, without the factor of its schedule."""
        return self.setup.optimizer.lr

    @property
    def start_loss(self) -> float:
        """The loss of the first batch, before any update; NaN before the first step."""
        return self.losses[0] if self.losses else math.nan

    @property
    def recent_loss(self) -> float:
        """The mean loss of the most recent steps: a third of all, at least 10, at most 200.

        NaN before the first step.
        """
        count = min(max(10, len(self.losses) // 3), 200)
        return float(np.mean(self.losses[-count:])) if self.losses else math.nan

    @property
    def seasoned(self) -> bool:
        """Whether the training is long enough to be judged.

        That is after 100 steps and an epoch, or when it has finished after at least 30 steps.
        """
        return (self.steps >= 100 and self.epochs >= 1) or (self.finished and self.steps >= 30)

    @property
    def stuck(self) -> bool:
        """Whether the loss is hardly better than that of a constant prediction; False before ``seasoned``.

        It is also False if the best constant prediction is not known.
        """
        if not self.seasoned or self.baseline is None:
            return False
        return self.recent_loss >= STUCK * self.baseline

    @property
    def learned(self) -> float:
        """The share by which the loss has fallen: 0 for not at all, 1 if it is now 0, negative if it has risen.

        The loss is compared with the smaller of two: the loss at the start and the loss of the best constant
        prediction.
        """
        first = self.baseline if self.baseline is not None else self.start_loss
        reference = min(first, self.start_loss) if math.isfinite(self.start_loss) else first
        return 1 - self.recent_loss / reference if reference > 0 else 0.0

    @property
    def exploded(self) -> bool:
        """Whether some loss exceeded 10, 100 times the first loss, and 100 times ``baseline``.

        The weights are then so large that later steps look small beside them.
        """
        known = [one for one in (self.baseline, self.start_loss) if one is not None and math.isfinite(one)]
        seen = [one for one in (*self.losses, *self.epoch_losses) if math.isfinite(one)]
        return bool(known) and bool(seen) and max(seen) > EXPLODED * max(*known, 0.1)

    @property
    def planned_steps(self) -> int:
        """The number of steps of the whole training; without a ``train_set``, the number of steps so far."""
        setup = self.setup
        if setup.train_set is None:
            return self.steps
        return setup.epochs * max(1, batch_count(len(setup.train_set), setup.batch_size))

    @property
    def steps_an_epoch(self) -> int:
        """The number of steps in an epoch, at least 1: measured if an epoch is finished, else planned."""
        return max(1, self.steps // self.epochs if self.epochs else self.planned_steps // max(self.setup.epochs, 1))

    @property
    def diversity(self) -> list[float]:
        """How mixed the labels are in each of the first 200 batches: about 1 if drawn at random, 0 for a single class.

        For a batch with the class shares p it is 1 − Σ p², divided by the expectation for random batches of its size.
        """
        shares = self.labels_seen / max(int(self.labels_seen.sum()), 1)
        whole = float(1 - np.square(shares).sum())
        return [mixed / (whole * (n - 1) / n) for mixed, n in self.mixtures if n > 1] if whole > 0 else []

    @property
    def early(self) -> list[Reading]:
        """The readings (statistics of all layers) of the first ten steps."""
        return [one for one in self.readings if one.step <= 10]

    def median(
        self, path: str, statistic: Callable[[LayerReading], float | None], readings: list[Reading] | None = None
    ) -> float:
        """Return the median over ``readings`` of one statistic of the layer at ``path``; NaN if it was never recorded.

        ``readings`` defaults to all readings so far.
        """
        found = [
            number
            for one in (self.readings if readings is None else readings)
            if path in one.layers and (number := statistic(one.layers[path])) is not None
        ]
        return float(np.median(found)) if found else math.nan

    def update_ratios(self, readings: list[Reading] | None = None) -> dict[str, float]:
        """Return the median ‖Δθ‖/‖θ‖ of each linear layer and convolution that learns, by path.

        Δθ is the change of the layer's parameters θ in a step. ``readings`` defaults to all readings so far.
        """
        if self.structure is None:
            return {}
        found = {
            one.path: self.median(one.path, lambda layer: layer.update_ratio, readings) for one in self.structure.maps
        }
        return {path: ratio for path, ratio in found.items() if math.isfinite(ratio)}


EXPLODED = 100.0
STUCK = 0.92
"""A loss above this share of that of a constant prediction counts as nothing learned.

For 10 classes the remaining 8 % of ln 10 = 2.30 nats is about the gain from recognizing one of the ten classes.
"""
