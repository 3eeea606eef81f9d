"""The code of a remedy builds the optimizer that the remedy applies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from striate import nn, optim
from striate.doctor.changes.training import LearningRate
from striate.doctor.setup import Setup

RULES = [
    optim.SGD(lr=0.5, momentum=0.9, nesterov=True),
    optim.AdamW(lr=0.5, betas=(0.8, 0.9), amsgrad=True, groups={"*.bias": {"weight_decay": 0.0}}),
    optim.LAMB(lr=0.5, weight_decay=0.01, decay_norm_and_bias=False),
    optim.RMSprop(lr=0.5, maximize=True),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_options_stay_as_they_are(rule: optim.Optimizer) -> None:
    setup = Setup(nn.Sequential(nn.Linear(3, 2)), nn.MSELoss(), rule)
    change = LearningRate(0.01)
    names: dict[str, object] = {"optim": optim}
    exec(change.code(setup), names)
    assert names["optimizer"] == change.apply(setup).optimizer == replace(rule, lr=0.01)
