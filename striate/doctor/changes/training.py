"""Changes that remedies make to optimizer, loss, number of epochs and order of the samples."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np

from striate.doctor.remedy import Change
from striate.doctor.setup import Setup
from striate.nn.loss import CrossEntropyLoss
from striate.optim.optimizer import Optimizer
from striate.optim.schedule import Schedule

# The optimizer and the loss


def _options(rule: Optimizer, without: str = "") -> list[str]:
    """Return the options of an optimizer that differ from their defaults, as ``name=value``.

    The learning rate, the schedule, and the option named ``without`` are left out.
    """
    options = {one.name: (vars(rule)[one.name], one.default) for one in fields(rule)}
    return [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
        for name, (value, default) in options.items()
        if name not in ("lr", "schedule", without) and value != default and value != {}
    ]


def option_of(rule: Optimizer, name: str) -> float | None:
    """Return the option ``name`` of the optimizer ``rule`` as a float; None if it has no such numeric option."""
    value = vars(rule).get(name) if name in [one.name for one in fields(rule)] else None
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class LearningRate(Change):
    """Sets the learning rate of the optimizer, rounded to two significant digits."""

    lr: float

    def code(self, setup: Setup) -> str:
        rule = setup.optimizer
        arguments = ", ".join([f"lr={self.lr:.2g}", *_options(rule)])
        return f"optimizer = optim.{type(rule).__name__}({arguments})   # was {rule.lr:g}"

    def command(self, setup: Setup) -> str:
        return f"--lr {self.lr:.2g}"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, optimizer=replace(setup.optimizer, lr=float(f"{self.lr:.2g}")))


@dataclass(frozen=True)
class OptimizerOption(Change):
    """Sets the option ``name`` of the optimizer, such as its momentum, to ``value``."""

    name: str
    value: float

    def code(self, setup: Setup) -> str:
        rule = setup.optimizer
        arguments = ", ".join([f"lr={rule.lr:g}", f"{self.name}={self.value:g}", *_options(rule, self.name)])
        return f"optimizer = optim.{type(rule).__name__}({arguments})   # {self.name} was {vars(rule)[self.name]:g}"

    def command(self, setup: Setup) -> str:
        return f"--{self.name.replace('_', '-')} {self.value:g}"

    def apply(self, setup: Setup) -> Setup:
        options: dict[str, float] = {self.name: self.value}
        return replace(setup, optimizer=replace(setup.optimizer, **options))


@dataclass(frozen=True)
class RecomputeStatistics(Change):
    """Computes the running statistics of batch normalizations anew at the end, over all training samples."""

    def code(self, setup: Setup) -> str:
        return "trainer = st.Trainer(…, recompute_statistics=True)   # or train.recompute_statistics(model, train_set)"

    def command(self, setup: Setup) -> str:
        return "--recompute-statistics"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, recompute_statistics=True)


@dataclass(frozen=True)
class ScheduleLength(Change):
    """Stretches the learning rate schedule to ``steps``, the number of steps of the training."""

    steps: int

    def code(self, setup: Setup) -> str:
        name = type(setup.optimizer.schedule).__name__
        return f"schedule = optim.{name}({self.steps})   # steps, not epochs"

    def apply(self, setup: Setup) -> Setup:
        schedule = stretched(setup.optimizer.schedule, self.steps)
        return setup if schedule is None else replace(setup, optimizer=replace(setup.optimizer, schedule=schedule))


def stretched(schedule: Schedule, steps: int) -> Schedule | None:
    """Return the schedule with ``total_steps`` set to ``steps``; None if the schedule has no such option."""
    if not is_dataclass(schedule) or isinstance(schedule, type):
        return None
    if "total_steps" not in [one.name for one in fields(schedule)]:
        return None
    options: dict[str, int] = {"total_steps": steps}
    return replace(schedule, **options)


@dataclass(frozen=True)
class MeanLoss(Change):
    """Makes a loss that sums over the batch take the mean instead."""

    def code(self, setup: Setup) -> str:
        return f'loss = nn.{type(setup.loss).__name__}()   # its reduction is "mean"'

    def apply(self, setup: Setup) -> Setup:
        loss = copy.deepcopy(setup.loss)
        mean = type(loss)()
        loss.reduction = mean.reduction
        return replace(setup, loss=loss)


@dataclass(frozen=True)
class ClassWeights(Change):
    """Replaces the loss by cross entropy with these class ``weights``, which are larger for rare classes."""

    weights: tuple[float, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(f"{weight:.3g}" for weight in self.weights)
        return f"loss = nn.CrossEntropyLoss(weight=np.array([{shown}]))"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, loss=CrossEntropyLoss(np.array(self.weights, np.float32)))


# The number of epochs, and the order of the samples


@dataclass(frozen=True)
class Epochs(Change):
    """Sets the number of epochs, the passes over the training data."""

    epochs: int

    def code(self, setup: Setup) -> str:
        return f"trainer.fit(train_set, validation, epochs={self.epochs})   # was {setup.epochs}"

    def command(self, setup: Setup) -> str:
        return f"--epochs {self.epochs}"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, epochs=self.epochs)


@dataclass(frozen=True)
class Shuffle(Change):
    """Turns shuffling on, so that every batch is drawn at random from all of the data."""

    def code(self, setup: Setup) -> str:
        return "st.Trainer(…, shuffle=True)   # or data.batches(dataset, size, seed=0, epoch=epoch)"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, shuffle=True)
