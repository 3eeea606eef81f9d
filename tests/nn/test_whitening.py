"""``Whitening2d``: a convolution whose filters are computed from the data."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import data, nn, optim
from striate.errors import DataError


def smooth(count: int, channels: int = 3, size: int = 10) -> np.ndarray:
    """Return random pictures whose neighbouring pixels and channels are related."""
    noise = np.random.default_rng(0).standard_normal((count, channels, size + 1, size + 1))
    x = noise[..., 1:, 1:] + noise[..., :-1, 1:] + noise[..., 1:, :-1]
    return (x + 2 * x[:, :1]).astype(np.float32)


@pytest.mark.parametrize(("channels", "kernel"), [(3, 2), (1, 3)])
def test_its_outputs_are_uncorrelated_with_variance_1_and_both_signs(channels: int, kernel: int) -> None:
    x = smooth(200, channels)
    layer = nn.Whitening2d(channels, kernel).double()
    layer.fit(x)
    y = layer(x.astype(np.float64)).transpose(1, 0, 2, 3).reshape(2 * channels * kernel**2, -1)
    half = len(y) // 2
    np.testing.assert_allclose(np.cov(y[:half]), np.eye(half), atol=0.02)  # ε makes small variances less than 1
    np.testing.assert_allclose(y[half:], -y[:half], atol=1e-12)


def test_training_changes_only_its_bias() -> None:
    x = (smooth(64) * 20 + 100).clip(0, 255).astype(np.uint8)
    model = nn.Sequential(nn.Whitening2d(3), nn.GELU(), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(24, 2))
    model.standardizer = data.Standardizer.fit(x)
    nn.fit_whitening(model, x)
    fitted = nn.Whitening2d(3)
    fitted.fit(data.Standardizer.fit(x).transform(x))
    before = model.state_dict()
    np.testing.assert_allclose(before["0.weight"], fitted.weight, rtol=1e-4, atol=1e-4)
    st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))(x, np.arange(64) % 2)
    after = model.state_dict()
    assert np.array_equal(before["0.weight"], after["0.weight"])
    assert not np.array_equal(before["0.bias"], after["0.bias"])


def test_its_filters_do_not_depend_on_the_classes_that_come_first() -> None:
    """Folders of classes are read one after the other."""
    x = np.concatenate([smooth(6000, 1, 6), 3 * smooth(6000, 1, 6)[..., ::-1, :]])
    sorted_by_class, mixed = nn.Whitening2d(1), nn.Whitening2d(1)
    sorted_by_class.fit(x)
    mixed.fit(x[np.random.default_rng(0).permutation(len(x))])
    np.testing.assert_allclose(sorted_by_class.weight, mixed.weight, rtol=0.1, atol=0.01)


def test_only_a_first_layer_is_fitted_to_the_pictures() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Whitening2d(3))
    before = model.state_dict()
    nn.fit_whitening(model, smooth(20))
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


def test_pictures_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(DataError, match="no patches of 3×4×4 in data of shape"):
        nn.Whitening2d(3, 4).fit(smooth(0, 3, 10))
    with pytest.raises(DataError, match="no patches of 3×4×4 in data of shape"):
        nn.Whitening2d(3, 4).fit(smooth(5, 3, 2))
