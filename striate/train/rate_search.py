"""The search for a learning rate: a short training whose rate grows from step to step."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.augment import InputStage, Transform
from striate.data.dataset import Dataset, require_dataset
from striate.data.loader import Batch
from striate.errors import NonFiniteError, OptionError, opened_room
from striate.nn.loss import Loss, LossFunction
from striate.nn.module import Module
from striate.optim import ExponentialSchedule, Optimizer
from striate.options import number, whole_number
from striate.options import seed as checked_seed
from striate.step import TrainingStep
from striate.train.notebook import chart, charts_document

_BLUE, _ORANGE = "#2166ac", "#d9822b"
_DIVERGED = 4.0
"""The search ends when the smoothed loss exceeds this multiple of its smallest value."""


@dataclass(frozen=True)
class RateSearch:
    """The result of a search for a learning rate.

    ``rates`` are the rates that were tried, in increasing order. ``losses`` has, for each rate, the loss before the
    step with this rate. ``smoothed`` is the moving average of ``losses``.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float | None:
        """The suggested learning rate: the one at which the smoothed loss falls most steeply over the log of the rate.

        Only rates up to the one with the lowest smoothed loss are considered. None if the loss never falls, or if fewer
        than 3 rates were tried.
        """
        if len(self.rates) < 3:
            return None
        lowest = int(np.argmin(self.smoothed))
        slopes = np.gradient(self.smoothed, np.log(self.rates))[: lowest + 1]
        steepest = int(np.argmin(slopes))
        return self.rates[steepest] if slopes[steepest] < 0 else None

    def to_json(self) -> dict[str, object]:
        """Return the result as a dictionary of plain numbers and lists."""
        return {
            "rates": list(self.rates), "losses": list(self.losses), "smoothed": list(self.smoothed),
            "suggestion": self.suggestion,
        }  # fmt: skip

    def svg(self) -> str:
        """Return the smoothed loss over the logarithm of the learning rate as an SVG document.

        A vertical line marks the suggested rate. Returns "" if no rate was tried.
        """
        curve = [(math.log10(rate), loss) for rate, loss in zip(self.rates, self.smoothed)]
        series = [(curve, _BLUE, "smoothed loss")]
        if self.suggestion is not None:
            at = math.log10(self.suggestion)
            ends = [(at, min(self.smoothed)), (at, max(self.smoothed))]
            series.append((ends, _ORANGE, f"suggested: {self.suggestion:.2g}"))
        drawn = chart("learning rate", series, lambda x: f"{10**x:.2g}")
        return charts_document([drawn] if drawn else [])

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the loss against the learning rate, and return the matplotlib figure.

        The figure is also written to ``path`` if it is given. Raises ``MissingExtraError`` without the extra ``plot``.
        """
        return opened_room("plot", "matplotlib").rates(self, path)


def find_rate(
    model: Module,
    loss: Loss | LossFunction,
    optimizer: Optimizer,
    dataset: Dataset,
    *,
    least: float = 1e-6,
    most: float = 10.0,
    steps: int = 100,
    batch_size: int = 64,
    seed: int = 0,
    smoothing: float = 0.9,
    augment: Sequence[Transform] | str = (),
) -> RateSearch:
    """Find a learning rate: train a copy of the model with rates that grow from ``least`` to ``most``.

    The rate grows by a constant factor in each of ``steps`` steps; the rate and the schedule of ``optimizer`` are not
    used. The search ends early if the smoothed loss exceeds 4 times its minimum, or is not finite. The model itself is
    not changed.

    batch_size  samples in a step
    seed        determines the order of the samples, dropout, and the initial values of new parameters
    smoothing   factor of the exponential moving average of the loss, which is corrected for its start at 0
    augment     random changes of the samples, as in ``Trainer``

    Raises ``OptionError`` unless 0 < least < most, steps ≥ 3 and 0 ≤ smoothing < 1. The method is from Smith, 2015
    (arXiv:1506.01186).

        search = st.train.find_rate(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9), train_set)
        optimizer = optim.SGD(lr=search.suggestion, momentum=0.9)
    """
    require_dataset(dataset)
    number("least", least, above=0)
    number("most", most, above=0)
    if not least < most:
        raise OptionError(f"least={least!r} and most={most!r}; expected least < most")
    whole_number("steps", steps, 3)
    number("smoothing", smoothing, 0, below=1)
    growing = ExponentialSchedule((most / least) ** (1 / (steps - 1)))
    rule = replace(optimizer, lr=least, schedule=growing)
    step = TrainingStep(copy.deepcopy(model), copy.deepcopy(loss), rule, seed=checked_seed(seed), capacity=batch_size)
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0  # a running average that starts at 0, and is divided by 1 − smoothingᵗ as in Adam
    stage = InputStage(dataset, augment, seed=seed)
    for count, (x, y, _) in enumerate(itertools.islice(_endless(stage, batch_size), steps)):
        try:
            value = step(x, y)
        except NonFiniteError:
            break
        average = smoothing * average + (1 - smoothing) * value
        rates.append(least * growing.gamma**count)
        losses.append(value)
        smoothed.append(average / (1 - smoothing ** (count + 1)))
        if not math.isfinite(value) or smoothed[-1] > _DIVERGED * min(smoothed):
            break
    return RateSearch(tuple(rates), tuple(losses), tuple(smoothed))


def _endless(stage: InputStage, batch_size: int) -> Iterator[Batch]:
    """Iterate over the batches of a data set, epoch after epoch without end."""
    for epoch in itertools.count():
        yield from stage.batches(batch_size, epoch=epoch)
