"""Invalid options of optimizers and schedules are refused with the allowed range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from striate import optim
from striate.errors import OptionError

REFUSED: list[tuple[type, dict[str, Any], str]] = [
    (optim.SGD, {"lr": -1}, "SGD: lr=-1; expected a finite number of 0 or more"),
    (optim.SGD, {"lr": math.nan}, "lr=nan"),
    (optim.SGD, {"lr": math.inf}, "lr=inf"),
    (optim.SGD, {"lr": None}, "lr=None"),
    (optim.SGD, {"lr": "0.1"}, "lr='0.1'"),
    (optim.SGD, {"lr": True}, "lr=True"),
    (optim.SGD, {"momentum": -0.1}, "SGD: momentum=-0.1; expected a finite number of 0 or more and below 1"),
    (optim.SGD, {"momentum": 1}, "SGD: momentum=1; .* below 1"),
    (optim.SGD, {"momentum": 0.9, "dampening": 1.0}, "SGD: dampening=1.0; .* below 1"),
    (optim.SGD, {"momentum": 1.5}, "momentum=1.5"),
    (optim.SGD, {"momentum": math.nan}, "momentum=nan"),
    (
        optim.SGD,
        {"momentum": 0.9, "dampening": 5},
        "SGD: dampening=5; .* of 0 or more and below 1",
    ),
    (optim.SGD, {"momentum": 0.9, "dampening": math.nan}, "dampening=nan"),
    (optim.SGD, {"momentum": 0.9, "dampening": "a"}, "dampening='a'"),
    (optim.SGD, {"dampening": 0.5}, "has no effect without momentum"),
    (optim.SGD, {"weight_decay": -1}, "weight_decay=-1; expected a finite number of 0 or more"),
    (optim.SGD, {"weight_decay": math.inf}, "weight_decay=inf"),
    (optim.SGD, {"nesterov": "no"}, "SGD: nesterov='no'; expected True or False"),
    (optim.SGD, {"nesterov": True}, "needs momentum above 0"),
    (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening=0"),
    (optim.SGD, {"schedule": None}, "schedule=None; expected a schedule"),
    (optim.SGD, {"schedule": "cosine"}, "help: optim.ConstantSchedule"),
    (optim.SGD, {"schedule": optim.CosineSchedule(9, minimum=0.2)}, "minimum=0.2 is above lr=0.1"),
    (optim.Adam, {"betas": 0.9}, "betas=0.9; expected two numbers"),
    (optim.Adam, {"betas": (0.9,)}, "expected two numbers"),
    (optim.Adam, {"betas": (0.9, 0.99, 0.9)}, "expected two numbers"),
    (optim.Adam, {"betas": "ab"}, "expected two numbers"),
    (optim.Adam, {"betas": (1.0, 0.9)}, r"betas\[0\]=1.0; expected a finite number of 0 or more and below 1"),
    (optim.Adam, {"betas": (0.9, None)}, r"betas\[1\]=None"),
    (optim.Adam, {"eps": -1e-8}, "eps=-1e-08"),
    (optim.Adam, {"weight_decay": math.nan}, "Adam: weight_decay=nan"),
    (optim.SGD, {"maximize": 1}, "SGD: maximize=1; expected True or False"),
    (optim.SGD, {"decay_norm_and_bias": 0}, "decay_norm_and_bias=0; expected True or False"),
    (optim.AdamW, {"weight_decay": -1}, "AdamW: weight_decay=-1"),
    (optim.AdamW, {"amsgrad": 1}, "AdamW: amsgrad=1; expected True or False"),
    (optim.NAdam, {"momentum_decay": -1}, "momentum_decay=-1"),
    (optim.NAdam, {"decoupled_weight_decay": "no"}, "decoupled_weight_decay='no'"),
    (optim.RAdam, {"decoupled_weight_decay": 2}, "RAdam: decoupled_weight_decay=2"),
    (optim.RMSprop, {"alpha": 1.0}, "RMSprop: alpha=1.0; expected a finite number of 0 or more and below 1"),
    (optim.RMSprop, {"momentum": 1}, "RMSprop: momentum=1; .* below 1"),
    (optim.RMSprop, {"momentum": -1}, "RMSprop: momentum=-1"),
    (optim.RMSprop, {"centered": None}, "RMSprop: centered=None"),
    (optim.Adagrad, {"lr_decay": -1}, "Adagrad: lr_decay=-1"),
    (optim.Adagrad, {"initial_accumulator_value": math.inf}, "initial_accumulator_value=inf"),
    (optim.Adagrad, {"initial_accumulator_value": 1e39}, "exceeds float32"),
    (optim.Adagrad, {"schedule": optim.OneCycleSchedule(9)}, "no momentum that its schedule could cycle"),
    (optim.Lion, {"betas": (0.9, 1.0)}, r"Lion: betas\[1\]=1.0"),
    (optim.LAMB, {"eps": -1}, "LAMB: eps=-1"),
    (optim.StepSchedule, {"step_size": 0}, "StepSchedule: step_size=0; expected a whole number of 1 or more"),
    (optim.StepSchedule, {"step_size": 5, "gamma": 0}, "gamma=0; expected a finite number above 0"),
    (optim.MultiStepSchedule, {"milestones": ()}, "expected numbers of steps"),
    (optim.MultiStepSchedule, {"milestones": 5}, "milestones=5; expected numbers of steps"),
    (optim.MultiStepSchedule, {"milestones": (5, 5)}, "expected an increasing order"),
    (optim.MultiStepSchedule, {"milestones": (0, 5)}, r"milestones\[0\]=0; expected a whole number of 1 or more"),
    (optim.ExponentialSchedule, {"gamma": -1}, "gamma=-1; expected a finite number above 0"),
    (optim.PolynomialSchedule, {"total_steps": 0}, "total_steps=0"),
    (optim.PolynomialSchedule, {"total_steps": 5, "power": 0}, "power=0; expected a finite number above 0"),
    (optim.CosineRestartsSchedule, {"first_steps": 0}, "first_steps=0"),
    (optim.CosineRestartsSchedule, {"first_steps": 5, "factor": 1.5}, "factor=1.5; expected a whole number"),
    (
        optim.OneCycleSchedule,
        {"total_steps": 9, "pct_start": 1.5},
        "pct_start=1.5; expected a finite number from 0 to 1",
    ),
    (
        optim.OneCycleSchedule,
        {"total_steps": 9, "pct_start": 0.6, "three_phase": True},
        "pct_start=0.6; .* from 0 to 0.5",
    ),
    (optim.OneCycleSchedule, {"total_steps": 9, "anneal_strategy": "sine"}, "known: cos, linear"),
    (optim.OneCycleSchedule, {"total_steps": 9, "base_momentum": 0.99}, "base_momentum=0.99; .* from 0 to 0.95"),
    (optim.OneCycleSchedule, {"total_steps": 9, "div_factor": 0.5}, "div_factor=0.5; expected a finite number of 1"),
    (optim.WarmupSchedule, {"schedule": "cosine"}, "schedule='cosine'; expected a schedule"),
    (optim.WarmupSchedule, {"schedule": optim.ConstantSchedule}, "expected a schedule"),
    (optim.WarmupSchedule, {"schedule": optim.ConstantSchedule(), "steps": 0}, "steps=0"),
    (optim.WarmupSchedule, {"schedule": optim.ConstantSchedule(), "start_factor": 0}, "start_factor=0"),
    (optim.SequentialSchedule, {"schedules": (), "milestones": ()}, "expected several schedules"),
    (
        optim.SequentialSchedule,
        {"schedules": (optim.ConstantSchedule(), optim.ConstantSchedule()), "milestones": (3, 5)},
        "2 schedules and 2 milestones; expected one milestone between",
    ),
    (
        optim.SequentialSchedule,
        {"schedules": (optim.ConstantSchedule(), optim.OneCycleSchedule(9)), "milestones": (3,)},
        "only some of the schedules cycle the momentum",
    ),
    (
        optim.SGD,
        {"schedule": optim.WarmupSchedule(optim.CosineRestartsSchedule(9, minimum=0.2))},
        "minimum=0.2 is above lr=0.1",
    ),
    (optim.CosineSchedule, {"total_steps": 0}, "CosineSchedule: total_steps=0; expected a whole number of 1 or more"),
    (optim.CosineSchedule, {"total_steps": 2.5}, "total_steps=2.5"),
    (optim.CosineSchedule, {"total_steps": True}, "total_steps=True"),
    (optim.CosineSchedule, {"total_steps": "9"}, "total_steps='9'"),
    (optim.CosineSchedule, {"total_steps": 3, "warmup": 3}, "warmup=3; expected a whole number from 0 to 2"),
    (optim.CosineSchedule, {"total_steps": 3, "warmup": 1.5}, "warmup=1.5"),
    (optim.CosineSchedule, {"total_steps": 3, "minimum": -1}, "minimum=-1; expected a finite number of 0 or more"),
    (optim.CosineSchedule, {"total_steps": 3, "minimum": math.nan}, "minimum=nan"),
]


@pytest.mark.parametrize(("make", "options", "message"), REFUSED)
def test_what_has_no_meaning_is_refused(make: type, options: dict[str, Any], message: str) -> None:
    rate = {} if issubclass(make, optim.Schedule) else {"lr": 0.1}
    with pytest.raises(OptionError, match=message):
        make(**{**rate, **options})


def test_the_ends_of_the_ranges_and_numpy_numbers_are_taken() -> None:
    optim.SGD(lr=0)
    optim.SGD(lr=np.float32(0.1), momentum=np.float64(0.9), dampening=0.5, nesterov=False)
    optim.Adam(lr=1, betas=(0, np.float32(0)), eps=0)
    optim.CosineSchedule(np.int64(3), minimum=0, warmup=2)  # pyright: ignore[reportArgumentType]
    optim.SGD(lr=0.2, schedule=optim.CosineSchedule(9, minimum=0.2))
