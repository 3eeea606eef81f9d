"""Names from other libraries raise errors that name striate's equivalent."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import numpy as np
import pytest

import striate as st
from striate import habits, nn, optim

DATA = st.data.Dataset(np.ones((8, 3), np.float32), np.arange(8) % 2)
TRAINER = st.Trainer(nn.Sequential(nn.Linear(3, 2)), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), progress=False)


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
        (TRAINER.step, "backward", "loss = step(x, y)"),
        (TRAINER.step.optimizer, "zero_grad", "leave it out"),
        (DATA, "targets", "data.labels"),
        (st.data, "DataLoader", "st.data.batches(data"),
        (st.models, "ResNet18", "did you mean 'resnet18'?"),
        (st.ops, "max_pool2d", "st.ops.max_pool, whatever"),
        (st.ops, "cat", "st.ops.concat"),
        (st.ops, "softmx", "did you mean 'softmax'?"),
        (TRAINER, "predict", "trainer.model(x)"),
        (TRAINER, "save", "st.save(trainer.model"),
        (TRAINER, "fitt", "did you mean 'fit'?"),
        (TRAINER.history, "history", "history.losses"),
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


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: optim.SGD(learning_rate=0.1), "SGD has no argument 'learning_rate'; did you mean 'lr'?"),
        (lambda: optim.Adam(lr=0.1, beta_1=0.9), "did you mean 'betas'?"),
        (lambda: optim.SGD(TRAINER.model.parameters(), lr=0.1), "an optimizer is given no parameters"),
        (lambda: optim.SGD(TRAINER.model.parameters(), 0.1), "an optimizer is given no parameters"),
        (lambda: nn.Conv2d(3, 4, 3, activation="relu"), "nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())"),
        (lambda: nn.Conv2d(filters=3, kernel_size=3), "did you mean 'out_channels'?"),
        (lambda: nn.Linear(3), "Linear: missing a required argument: 'out_features'"),
        (lambda: nn.Sequential([nn.ReLU()]), "nn.Sequential(*layers)"),
        (lambda: TRAINER.model.to("cuda:0"), "striate runs on the CPU"),
        (lambda: TRAINER.fit(DATA, DATA, 2), "fit takes 2 arguments without a name, not 3"),
        (lambda: TRAINER.fit(DATA, validation_data=DATA, epochs=2), "did you mean 'validation'?"),
        (lambda: st.Trainer(TRAINER.model, TRAINER.step.loss, optim.SGD(lr=0.1), epochs=3), "trainer.fit(train_set, e"),
        (lambda: st.data.Dataset(DATA.images, DATA.labels, class_names="ab"), "did you mean 'classes'?"),
        (lambda: st.data.Dataset(DATA.images, -1 - DATA.labels), "labels.astype(np.float32), if they are measured"),
        (lambda: st.models.resnet18(num_classes=3), "resnet18 has no argument 'num_classes'; did you mean 'classes'?"),
        (lambda: st.data.Standardizer(DATA.images), "data.Standardizer.fit(images)"),
        (lambda: st.Trainer(TRAINER.model, TRAINER.step.optimizer, TRAINER.step.loss), "the order is model, loss, opt"),
        (lambda: st.save("model.safetensors", TRAINER.model), "the model comes first"),
        (lambda: TRAINER.fit(st.data.open_data("digits"), epochs=1), "fit(found.train, found.held_out, epochs=10)"),
        (lambda: TRAINER.fit("digits", epochs=1), "st.data.open_data(name).train"),
        (lambda: TRAINER.history["val_loss"], "history.validation_losses"),
        (lambda: TRAINER.step(DATA.images, np.array(["a", "b"] * 4)), "np.unique(y, return_inverse=True)"),
    ],
)  # fmt: skip
def test_calls_as_elsewhere_are_answered_with_the_call_here(call: Callable[[], object], answer: str) -> None:
    with pytest.raises(st.StriateError, match=re.escape(answer)):
        call()


def test_errors_inside_of_a_constructor_stay_what_they_are() -> None:
    class Own(nn.Module):
        def __init__(self, size: int) -> None:
            self.sizes = size + "1"  # pyright: ignore[reportOperatorIssue]

    with pytest.raises(TypeError, match="unsupported operand"):
        Own(3)
    with pytest.raises(st.StriateError, match="'sise'; did you mean 'size'"):
        Own(sise=3)
    assert list(inspect.signature(Own).parameters) == ["size"]


@pytest.mark.parametrize(
    "table",
    [
        habits.LAYERS, habits.MODULE, habits.OPTIMIZERS, habits.PACKAGE, habits.TRAINER, habits.HISTORY,
        habits.ARGUMENTS, habits.FIRST_ARGUMENTS, habits.STEP, habits.OPTIMIZER, habits.DATASET, habits.DATA,
        habits.OPERATIONS, habits.CONSTRUCTORS,
    ],
)  # fmt: skip
def test_every_answer_names_things_that_exist(table: dict[str, str]) -> None:
    for answer in table.values():
        for place, name in re.findall(r"(?<!')\b(nn|optim|st|model|trainer|history|step|data)\.(\w+)", answer):
            owner = {
                "nn": nn, "optim": optim, "st": st, "model": nn.ReLU(), "trainer": TRAINER, "history": TRAINER.history,
                "step": TRAINER.step, "data": DATA if hasattr(DATA, name) else st.data,
            }[place]  # fmt: skip
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
