"""Layers against PyTorch in float64: values, and gradients through one training step."""

from __future__ import annotations

import numpy as np
import pytest

from striate import nn
from striate.nn.foreign import ForeignLayer

torch = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")

PAIRS = {
    "conv1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), lambda: torch.nn.Conv1d(3, 4, 3, 2, 1), (2, 3, 9)),
    "conv2d same": (
        nn.Conv2d(4, 6, (2, 3), padding="same", dilation=2, groups=2),
        lambda: torch.nn.Conv2d(4, 6, (2, 3), padding="same", dilation=2, groups=2),
        (2, 4, 7, 6),
    ),
    "conv3d": (nn.Conv3d(2, 3, 2, bias=False), lambda: torch.nn.Conv3d(2, 3, 2, bias=False), (2, 2, 4, 3, 5)),
    "linear": (nn.Linear(5, 3), lambda: torch.nn.Linear(5, 3), (4, 5)),
    "max": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), lambda: torch.nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 8, 7)),
    "max1d": (nn.MaxPool1d(2, dilation=2), lambda: torch.nn.MaxPool1d(2, dilation=2), (2, 3, 9)),
    "average": (
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        lambda: torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (2, 3, 8, 8),
    ),
    "average3d": (nn.AvgPool3d(2), lambda: torch.nn.AvgPool3d(2), (2, 3, 4, 4, 4)),
    "adaptive": (nn.AdaptiveAvgPool2d(1), lambda: torch.nn.AdaptiveAvgPool2d(1), (2, 3, 5, 4)),
    "norm1d": (nn.BatchNorm1d(3), lambda: torch.nn.BatchNorm1d(3).eval(), (4, 3)),
    "norm2d": (nn.BatchNorm2d(3, affine=False), lambda: torch.nn.BatchNorm2d(3, affine=False).eval(), (4, 3, 2, 2)),
    "norm3d": (
        nn.BatchNorm3d(3, track_running_stats=False),
        lambda: torch.nn.BatchNorm3d(3, track_running_stats=False),
        (4, 3, 2, 2, 3),
    ),
    "softmax": (nn.Softmax(1), lambda: torch.nn.Softmax(1), (3, 5)),
    "leaky": (nn.LeakyReLU(), lambda: torch.nn.LeakyReLU(), (3, 5)),
    "relu": (nn.ReLU(), lambda: torch.nn.ReLU(), (3, 5)),
    "tanh": (nn.Tanh(), lambda: torch.nn.Tanh(), (3, 5)),
    "sigmoid": (nn.Sigmoid(), lambda: torch.nn.Sigmoid(), (3, 5)),
    "flatten": (nn.Flatten(), lambda: torch.nn.Flatten(), (3, 5, 2)),
    "flatten some": (nn.Flatten(1, 2), lambda: torch.nn.Flatten(1, 2), (3, 5, 2, 4)),
    "unflatten": (nn.Unflatten(1, (3, -1)), lambda: torch.nn.Unflatten(1, (3, -1)), (2, 12, 2)),
    "linear of rows": (nn.Linear(5, 3, bias=False), lambda: torch.nn.Linear(5, 3, bias=False), (2, 4, 5)),
    "linear, inferred": (nn.Linear(None, 17), lambda: torch.nn.Linear(18, 17), (2, 4, 18)),
    "linear of pixels": (nn.Linear(5, 3), lambda: torch.nn.Linear(5, 3), (2, 4, 3, 5)),
    "linear of one sample": (nn.Linear(5, 3), lambda: torch.nn.Linear(5, 3), (5,)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_as_pytorch(name: str) -> None:
    ours, make, shape = PAIRS[name]
    theirs = make().double()
    ours.double()
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    random = np.random.default_rng(1)
    if state:
        moved = {
            key: value if value.dtype == np.int64 else value + random.random(value.shape)
            for key, value in state.items()
        }
        theirs.load_state_dict({key: torch.tensor(value) for key, value in moved.items()})
        ours.load_state_dict(moved)
    x = random.standard_normal(shape)
    with torch.no_grad():
        np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).numpy(), rtol=1e-11, atol=1e-12)


def test_dropout_scales_what_it_keeps() -> None:
    x = np.ones((200, 50), np.float32)
    y = nn.Dropout(0.25)(x, training=True)
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(nn.Dropout(0.25)(x), x)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_poolings_are_the_adaptive_ones_of_pytorch(rank: int) -> None:
    for layer, name in ((nn.GlobalAveragePool(), "AdaptiveAvgPool"), (nn.GlobalMaxPool(), "AdaptiveMaxPool")):
        nn.Sequential(layer).infer((2, *(4, 5, 6)[:rank]))
        found = layer.torch_layer()
        assert found == ForeignLayer(f"{name}{rank}d", {"output_size": 1})


def test_skip_connections() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    layer = nn.Linear(4, 4)
    np.testing.assert_allclose(nn.Residual(layer)(x), layer(x) + x, rtol=1e-6)
    both = nn.Concat(nn.Identity(), nn.Linear(4, 2))
    assert both(x).shape == (3, 6)
    assert np.array_equal(both(x)[:, :4], x)
