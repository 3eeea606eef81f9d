"""The trace of one training: all that the rules see of it, collected while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.doctor.sample import Sample
from striate.doctor.setup import Setup
from striate.doctor.structure import Structure

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerReading:
    """The statistics of one layer in one step. ``update_ratio`` is ‖Δθ‖ / ‖θ‖ over all its parameters."""

    mean: float
    std: float
    zeros: float
    saturated: float | None = None
    gradient_norm: float | None = None
    update_ratio: float | None = None


@dataclass(frozen=True)
class Reading:
    """All layers in one step."""

    step: int
    epoch: int
    loss: float
    layers: Mapping[str, LayerReading]


@dataclass(frozen=True)
class Silence:
    """Units of one layer that never fired in a whole pass, and how many of them fired in the first step."""

    units: int
    silent: tuple[int, ...]
    fired_at_first: int

    @property
    def share(self) -> float:
        """The share of the units that never fired, from 0 to 1."""
        return len(self.silent) / max(self.units, 1)


@dataclass(frozen=True)
class Probe:
    """The predictions of the model for a fixed sample of the training data after an epoch."""

    epoch: int
    loss: float
    accuracy: float
    top_share: float  # share of the samples that get the class predicted most often
    top_class: int
    std: float  # standard deviation over the samples, mean over the outputs
    squashed: bool  # the outputs of every sample are positive and add up to 1


@dataclass(frozen=True)
class Drift:
    """One batch against the running statistics of a normalization: medians over channels."""

    mean_distance: float  # in standard deviations of the batch
    variance_ratio: float  # max(running/batch, batch/running)


@dataclass(frozen=True)
class Gap:
    """The last batch against the running statistics of a normalization, over all of its channels."""

    mean_distance: float  # in standard deviations of the batch
    variance_ratio: float  # running / batch


@dataclass(frozen=True)
class Forms:
    """The mean loss of the same batches in training and in evaluation form, with the same weights."""

    epoch: int
    training: float
    evaluation: float
    gaps: Mapping[str, Gap]  # by normalization, in the order in which they run


@dataclass(frozen=True)
class Targets:
    """The numbers to predict, where the model predicts numbers."""

    count: int
    mean: float
    std: float  # root of the mean variance of the outputs
    scale: float  # root mean square
    rarer: float  # share of the rarer of 0 and 1; NaN for other targets
    quantiles: tuple[float, ...]  # least, 2 %, 98 %, largest


@dataclass(frozen=True)
class Answers:
    """Single outputs for targets of 0 and 1."""

    count: int
    positive: float  # share of the samples for which 1 is predicted
    mean: float  # mean predicted probability of 1
    truth: float  # share of 1 among them


@dataclass
class TrainingTrace:
    """Everything seen of one training so far. Rules read it and never change it."""

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
    mixtures: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])  # (1 − Σ p², size) of each batch
    labels_seen: Array = field(default_factory=lambda: np.zeros(0, np.int64))  # how often each label was in a batch
    starts: dict[str, float] = field(default_factory=dict[str, float])  # mean bias of each map before the first step
    gains: dict[str, float] = field(default_factory=dict[str, float])  # √(mean w² · fan-in) of each map, likewise
    first_moves: dict[str, float] = field(default_factory=dict[str, float])  # ‖Δθ‖/‖θ‖ of the first step, θ before it
    scales: dict[str, float] = field(default_factory=dict[str, float])  # √mean γ² of each normalization, likewise
    random_and_frozen: tuple[str, ...] = ()  # layers whose weights are frozen as they were drawn
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])  # ‖w‖ first and now
    copies: tuple[str, ...] = ()  # maps whose units all start with the same weights, before one with equal columns
    forms: list[Forms] = field(default_factory=list[Forms])
    targets: Targets | None = None
    answers: Answers | None = None
    baseline: float | None = None  # loss of the best constant prediction
    continued: bool = False  # the model had learned before
    broke_down: str = ""  # message of the NonFiniteError that ended it
    finished: bool = False

    @property
    def steps(self) -> int:
        """Steps so far."""
        return len(self.losses)

    @property
    def epochs(self) -> int:
        """Epochs so far."""
        return len(self.epoch_losses)

    @property
    def lr(self) -> float:
        """The learning rate of the optimizer."""
        return self.setup.optimizer.lr

    @property
    def start_loss(self) -> float:
        """The loss before the first update."""
        return self.losses[0] if self.losses else math.nan

    @property
    def recent_loss(self) -> float:
        """Mean of the last steps: those of the last third, 10 at least, 200 at most."""
        count = min(max(10, len(self.losses) // 3), 200)
        return float(np.mean(self.losses[-count:])) if self.losses else math.nan

    @property
    def seasoned(self) -> bool:
        """Whether enough was trained to judge it: 100 steps and an epoch, or a finished training of 30 steps."""
        return (self.steps >= 100 and self.epochs >= 1) or (self.finished and self.steps >= 30)

    @property
    def stuck(self) -> bool:
        """Whether the loss is hardly better than that of a constant prediction; False before ``seasoned``."""
        if not self.seasoned or self.baseline is None:
            return False
        return self.recent_loss >= STUCK * self.baseline

    @property
    def learned(self) -> float:
        """By which share the loss has fallen: 0 for none, 1 for all of it, negative where it has risen."""
        first = self.baseline if self.baseline is not None else self.start_loss
        reference = min(first, self.start_loss) if math.isfinite(self.start_loss) else first
        return 1 - self.recent_loss / reference if reference > 0 else 0.0

    @property
    def exploded(self) -> bool:
        """Whether the loss has been a hundred times that of a constant and of the start: the weights are huge then."""
        known = [one for one in (self.baseline, self.start_loss) if one is not None and math.isfinite(one)]
        seen = [one for one in (*self.losses, *self.epoch_losses) if math.isfinite(one)]
        return bool(known) and bool(seen) and max(seen) > EXPLODED * max(*known, 0.1)

    @property
    def planned_steps(self) -> int:
        """Steps of the whole training, as far as the doctor knows the data; else those so far."""
        setup = self.setup
        if setup.train_set is None:
            return self.steps
        return setup.epochs * max(1, round(len(setup.train_set) / setup.batch_size))

    @property
    def steps_an_epoch(self) -> int:
        """Steps of one pass over the data."""
        return max(1, self.steps // self.epochs if self.epochs else self.planned_steps // max(self.setup.epochs, 1))

    @property
    def diversity(self) -> list[float]:
        """1 − Σ p² of the labels of each batch, divided by its expectation for batches drawn from all labels seen."""
        shares = self.labels_seen / max(int(self.labels_seen.sum()), 1)
        whole = float(1 - np.square(shares).sum())
        return [mixed / (whole * (n - 1) / n) for mixed, n in self.mixtures if n > 1] if whole > 0 else []

    @property
    def early(self) -> list[Reading]:
        """Readings of the first ten steps."""
        return [one for one in self.readings if one.step <= 10]

    def median(
        self, path: str, statistic: Callable[[LayerReading], float | None], readings: list[Reading] | None = None
    ) -> float:
        """Median over readings of one statistic of one layer; NaN where it was never read."""
        found = [
            number
            for one in (self.readings if readings is None else readings)
            if path in one.layers and (number := statistic(one.layers[path])) is not None
        ]
        return float(np.median(found)) if found else math.nan

    def update_ratios(self, readings: list[Reading] | None = None) -> dict[str, float]:
        """Median ‖Δθ‖/‖θ‖ of each linear layer or convolution that learns."""
        if self.structure is None:
            return {}
        found = {
            one.path: self.median(one.path, lambda layer: layer.update_ratio, readings) for one in self.structure.maps
        }
        return {path: ratio for path, ratio in found.items() if math.isfinite(ratio)}


EXPLODED = 100.0
STUCK = 0.92
"""Share of the loss of a constant prediction above which nothing was learned.

For 10 classes the rest is 8 % of ln 10 = 2.30 nats, about the gain from recognizing one class of ten.
"""
