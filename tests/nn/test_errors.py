"""Wrong shapes are explained layer by layer, with a remedy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import DTypeError, EngineError, OptionError, ShapeError
from striate.graph.value import Array, Value


def test_the_trail_from_a_convolution_to_a_linear_layer() -> None:
    model = nn.Sequential(
        {
            "conv1": nn.Conv2d(3, 16, 3, padding=1),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(16, 32, 3, padding=1),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(128, 10),
        }
    )
    with pytest.raises(ShapeError) as caught:
        model(np.zeros((2, 3, 32, 32)))
    assert str(caught.value) == (
        'at "fc1" Linear(in_features=128): its input has 2048 features\n'
        "  input (N, 3, 32, 32) → conv1 (N, 16, 32, 32) → pool1 (N, 16, 16, 16)\n"
        "  → conv2 (N, 32, 16, 16) → pool2 (N, 32, 8, 8) → flatten (N, 2048)\n"
        "  32·8·8 = 2048, not 128\n"
        "  help: Linear(2048, 10), or Linear(None, 10) to have it inferred"
    )


@pytest.mark.parametrize(
    ("model", "shape", "messages"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(None, 2)),
            (2, 3, 8, 8),
            [r'at "1" Linear', "is not flat", "4·6·6 = 144", r"help: put Flatten\(\) before it"],
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(100, 2)),
            (2, 3, 8, 8),
            ["is not flat", "4·6·6 = 144", r"put Flatten\(\) before it; its input then has 144"],
        ),
        (nn.Sequential(nn.Linear(7, 2)), (2, 3, 8), ["its input has 8 features", "8, not 7"]),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3)),
            (2, 8, 8, 3),
            ["looks channels-last", r"help: x\.transpose\(0, 3, 1, 2\)"],
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 9)),
            (2, 3, 8, 8),
            ["window of 9×9 is larger than its input of 8×8", "help: use a smaller kernel"],
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (2, 1, 8, 8), ["its input has 1 channel\n", r"help: Conv2d\(1, 4"]),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8), ["has 3 axes, not 4", r"x\[None\]"]),
        (nn.Sequential(nn.Conv1d(3, 4, 3)), (2, 3, 8, 8), ["has 4 axes, not 3"]),
        (nn.Sequential(nn.ConvTranspose1d(3, 4, 3)), (2, 3, 8, 8), ["has 4 axes, not 3"]),
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 3)), (2, 5, 8, 8), ["has 5 channels", r"ConvTranspose2d\(5, 4"]),
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 1, padding=9)), (2, 3, 8, 8), ["leaves no positions", 'at "0"']),
        (nn.Sequential(nn.Conv2d(None, 4, 3, groups=2)), (2, 3, 8, 8), ["do not split into 2 groups"]),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=8, padding_mode="reflect")), (2, 3, 8, 8), ['at "0" Conv2d']),
        (nn.Sequential(nn.MaxPool2d(9)), (2, 3, 8, 8), ["window of 9×9 is larger than its input of 8×8"]),
        (nn.Sequential(nn.Flatten(), nn.MaxPool2d(2)), (2, 3, 8, 8), ["a Flatten too early"]),
        (nn.Sequential(nn.BatchNorm2d(3)), (2, 4, 8, 8), ["its input has 4 channels", r"BatchNorm2d\(4\)"]),
        (nn.Sequential(nn.BatchNorm1d(3)), (2, 3, 8, 8), ["has 4 axes", "BatchNorm2d for"]),
        (
            nn.Sequential(nn.Residual(nn.Conv2d(3, 4, 3, padding=1))),
            (2, 3, 8, 8),
            [r'at "0" Residual', r"\(N, 4, 8, 8\), its shortcut \(N, 3, 8, 8\)", "help: use a shortcut"],
        ),
        (
            nn.Sequential(nn.Concat(nn.Conv2d(3, 4, 3), nn.Identity())),
            (2, 3, 8, 8),
            [r'at "0" Concat', r"→ 0\.0 \(N, 4, 6, 6\)"],
        ),
        (nn.Sequential(nn.Linear(3, 2)), (3,), ["no axis of features", r"x\[:, None\]"]),
        (nn.Sequential(nn.Linear(3, 2)), (2, 5, 4), ["its input has 4 features", r"help: Linear\(4, 2\)"]),
        (nn.Sequential(nn.Linear(20, 2)), (2, 5, 4), ["is not flat", "5·4 = 20", r"help: put Flatten\(\)"]),
        (nn.Sequential(nn.Flatten(0)), (2, 5, 4), [r'at "0" Flatten', "axis 0", "batched=False"]),
        (nn.Sequential(nn.Flatten(3)), (2, 5, 4), [r'at "0" Flatten', "axis 3 does not exist"]),
        (nn.Sequential(nn.Unflatten(1, (2, 2))), (2, 5), [r'at "0" Unflatten', r"product 5"]),
    ],
)
def test_shapes(model: nn.Module, shape: tuple[int, ...], messages: list[str]) -> None:
    for message in messages:
        with pytest.raises(ShapeError, match=message):
            model(np.zeros(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="reflct"), "did you mean 'reflect'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "padding_mode 'reflect'\n  known: zeros"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1), "smaller than the larger of stride"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), "takes whole numbers\n  help: padding="),
        (lambda: nn.ConvTranspose2d(4, 3, 3, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv2d(3, 4, 3, padding="sam"), "did you mean 'same'"),
        (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), "needs stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Linear(3, 4, init="kaiming"), "known: torch, he, xavier, orthogonal"),
        (lambda: nn.MaxPool2d(2, padding=2), "more than half"),
        (lambda: nn.Dropout(1.5), "from 0 to 1"),
        (lambda: nn.CrossEntropyLoss(reduction="max"), "known: mean, sum"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2.0), "from 0 to 1"),
        (lambda: nn.AdaptiveAvgPool2d((7, 7, 7)), "must be one number or 2"),
    ],
)
def test_options(make: Callable[[], object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


def test_arrays_that_graphs_do_not_know() -> None:
    with pytest.raises(DTypeError, match="expects an array of real numbers, not an array of complex128"):
        nn.Flatten()(np.zeros((2, 3), complex))


def test_things_that_are_no_modules() -> None:
    with pytest.raises(OptionError, match="takes modules"):
        nn.Sequential(nn.ReLU(), "tanh")  # type: ignore[arg-type]


def test_inputs_of_different_lengths() -> None:
    class Two(nn.Module):
        def forward(self, a: object, b: object) -> object:
            return a + b  # type: ignore[operator]

    with pytest.raises(ShapeError, match="different numbers of samples"):
        Two()(np.zeros((2, 3)), np.zeros((3, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.ops.conv(_zeros(1, 1, 4, 4), _zeros(1, 1, 3, 3), padding=10**6),
        lambda: st.ops.conv(_zeros(1, 1, 4, 4), _zeros(1, 1, 3, 3), padding=10**9),
        lambda: st.ops.conv_transpose(_zeros(1, 1, 40, 40), _zeros(1, 1, 3, 3), stride=10**5),
        lambda: nn.Linear(10**6, 10**7)(_zeros(1, 10**6)),
    ],
)
def test_sizes_above_the_memory_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(EngineError, match=r"GiB of memory are needed(.|\n)*help: a smaller"):
        call()


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


class Halves(nn.Module):
    """A layer of a user, which applies several operations."""

    def forward(self, x: Value) -> Value:
        return st.ops.glu(x) + x


def test_an_operation_in_a_layer_of_ones_own_is_named() -> None:
    model = nn.Sequential({"halves": Halves()})
    with pytest.raises(ShapeError, match=r'^at "halves" Halves\(\): glu: axis 1 of f32 \(N, 3\) has no halves'):
        model(np.ones((2, 3), np.float32))
    with pytest.raises(ShapeError, match=r'^at "halves" Halves\(\): add: shapes do not broadcast'):
        model(np.ones((2, 4), np.float32))
    with pytest.raises(ShapeError, match=r"help: give an input with 4 axes$"):
        nn.Conv2d(3, 4, 3)(np.ones((2, 3), np.float32))
