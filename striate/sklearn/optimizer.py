"""Choose the optimizer of an estimator, given by name or as an object."""

from __future__ import annotations

from dataclasses import replace

from striate.errors import OptionError, unknown_option
from striate.optim import OPTIMIZERS, SCHEDULES, SGD
from striate.optim.optimizer import Optimizer

MOMENTUM = 0.9
"""The momentum of the optimizer named "sgd"."""


def chosen_optimizer(optimizer: str | Optimizer, learning_rate: float | None, schedule: str, steps: int) -> Optimizer:
    """Return an optimizer, given by name or as an object, with the chosen learning rate and schedule.

    With ``learning_rate=None``, an optimizer object keeps its rate, and a named optimizer has its usual rate.
    ``schedule`` is a name in ``optim.SCHEDULES``, for ``steps`` steps; with "constant", an optimizer object keeps its
    schedule. Raises ``OptionError`` for an unknown name of an optimizer or a schedule, and for an invalid learning
    rate.
    """
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise unknown_option("schedule", schedule, SCHEDULES)
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise unknown_option("optimizer", optimizer, OPTIMIZERS)
        kind = OPTIMIZERS[optimizer]
        rate = kind.usual_lr if learning_rate is None else learning_rate
        chosen = SGD(lr=rate, momentum=MOMENTUM) if kind is SGD else kind(lr=rate)
    elif isinstance(optimizer, Optimizer):
        chosen = optimizer if learning_rate is None else replace(optimizer, lr=learning_rate)
    else:
        raise OptionError(f"optimizer={optimizer!r}; expected a name or an optimizer\n  help: optim.AdamW(lr=0.001)")
    return chosen if schedule == "constant" else replace(chosen, schedule=SCHEDULES[schedule](steps))
