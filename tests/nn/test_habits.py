"""Names from other libraries are answered with what to write here."""

from __future__ import annotations

import re

import numpy as np
import pytest

import striate as st
from striate import habits, nn, optim


@pytest.mark.parametrize(
    ("place", "name", "answer"),
    [
        (nn, "Dense", "nn.Linear(in_features, out_features)"),
        (nn, "Conv2D", "nn.Conv2d(in_channels"),
        (nn, "Linaer", "did you mean 'Linear'?"),
        (nn, "leakyrelu", "did you mean 'LeakyReLU'?"),
        (nn.ReLU(), "fit", "st.Trainer(model"),
        (nn.ReLU(), "eval", "model(x) predicts"),
        (nn.ReLU(), "state_dcit", "did you mean 'state_dict'?"),
        (optim, "Sgd", "did you mean 'SGD'?"),
        (optim, "CosineAnnealingLR", "optim.CosineSchedule"),
        (st, "no_grad", "model(x) computes no gradients"),
        (st, "Trainr", "did you mean 'Trainer'?"),
    ],
)
def test_the_answer_names_what_exists_here(place: object, name: str, answer: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(answer)):
        getattr(place, name)


def test_unknown_names_are_still_no_attributes() -> None:
    assert not hasattr(nn, "Dense")
    assert not hasattr(st, "zzz")
    assert st.train.Trainer is st.Trainer


@pytest.mark.parametrize("table", [habits.LAYERS, habits.MODULE, habits.OPTIMIZERS, habits.PACKAGE])
def test_every_answer_names_things_that_exist(table: dict[str, str]) -> None:
    for answer in table.values():
        for place, name in re.findall(r"(?<!')\b(nn|optim|st|model)\.(\w+)", answer):
            owner = {"nn": nn, "optim": optim, "st": st, "model": nn.ReLU()}[place]
            assert hasattr(owner, name), f"{place}.{name} in {answer!r}"


def test_modules_in_plain_lists_are_refused_with_the_cure() -> None:
    class Own(nn.Module):
        def __init__(self, layers: object) -> None:
            self.layers = layers

    for held, kind in (([nn.ReLU()], "ModuleList"), ((nn.ReLU(),), "ModuleList"), ({"a": nn.ReLU()}, "ModuleDict")):
        with pytest.raises(st.StriateError, match=rf"self.layers = nn.{kind}"):
            Own(held)
    Own([1, "two"])  # other lists are as usual


def test_module_list_and_dict_are_trained_and_saved() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Tanh()])
            self.layers.append(nn.Linear(4, 2))
            self.heads = nn.ModuleDict({"left": nn.Linear(2, 2)})
            self.heads["right"] = nn.Linear(2, 2)

        def forward(self, x: nn.module.Value) -> nn.module.Value:
            for layer in self.layers:
                x = layer(x)
            return self.heads["left"](x) + self.heads["right"](x)

    model = Own()
    assert list(model.state_dict()) == [
        f"{path}.{name}"
        for path in ("layers.0", "layers.2", "heads.left", "heads.right")
        for name in ("weight", "bias")
    ]
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    x, y = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32), np.arange(8) % 2
    before = model.state_dict()
    step(x, y)
    assert all((before[name] != array).any() for name, array in model.state_dict().items())
    assert (len(model.layers), len(model.heads), list(model.heads)) == (3, 2, ["left", "right"])
    assert model.layers[1:][0] is model.layers[1]


def test_a_slice_of_a_chain_shares_its_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    body = model[:-1]
    assert [name for name, _ in body.named_modules() if name] == ["0", "1"]
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(model[2](body(x)), model(x))
