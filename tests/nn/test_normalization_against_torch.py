"""Normalization layers against PyTorch's: predictions, training, running statistics and state dicts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import OptionError, ShapeError
from striate.nn.module import Module

torch: Any = pytest.importorskip("torch")

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("LayerNorm", (7,), {}, (4, 7)),
    ("LayerNorm", ((3, 5),), {"bias": False}, (2, 4, 3, 5)),
    ("LayerNorm", ((4, 3, 5),), {"eps": 0.1}, (2, 4, 3, 5)),
    ("LayerNorm", (33,), {"elementwise_affine": False}, (2, 3, 33)),
    ("RMSNorm", (33,), {}, (2, 3, 33)),
    ("RMSNorm", (5,), {"eps": 0.1, "elementwise_affine": False}, (3, 5)),
    ("GroupNorm", (2, 6), {}, (3, 6, 2, 5)),
    ("GroupNorm", (3, 51), {}, (2, 51, 3)),
    ("GroupNorm", (1, 4), {"affine": False}, (1, 4, 2, 2, 3)),
    ("GroupNorm", (2, 6), {}, (3, 6)),
    ("GroupNorm", (6, 6), {}, (3, 6, 4)),
    ("GroupNorm", (2, 6), {}, (3, 6, 1, 1)),
    ("InstanceNorm1d", (3,), {"affine": True}, (2, 3, 5)),
    ("InstanceNorm1d", (3,), {}, (3, 5)),
    ("InstanceNorm2d", (17,), {"affine": True, "track_running_stats": True}, (2, 17, 3, 2)),
    ("InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": None}, (2, 3, 3, 2)),
    ("InstanceNorm3d", (2,), {"track_running_stats": True, "momentum": 0.4}, (3, 2, 2, 1, 2)),
    ("BatchNorm2d", (3,), {"track_running_stats": False, "affine": False}, (2, 3, 3, 2)),
    ("BatchNorm1d", (3,), {"momentum": None}, (4, 3)),
    ("LocalResponseNorm", (4,), {"alpha": 0.3, "k": 2.0}, (2, 7, 3, 3)),
]


@pytest.mark.parametrize(
    ("name", "arguments", "options", "shape"),
    [pytest.param(*one, marks=() if number % 3 == 0 else pytest.mark.slow) for number, one in enumerate(LAYERS)],
    ids=lambda one: str(one),
)
def test_a_layer_computes_what_torch_does(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    theirs = getattr(torch.nn, name)(*arguments, **options).double()
    ours = getattr(nn, name)(*arguments, **options).double()
    for parameter in theirs.parameters():
        parameter.data = torch.tensor(random.standard_normal(parameter.shape))
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())

    x = np.zeros(shape)
    for _ in range(2):  # twice, so that statistics are moved and counted
        x = 2 * random.standard_normal(shape) + 3
        expected = theirs.train()(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(ours(x, training=True), expected, rtol=1e-10, atol=1e-10)
        if "running_mean" in ours.state_dict():
            _train_once(ours, x)
    for key, value in theirs.state_dict().items():
        if "running" in key or key == "num_batches_tracked":
            np.testing.assert_allclose(ours.state_dict()[key], value.numpy(), rtol=1e-10)
            np.testing.assert_allclose(ours(x), theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-9, atol=1e-10)


def _train_once(layer: Module, x: np.ndarray[Any, Any]) -> None:
    """Take a step that changes the running statistics but hardly the parameters."""
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(None, 1)).double()
    st.TrainingStep(model, nn.MSELoss(), st.optim.SGD(lr=1e-30))(x, np.zeros((len(x), 1)))


def test_layer_norm_over_channels_is_torchs_between_two_permutations() -> None:
    x = np.random.default_rng(0).standard_normal((2, 18, 3, 4)).astype(np.float32)
    expected = torch.nn.functional.layer_norm(torch.tensor(x).permute(0, 2, 3, 1), (18,), eps=1e-6).permute(0, 3, 1, 2)
    np.testing.assert_allclose(nn.LayerNorm2d(18)(x), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LayerNorm(64), (2, 3, 64)),
        (nn.LayerNorm((20, 4, 5)), (2, 20, 4, 5)),
        (nn.GroupNorm(4, 20), (2, 20, 16, 16)),
        (nn.InstanceNorm2d(20), (2, 20, 16, 16)),
        (nn.LayerNorm2d(64), (2, 64, 4, 4)),
    ],
    ids=lambda one: str(one),
)
def test_a_large_mean_costs_no_accuracy(layer: Module, shape: tuple[int, ...]) -> None:
    """The float32 error is that of rounding the mean: half a unit in its last place."""
    x = np.random.default_rng(0).standard_normal(shape) * 0.01 + 1e4
    single = x.astype(np.float32)
    with np.errstate(all="ignore"):
        exact = layer.double()(single.astype(np.float64))
        found = layer.float()(single)
    assert np.abs(found - exact).max() < 2**-11 / np.sqrt(1e-5 + 1e-4) * 1.6
    y, shifted = layer.double()(x - 1e4), layer.double()(x)
    np.testing.assert_allclose(shifted, y, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda: nn.LayerNorm(5), (2, 7), "normalized_shape=(5) is not the end"),
        (lambda: nn.GroupNorm(2, 6), (2, 4, 3), "its input has 4 channels"),
        (lambda: nn.InstanceNorm2d(3), (2, 3, 1, 1), "one position per channel"),
        (lambda: nn.InstanceNorm2d(3), (2, 3), "has 2 axes"),
        (lambda: nn.LayerNorm2d(3), (2, 4, 3), "expected one number for each of the 4 channels"),
    ],
)
def test_a_wrong_input_is_refused(make: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError) as caught:
        make()(np.zeros(shape, np.float32))
    assert words in str(caught.value)
    assert "help:" in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.GroupNorm(4, 6), lambda: nn.LayerNorm(0), lambda: nn.LayerNorm(cast("int", "5")),
        lambda: nn.LayerNorm(3, eps=-1),
        lambda: nn.RMSNorm(()), lambda: nn.InstanceNorm1d(3, momentum=2), lambda: nn.BatchNorm1d(3, momentum=-0.1),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused(make: Any) -> None:
    with pytest.raises(OptionError):
        make()


def test_no_samples_give_no_outputs() -> None:
    for layer, shape in ((nn.LayerNorm(5), (0, 5)), (nn.GroupNorm(2, 6), (0, 6, 3)), (nn.InstanceNorm1d(3), (0, 3, 4))):
        assert layer(np.zeros(shape, np.float32)).shape == shape


def test_batch_norm_of_a_fixed_number_of_samples_counts_them() -> None:
    layer = nn.BatchNorm1d(3, affine=False, track_running_stats=False).double()
    x = np.random.default_rng(0).standard_normal((4, 3))
    y = st.compile(lambda x: layer(x))(x)
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-12)
    with pytest.raises(ShapeError, match="one value per channel"):
        st.compile(lambda x: layer(x))(x[:1])


def test_batch_norm_and_one_label_of_wrong_ranks_are_refused() -> None:
    x, y = np.ones(3), np.zeros(1, np.int64)
    with pytest.raises(ShapeError, match=r"expected \(N, C\)"):
        st.compile(lambda x: st.ops.batch_norm(x, x, x))(x)
    with pytest.raises(ShapeError, match="need one label"):
        st.compile(lambda x, y: st.ops.multi_margin_loss(x, y))(x, y)
