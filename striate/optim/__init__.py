"""Optimizers and schedules, as equations on the graph."""

from striate import habits
from striate.optim.optimizer import SGD, Adam, Optimizer
from striate.optim.schedule import ConstantSchedule, CosineSchedule, Schedule

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}
"""The optimizers that the command line and the lab offer, by the names that they take."""

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Optimizer", "ConstantSchedule", "CosineSchedule", "Schedule"]


def __getattr__(name: str) -> object:
    raise habits.missing("optim", name, __all__, habits.OPTIMIZERS)
