"""Choose network, optimizer, schedule and callbacks of a training from the options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from striate.cli.parameter_groups import parsed_groups
from striate.errors import OptionError, unknown_option
from striate.models import options_of
from striate.optim import OPTIMIZERS, SCHEDULES, SGD, Optimizer, Schedule, WarmupSchedule
from striate.options import number, whole_number
from striate.step import Clipping
from striate.train.callback import Callback
from striate.train.early_stopping import EarlyStopping
from striate.train.task import Usual

USUAL = {
    "digits": Usual("lenet5", 20, 32),  # only 1,442 pictures, so many passes
    "mnist": Usual("lenet5", 3, 64),
    "fashion_mnist": Usual("lenet5", 5, 64),
    "cifar10": Usual("vgg_small", 5, 64),
    "cifar100": Usual("vgg_small", 10, 64),
}
"""The default training for the data sets that are known by name."""
MOMENTUM = 0.9
_OF_PYTHON = ("schedule", "groups", "maximize", "decay_norm_and_bias")
"""Options that all optimizers have in Python, which error messages about the command line do not list."""


@dataclass(frozen=True)
class Chosen:
    """The model, epochs and batch size of a training: defaults for the data, or values from the command line."""

    model: str
    epochs: int
    batch_size: int


def chosen_options(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the model: its defaults, replaced by the given values that are not None.

    Given options that the model does not have are kept; ``models.build`` then raises an error that lists the options of
    the model.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    return {name: default for name, default in options_of(model).items() if name in given} | asked


def chosen_schedule(name: str, steps: int, warmup: float = 0) -> Schedule:
    """Return the schedule with this name over ``steps`` steps, the first ``warmup`` of which are a linear warmup.

    A ``warmup`` below 1 is a share of the steps. Raises ``OptionError`` for an unknown name, for a warmup that leaves
    no step after it, and for a ``warmup`` above 1 that is not a whole number.
    """
    if name not in SCHEDULES:
        raise unknown_option("schedule", name, SCHEDULES)
    if 0 < warmup < 1:
        rise = int(warmup * steps)
    else:
        rise = whole_number("--warmup", int(warmup) if warmup == int(warmup) else warmup, 0, max(steps - 1, 0))
    schedule = SCHEDULES[name](steps - rise)
    return WarmupSchedule(schedule, rise, 1 / (rise + 1)) if rise else schedule


def chosen_optimizer(
    name: str,
    lr: float | None,
    momentum: float | None,
    weight_decay: float | None,
    schedule: Schedule,
    decay_norm_and_bias: bool = True,
    nesterov: bool = False,
    groups: str = "",
) -> Optimizer:
    """Return the optimizer with this name; raises ``OptionError`` for an option that the optimizer does not have.

    None selects the optimizer's default: the usual learning rate, and for SGD a momentum of 0.9.
    ``decay_norm_and_bias`` says whether the weight decay also applies to biases and normalizations. ``groups`` has
    other options for some parameters, as in "*.bias:lr=64x" (see ``parsed_groups``); "" if there are none.
    """
    if name not in OPTIMIZERS:
        raise unknown_option("optimizer", name, OPTIMIZERS)
    kind = OPTIMIZERS[name]
    known = [one.name for one in fields(kind)]
    options: dict[str, Any] = {"momentum": MOMENTUM} if issubclass(kind, SGD) else {}
    given = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov or None}
    options |= {option: value for option, value in given.items() if value is not None}
    if unknown := [option for option in options if option not in known]:
        raise unknown_option(f"option of {name}", unknown[0], [one for one in known if one not in _OF_PYTHON])
    rate = kind.usual_lr if lr is None else lr
    rule = kind(lr=rate, schedule=schedule, decay_norm_and_bias=decay_norm_and_bias, **options)
    if not groups:
        return rule
    usual = {one.name: float(getattr(rule, one.name)) for one in fields(kind) if one.name in ("lr", "weight_decay")}
    return replace(rule, groups=parsed_groups(groups, usual))


def chosen_callbacks(patience: int | None, min_delta: float) -> tuple[Callback, ...]:
    """Return the callback for early stopping, or () if ``patience`` is None.

    Raises ``OptionError`` for invalid values, and for a ``min_delta`` without ``patience``.
    """
    if patience is None:
        if min_delta:
            raise OptionError("--min-delta has no effect without --patience")
        return ()
    return (EarlyStopping(patience, min_delta=min_delta),)


def require_step_options(max_norm: float | None, clip_value: float | None, accumulate: int, ema: float | None) -> None:
    """Raise ``OptionError`` for options that the training step would refuse.

    It is called before the run folder is created, so that a wrong option leaves no folder behind.
    """
    Clipping(max_norm, clip_value)
    whole_number("accumulate", accumulate, 1)
    if ema is not None:
        number("ema", ema, 0, below=1)
