"""Every layer of ``nn`` with one wrong option or a wrong input: an error that names the layer and says what helps."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from striate import nn
from tests.refusals.walk import Arguments, judged, outcome, unprepared, wrong_arrays, wrong_options  # noqa: F401

RANDOM = np.random.default_rng(0)
SHAPES = ((3, 4), (2, 4, 8), (2, 4, 6, 6), (2, 4, 5, 5, 5))
X2, X3, X4, X5 = (RANDOM.random(shape).astype(np.float32) for shape in SHAPES)
LABELS, SIGNS = np.array([0, 2, 1]), np.array([1.0, -1.0, 1.0], np.float32)
OF_RANK = {"1d": X3, "2d": X4, "3d": X5}


def of(*arguments: Any, **options: Any) -> Arguments:
    return arguments, options


def ranked(name: str, make: Arguments) -> dict[str, tuple[Arguments, tuple[np.ndarray, ...]]]:
    return {f"{name}{rank}": (make, (x,)) for rank, x in OF_RANK.items()}


LAYERS: dict[str, tuple[Arguments, tuple[np.ndarray, ...]]] = {
    **dict.fromkeys((
        "Identity", "Flatten", "Dropout", "AlphaDropout", "FeatureAlphaDropout", "DropPath", "Sigmoid", "Tanh", "ReLU",
        "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Softplus", "Softsign", "LogSigmoid",
        "ReLU6", "Hardtanh", "Hardsigmoid", "Hardswish", "Hardshrink", "Softshrink", "Tanhshrink", "GLU", "Softmax",
        "LogSoftmax", "Softmin",
    ), (of(), (X2,))),
    **ranked("Conv", of(4, 2, 3)), **ranked("ConvTranspose", of(4, 2, 3)), **ranked("BatchNorm", of(4)),
    **ranked("InstanceNorm", of(4)), **ranked("Dropout", of()), **ranked("MaxPool", of(2)), **ranked("AvgPool", of(2)),
    **ranked("LPPool", of(2, 2)), **ranked("AdaptiveAvgPool", of(2)), **ranked("AdaptiveMaxPool", of(2)),
    **{f"MaxUnpool{rank}": (of(2), (x, np.zeros(x.shape, np.int32))) for rank, x in OF_RANK.items()},
    **ranked("ZeroPad", of(1)), **ranked("ConstantPad", of(1, 0.5)), **ranked("ReflectionPad", of(1)),
    **ranked("ReplicationPad", of(1)), **ranked("CircularPad", of(1)),
    "Whitening2d": (of(4), (X4,)),
    "Linear": (of(4, 3), (X2,)), "Unflatten": (of(1, (2, 2)), (X2,)), "Threshold": (of(0.0, 1.0), (X2,)),
    "LayerNorm": (of(4), (X2,)), "LayerNorm2d": (of(4), (X4,)), "GroupNorm": (of(2, 4), (X4,)),
    "RMSNorm": (of(4), (X2,)), "LocalResponseNorm": (of(3), (X4,)), "Softmax2d": (of(), (X4,)),
    "GlobalAveragePool": (of(), (X4,)), "GlobalMaxPool": (of(), (X4,)), "Upsample": (of(scale_factor=2), (X4,)),
    "UpsamplingNearest2d": (of(scale_factor=2), (X4,)), "UpsamplingBilinear2d": (of(scale_factor=2), (X4,)),
    "ChannelShuffle": (of(2), (X4,)), "PixelShuffle": (of(2), (X4,)), "PixelUnshuffle": (of(2), (X4,)),
    "Standardization": (of(np.zeros(4), np.ones(4)), (X4,)),
    **dict.fromkeys(("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"), (of(), (X2, LABELS))),
    **dict.fromkeys((
        "BCELoss", "BCEWithLogitsLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KLDivLoss", "PoissonNLLLoss",
        "SoftMarginLoss", "MultiLabelSoftMarginLoss", "HingeEmbeddingLoss",
    ), (of(), (X2, X2))),
    **dict.fromkeys(("MarginRankingLoss", "GaussianNLLLoss", "TripletMarginLoss"), (of(), (X2, X2, X2))),
    **dict.fromkeys(("CosineSimilarity", "PairwiseDistance"), (of(), (X2, X2))),
    "CosineEmbeddingLoss": (of(), (X2, X2, SIGNS)), "MultiLabelMarginLoss": (of(), (X2, np.full(X2.shape, -1))),
    "Sequential": (of(nn.ReLU()), (X2,)), "Residual": (of(nn.ReLU()), (X2,)), "Concat": (of(nn.ReLU()), (X2,)),
}  # fmt: skip
"""A valid way to make each layer, and its inputs."""
OTHERS = {"Module", "Parameter", "Loss", "ModuleList", "ModuleDict", "init", "fit_whitening"}
"""Names of ``nn`` that are not layers to call."""


class Outer(nn.Module):
    """A network with the layer at "block.layer", whatever the number of inputs."""

    def __init__(self, layer: nn.Module) -> None:
        self.block = Inner(layer)

    def forward(self, *inputs: Any) -> Any:
        return self.block(*inputs)


class Inner(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def forward(self, *inputs: Any) -> Any:
        return self.layer(*inputs)


def applied(name: str, options: Arguments, inputs: tuple[Any, ...]) -> Any:
    return Outer(getattr(nn, name)(*options[0], **options[1]))(*inputs)


def test_there_is_a_valid_call_of_every_layer(unprepared: None) -> None:  # noqa: F811
    assert set(LAYERS) | OTHERS == set(nn.__all__), "enter a call in LAYERS of tests/refusals"
    for name, (options, inputs) in LAYERS.items():
        assert outcome(lambda n=name, o=options, i=inputs: applied(n, o, i)) is None, name


def test_every_wrong_option_is_explained(unprepared: None) -> None:  # noqa: F811
    """Wrong options are refused when the layer is made, or when its shape rule runs."""
    faults: list[str] = []
    for name, (options, inputs) in LAYERS.items():
        if name in ("Sequential", "Residual", "Concat"):
            continue
        signature = inspect.signature(getattr(nn, name))
        for what, changed, refused in wrong_options(signature, options):
            call = lambda n=name, c=changed, i=inputs: applied(n, c, i)  # noqa: E731
            faults += judged(f"{name}: {what}", (name, *signature.parameters), call, refused)
    assert not faults, f"{len(faults)}\n" + "\n".join(faults)


def test_every_wrong_input_is_explained_at_its_layer(unprepared: None) -> None:  # noqa: F811
    faults: list[str] = []
    for name, (options, inputs) in LAYERS.items():
        for what, (changed, _), refused in wrong_arrays((inputs, {})):
            call = lambda n=name, o=options, c=changed: applied(n, o, c)  # noqa: E731
            faults += judged(f"{name}: {what}", (name, "block.layer"), call, refused, path="block.layer")
    assert not faults, f"{len(faults)}\n" + "\n".join(faults)
