"""Optimizers and learning rate schedules, as equations that are compiled into the training step."""

from collections.abc import Callable

from striate import habits
from striate.optim.adam import Adam, AdamW, NAdam, RAdam
from striate.optim.adaptive import Adagrad, RMSprop
from striate.optim.chain import SequentialSchedule, WarmupSchedule
from striate.optim.cosine import CosineRestartsSchedule, CosineSchedule, OneCycleSchedule
from striate.optim.lamb import LAMB
from striate.optim.optimizer import Optimizer
from striate.optim.schedule import (
    ConstantSchedule,
    ExponentialSchedule,
    MultiStepSchedule,
    PolynomialSchedule,
    Schedule,
    StepSchedule,
)
from striate.optim.sgd import SGD, Lion

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "nadam": NAdam, "radam": RAdam, "adagrad": Adagrad,
    "lion": Lion, "lamb": LAMB,
}  # fmt: skip
"""The optimizers by the names that the command line and the lab accept."""

SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda steps: ConstantSchedule(),
    "cosine": CosineSchedule,
    "step": lambda steps: StepSchedule(max(steps // 3, 1)),
    "multi_step": lambda steps: MultiStepSchedule((max(steps // 2, 1), max(steps * 3 // 4, steps // 2 + 1, 2))),
    "exponential": lambda steps: ExponentialSchedule(0.01 ** (1 / steps)),
    "cosine_restarts": lambda steps: CosineRestartsSchedule(max(steps // 7, 1), 2),
    "one_cycle": OneCycleSchedule,
    "polynomial": PolynomialSchedule,
}
"""The schedules of the command line, by name, as functions of the total number of training steps."""

__all__ = [
    "OPTIMIZERS", "SCHEDULES",
    "SGD", "Adam", "AdamW", "RMSprop", "NAdam", "RAdam", "Adagrad", "Lion", "LAMB", "Optimizer",
    "ConstantSchedule", "CosineSchedule", "CosineRestartsSchedule", "ExponentialSchedule", "MultiStepSchedule",
    "OneCycleSchedule", "PolynomialSchedule", "StepSchedule", "WarmupSchedule", "SequentialSchedule", "Schedule",
]  # fmt: skip


def __getattr__(name: str) -> object:
    raise habits.missing("optim", name, __all__, habits.OPTIMIZERS)
