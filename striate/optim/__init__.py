"""Optimizers and schedules, as equations on the graph."""

from striate.optim.optimizer import SGD, Adam, Optimizer
from striate.optim.schedule import ConstantSchedule, CosineSchedule, Schedule

__all__ = ["SGD", "Adam", "Optimizer", "ConstantSchedule", "CosineSchedule", "Schedule"]
