"""The named networks have the structure that the benchmarks state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from striate import models, nn, ops
from striate.errors import OptionError

SHAPES = {
    "first_cnn": (1, 28, 28),
    "lenet5": (1, 28, 28),
    "vgg_small": (3, 32, 32),
    "airbench": (3, 32, 32),
    "resnet20": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "mlp": (1, 28, 28),
}
# parameters and multiply-adds of one sample
SIZES = {
    "first_cnn": (92_586, 322_560),
    "lenet5": (215_546, 3_024_384),
    "vgg_small": (307_946, 38_653_952),
    "airbench": (1_972_792, 118_147_360),
    "resnet20": (272_474, 40_813_184),
    "resnet18": (11_173_962, 555_422_720),
    "mlp": (97_418, 95_872),
}


SMALL = {name: (3, 32, 32) for name in models.MODELS if name not in SHAPES} | {
    "fcn": (3, 96), "resnet1d": (3, 96), "inception_time": (3, 96), "resnet18_3d": (3, 8, 16, 16),
}  # fmt: skip
"""A small input of every other network."""

PUBLISHED = {
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "vgg11_bn": 132_868_840,
    "vgg16_bn": 138_365_992, "densenet121": 7_978_856, "squeezenet1_1": 1_235_496, "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856, "efficientnet_b0": 5_288_548, "convnext_tiny": 28_589_128,
    "resnet18_3d": 33_371_472,
}  # fmt: skip
"""Parameters with 1,000 classes (400 of the 3-D network), as torchvision 0.29 counts them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_their_parameters(name: str) -> None:
    shape = (3, 16, 112, 112) if name == "resnet18_3d" else (3, 224, 224)
    classes = 400 if name == "resnet18_3d" else 1000
    model = models.build(name, channels=3, classes=classes, stem="imagenet").infer(shape)
    learned = [parameter for _, parameter in model.named_state() if parameter.learned]
    assert sum(math.prod(parameter.sizes) for parameter in learned) == PUBLISHED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_small_inputs_give_a_number_for_each_class(name: str) -> None:
    text = models.build(name, channels=3, classes=7).summary(SMALL[name])
    assert "Error" not in text
    assert ("(N, 7, 32, 32)" if name == "unet" else "(N, 7)") in text


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    total = models.build(name).summary(SHAPES[name]).splitlines()[-1].replace(",", "").split()
    assert (int(total[1]), int(total[2])) == SIZES[name]


@pytest.mark.parametrize("norm", ["before_activation", "block_start", "none"])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("name", ["lenet5", "vgg_small", "resnet20", "resnet18", "mlp"])
def test_choices(name: str, activation: str, norm: str) -> None:
    model = models.build(name, activation=activation, norm=norm, channels=2, classes=7)
    text = model.summary((2, 16, 16))
    assert "(N, 7)" in text
    assert "Error" not in text
    assert ("BatchNorm" in text) == (norm != "none")


def test_first_cnn_is_its_equation() -> None:
    model = models.first_cnn(filters=3).double().infer((1, 9, 9))
    x = np.random.default_rng(0).standard_normal((2, 1, 9, 9))
    hidden = np.tanh(ops.conv(x, model[0].weight, model[0].bias)).reshape(2, -1)
    np.testing.assert_allclose(model(x), hidden @ model[3].weight.T + model[3].bias, rtol=1e-12)


def test_the_norm_stands_where_it_was_asked_for() -> None:
    between = [type(layer).__name__ for layer in models.lenet5()][:4]
    start = [type(layer).__name__ for layer in models.lenet5(norm="block_start")][:4]
    assert between == ["Conv2d", "BatchNorm2d", "LeakyReLU", "MaxPool2d"]
    assert start == ["BatchNorm2d", "Conv2d", "LeakyReLU", "MaxPool2d"]


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(OptionError, match="unknown model 'resnet21'; did you mean 'resnet20'"):
        models.build("resnet21")
    with pytest.raises(OptionError, match="known: before_activation, block_start, none"):
        models.build("lenet5", norm="after")
    with pytest.raises(
        OptionError, match="unknown option of lenet5 'depth'\n  known: activation, norm, negative_slope, init"
    ):
        models.build("lenet5", depth=3)
    with pytest.raises(OptionError, match="known: fitted, torch, he, xavier, orthogonal"):
        models.build("mlp", init="random")
    with pytest.raises(OptionError, match="negative_slope=nan"):
        models.build("mlp", negative_slope=float("nan"))
    with pytest.raises(OptionError, match="mlp: depth=0; expected a whole number of 1 or more"):
        models.build("mlp", depth=0)


def test_slope_and_start_are_those_asked_for() -> None:
    model = models.build("lenet5", negative_slope=0.3, init="orthogonal", norm="none", seed=0).infer((1, 28, 28))
    assert [layer.negative_slope for layer in model if isinstance(layer, nn.LeakyReLU)] == [0.3] * 3
    rows = model[0].weight.reshape(16, 25)
    np.testing.assert_allclose(rows @ rows.T, np.eye(16), atol=1e-5)
    assert not model[0].bias.any()
    like_torch = models.build("lenet5", init="torch", norm="none", seed=0).infer((1, 28, 28))
    assert like_torch[0].bias.any()
    spread = models.build("mlp", activation="relu", seed=0).infer((1, 28, 28))[1].weight.std()
    assert spread == pytest.approx((2 / 784) ** 0.5, rel=0.05)


def test_depth_and_width_of_the_mlp() -> None:
    model = models.build("mlp", depth=3, width=7, norm="none").infer((1, 8, 8))
    assert [layer.weight.shape for layer in model if isinstance(layer, nn.Linear)] == [(7, 64), (7, 7), (7, 7), (10, 7)]


def test_a_seed_decides_the_start() -> None:
    one, same, other = (models.build("lenet5", seed=seed).infer((1, 28, 28)) for seed in (1, 1, 2))
    assert np.array_equal(one[0].weight, same[0].weight)
    assert not np.array_equal(one[0].weight, other[0].weight)
    assert isinstance(one, nn.Sequential)


@pytest.mark.parametrize("bad", [None, "text", ["relu"], 1.5])
def test_options_of_a_wrong_type_are_refused(bad: object) -> None:
    for wrong in ({"activation": bad}, {"norm": bad}, {"init": bad}, {"negative_slope": bad}, {"depth": bad}):
        if wrong == {"negative_slope": 1.5}:
            continue
        with pytest.raises(OptionError):
            models.build("mlp", **wrong)
    with pytest.raises(OptionError):
        models.build(bad)  # pyright: ignore[reportArgumentType]
