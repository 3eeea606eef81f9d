"""Dropout layers: which elements are dropped together, how often, and the same bits in all programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, settings
from striate.errors import OptionError, ShapeError
from striate.graph.value import Array, Value

ops: Any = st.ops
KEY = np.array(12345, np.int64)


def _mask(y: Array, axes: int) -> Array:
    """Return the mask over the first ``axes`` axes; y is the result for ones and must be constant on the others."""
    rows = y.reshape(*y.shape[:axes], -1)
    assert (rows == rows[..., :1]).all()
    return rows[..., 0]


@pytest.mark.parametrize(
    ("name", "axes", "shape"),
    [
        ("dropout", 4, (40, 17, 3, 5)),
        ("feature_dropout", 2, (90, 33, 3, 5)),
        ("feature_dropout", 2, (2000, 2)),
        ("drop_path", 1, (3000, 3, 2, 2)),
        ("drop_path", 1, (3000,)),
    ],
)
def test_what_is_dropped_together(name: str, axes: int, shape: tuple[int, ...]) -> None:
    y = np.asarray(getattr(ops, name)(np.ones(shape, np.float32), KEY, 0.3, 5))
    mask = _mask(y, min(axes, len(shape)))
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((mask == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / mask.size)
    assert not np.array_equal(y, getattr(ops, name)(np.ones(shape, np.float32), KEY, 0.3, 6))


def test_samples_do_not_depend_on_the_batch() -> None:
    x = np.random.default_rng(0).standard_normal((7, 17, 3, 2)).astype(np.float32)

    def drop(x: Value, key: Value) -> Value:
        return ops.feature_dropout(ops.relu(x) + 1, key, 0.5)

    function = st.compile(drop, batched=True)
    whole = np.asarray(function(x, KEY))
    np.testing.assert_array_equal(function(x[:3], KEY), whole[:3])


@pytest.mark.parametrize("name", ["feature_dropout", "drop_path", "alpha_dropout"])
def test_fusion_and_threads_change_no_bit(name: str, kept_settings: settings.Settings) -> None:
    """After a convolution the mask is read in blocks of channels; alone it has NumPy's layout."""
    random = np.random.default_rng(0)
    x, w = random.standard_normal((9, 3, 6, 6)).astype(np.float32), random.standard_normal((20, 3, 3, 3)).astype("f4")
    drop = getattr(ops, name)

    def network(x: Value, w: Value, key: Value) -> Value:
        return ops.relu(drop(ops.conv(x, w), key, 0.4)) * 2

    behind = st.compile(network)
    expected = np.maximum(np.asarray(drop(np.asarray(ops.conv(x, w)), KEY, 0.4)), 0) * 2
    for threads in (1, 2, 3):
        settings.override(threads=threads)
        np.testing.assert_allclose(behind(x, w, KEY), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("features", [False, True])
def test_alpha_dropout_keeps_mean_and_variance(features: bool) -> None:
    x = np.random.default_rng(0).standard_normal((300, 400)).astype(np.float32)
    y = np.asarray(ops.alpha_dropout(x, KEY, 0.3, 0, features))
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02


def test_gradients_pass_where_nothing_was_dropped() -> None:
    x = np.ones((4, 3, 2), np.float64)
    y = np.asarray(ops.feature_dropout(x, KEY, 0.5))

    def total(x: Value, key: Value) -> Value:
        return ops.sum(ops.feature_dropout(x, key, 0.5))

    _, dx = st.value_and_grad(total)(x, KEY)
    np.testing.assert_array_equal(dx, y)


LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Dropout1d(), (3, 4, 5)), (nn.Dropout2d(0.2), (3, 4, 5, 2)), (nn.Dropout3d(), (3, 4, 5, 2, 2)),
    (nn.Dropout2d(), (4, 5, 2)), (nn.AlphaDropout(), (3, 4)), (nn.FeatureAlphaDropout(), (3, 4, 2)),
    (nn.DropPath(0.3), (3, 4)), (nn.DropPath(0.3, scale_by_keep=False), (6, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_prediction_passes_the_input_on_and_training_drops(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = np.ones(shape, np.float32)
    np.testing.assert_array_equal(layer(x), x)
    assert np.asarray(layer(x, training=True)).shape == shape
    assert repr(layer).startswith(type(layer).__name__)


def test_each_layer_of_a_network_draws_for_itself_and_each_step_anew() -> None:
    model = nn.Sequential(nn.Dropout2d(0.5), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(None, 1))
    step = st.TrainingStep(model, nn.MSELoss(), st.optim.SGD(lr=0.0))
    x, y = np.random.default_rng(0).standard_normal((8, 6, 3, 3)).astype(np.float32), np.zeros((8, 1))
    assert len({step(x, y) for _ in range(5)}) == 5


def test_probabilities_and_ranks_are_checked() -> None:
    for make in (lambda: nn.Dropout2d(1.5), lambda: nn.DropPath(-0.1), lambda: nn.AlphaDropout(float("nan"))):
        with pytest.raises(OptionError, match="expected a finite number from 0 to 1"):
            make()
    with pytest.raises(ShapeError, match="expected"):
        nn.Dropout2d()(np.ones((3, 4), np.float32), training=True)
    assert (np.asarray(nn.Dropout1d(1.0)(np.ones((2, 3, 4), np.float32), training=True)) == 0).all()
