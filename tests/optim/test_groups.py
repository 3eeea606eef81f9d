"""Parameter groups: other options for parameters whose names match a pattern, within the same update."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate.errors import OptionError
from tests.optim.peer import RULES, compare, gradients, network, started

GROUPS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # (a rule, the options of biases, the options of "1.*", which come later)
    "sgd": ("momentum and decay", {"weight_decay": 0.0}, {"lr": 0.3}),
    "sgd without momentum": ("momentum", {"momentum": 0.0}, {"lr": 0.3}),
    "sgd with momentum": ("sgd", {"momentum": 0.5}, {"weight_decay": 0.1}),
    "adam": ("adam with options", {"betas": (0.1, 0.8)}, {"eps": 1.0, "lr": 0.001}),
    "adamw": ("adamw with options", {"weight_decay": 0.0}, {"lr": 0.5}),
    "amsgrad": ("adam", {"amsgrad": True}, {"lr": 0.5}),
    "rmsprop": ("rmsprop centered", {"alpha": 0.5}, {"momentum": 0.0}),
    "nadam": ("nadam with options", {"betas": (0.5, 0.9)}, {"momentum_decay": 0.5}),
    "radam": ("radam with options", {"betas": (0.5, 0.9)}, {"lr": 0.5}),
    "adagrad": ("adagrad with options", {"lr_decay": 0.5}, {"weight_decay": 0.0}),
    "maximize": ("sgd", {"maximize": True}, {"lr": 0.5}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_thirty_steps_are_those_of_pytorchs_groups(name: str, torch: Any) -> None:
    rule, of_biases, of_last = GROUPS[name]
    ours, kind, options = RULES[rule]

    def groups(theirs: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"params": [theirs["0.weight"]]},
            {"params": [theirs["0.bias"]], **of_biases},
            {"params": [theirs["1.weight"]], **of_last},
            {"params": [theirs["1.bias"]], **of_biases, **of_last},
        ]

    compare(torch, ours(**options, groups={"*.bias": of_biases, "1.*": of_last}), kind, options, groups=groups)


def test_the_later_pattern_counts() -> None:
    """With a layerwise optimizer, the last pattern freezes the bias, and all rates but one are 0."""
    for kind in (optim.SGD, optim.LAMB):
        model = network()
        rule = kind(lr=0.0, groups={"1.*": {"lr": 0.1}, "*.bias": {"lr": 0.0}})
        step, before = started(model, rule), model.state_dict()
        step.update(gradients(0, {name: np.shape(array) for name, array in before.items()}))
        moved = [name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])]
        assert moved == ["1.weight"]


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW, optim.LAMB])
def test_norm_and_bias_need_not_decay(kind: type[optim.Optimizer]) -> None:
    """With zero gradients only weight decay changes parameters, and it must not change any vector."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).initialize(0).double()
    rule = kind(lr=0.1, weight_decay=0.1, decay_norm_and_bias=False)  # pyright: ignore[reportCallIssue]
    step = TrainingStep(model, nn.MSELoss(), rule)
    step.gradients(np.ones((2, 3)), np.ones((2, 2)))
    before = model.state_dict()
    step.update({name: np.zeros_like(array) for name, array in model.named_parameters()})
    after = model.state_dict()
    moved = [name for name, _ in model.named_parameters() if not np.array_equal(after[name], before[name])]
    assert moved == ["0.weight", "2.weight"]
    assert {name: rule.weight_decay for name in step.rules.place for rule in [step.rules.rule_of(name)]} == {  # pyright: ignore[reportAttributeAccessIssue]
        "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.1, "2.bias": 0.0,
    }  # fmt: skip


def test_frozen_parameters_have_no_rule_but_may_be_named() -> None:
    model = network()
    for parameter in model[0].own_state().values():
        parameter.requires_grad = False
    step = started(model, optim.SGD(lr=0.1, momentum=0.9, groups={"0.*": {"lr": 0.5}, "1.bias": {"lr": 0.2}}))
    before = model.state_dict()
    step.update(gradients(0, {name: np.shape(before[name]) for name in ("1.weight", "1.bias")}))
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) == name.startswith("0.") for name in before)
    assert set(step.rules.place) == {"1.weight", "1.bias"}
    for parameter in model[0].own_state().values():
        parameter.requires_grad = True
    step.gradients(np.zeros((1, 3)), np.zeros((1, 2)))
    assert {name: step.rules.rule_of(name).lr for name in step.rules.place} == {
        "0.weight": 0.5, "0.bias": 0.5, "1.weight": 0.1, "1.bias": 0.2,
    }  # fmt: skip


@pytest.mark.slow
def test_many_groups() -> None:
    """More groups than one byte can number."""
    count = 300
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(count))).initialize(0).double()
    rates = {f"{place}.weight": {"lr": (place + 1) / count} for place in range(count)}
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.0, groups=rates))
    step.gradients(np.zeros((1, 1)), np.zeros((1, 1)))
    before = model.state_dict()
    step.update({name: np.ones_like(array) for name, array in before.items()})
    for place, (name, array) in enumerate(model.state_dict().items()):
        np.testing.assert_allclose(before[name] - array, (place + 1) / count, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(lr=0.1, groups=["*.bias"]), "expected patterns and their options"),
        (lambda: optim.SGD(lr=0.1, groups={"*.bias": 0.5}), "expected a pattern of names and its options"),
        (lambda: optim.SGD(lr=0.1, groups={3: {}}), "expected a pattern of names and its options"),
        (lambda: optim.SGD(lr=0.1, groups={"a": {"wd": 0}}), r"unknown option of SGD in groups\['a'\] 'wd'"),
        (lambda: optim.SGD(lr=0.1, groups={"a": {"momentm": 0}}), "did you mean 'momentum'"),
        (lambda: optim.SGD(lr=0.1, groups={"a": {"groups": {}}}), "unknown option"),
        (lambda: optim.SGD(lr=0.1, groups={"*.bias": {"lr": -1}}), r"groups\['\*.bias'\]: SGD: lr=-1"),
        (lambda: optim.Adagrad(groups={"a": {"schedule": optim.OneCycleSchedule(9)}}), "has no momentum"),
    ],
)
def test_groups_without_a_meaning_are_refused(make: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


def test_a_pattern_that_matches_nothing_is_refused_at_once() -> None:
    rule = optim.SGD(lr=0.1, groups={"1.wieght": {"lr": 0.2}})
    with pytest.raises(
        OptionError, match=r"groups\['1.wieght'\] matches no parameter\n  near names: 1.weight, 0.weight"
    ):
        TrainingStep(network(), nn.MSELoss(), rule)


def test_groups_that_contradict_each_other_are_refused_by_name() -> None:
    rule = optim.SGD(lr=0.1, momentum=0.9, groups={"1.*": {"nesterov": True}, "*.bias": {"momentum": 0.0}})
    with pytest.raises(OptionError, match=r"groups, at '1.bias': SGD: nesterov=True needs momentum"):
        TrainingStep(network(), nn.MSELoss(), rule)
