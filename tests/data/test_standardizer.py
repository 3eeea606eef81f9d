from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate import nn
from striate.data import Standardizer, load_digits
from striate.errors import DataError, DTypeError, ModelFileError, OptionError, ShapeError
from tests.data.layouts import LAYOUTS, memory_mapped


@pytest.mark.parametrize("shape", [(50, 7), (50, 3, 11), (50, 3, 6, 5), (20, 2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_equals_the_equation(shape: tuple[int, ...], dtype: type) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, shape).astype(dtype)
    standardizer = Standardizer.fit(x, epsilon=1e-3)
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(standardizer.mean, x.mean(axis=axes, dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(standardizer.sigma, np.sqrt(1e-3 + x.var(axis=axes, dtype=np.float64)), rtol=1e-7)
    scaled = standardizer.transform(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=axes), 1, atol=1e-5)


def test_a_large_mean_costs_no_accuracy() -> None:
    x = (1e4 + np.random.default_rng(0).standard_normal((5000, 2))).astype(np.float32)
    np.testing.assert_allclose(Standardizer.fit(x).sigma, x.std(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, ">f8"])
def test_float64_data_keep_their_digits(dtype: str | type) -> None:
    spread = 1.0 if dtype != np.int64 else 1e3
    x = (1e9 + spread * np.random.default_rng(0).standard_normal((5000, 2))).astype(dtype)
    standardizer = Standardizer.fit(x)
    exact = (x - 1_000_000_000).astype(np.float64)
    np.testing.assert_allclose(standardizer.sigma, exact.std(axis=0), rtol=1e-7)
    np.testing.assert_allclose(standardizer.mean - 1e9, exact.mean(axis=0), atol=2e-7)
    scaled = standardizer.transform(x)
    assert scaled.dtype == np.float64
    np.testing.assert_allclose(scaled, (exact - exact.mean(axis=0)) / exact.std(axis=0), atol=1e-6)
    again = Standardizer.from_json(json.loads(json.dumps(standardizer.to_json())))
    np.testing.assert_array_equal(again.transform(x), scaled)


def test_a_float64_model_standardizes_float64_data() -> None:
    x = 1e9 + np.random.default_rng(0).standard_normal((50, 3))
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 3, bias=False)).double()
    model.load_state_dict({"1.weight": np.eye(3)})
    model.standardizer = Standardizer.fit(x)
    np.testing.assert_allclose(model(x), Standardizer.fit(x).transform(x), atol=1e-9)


def test_statistics_are_float32_where_that_is_exact() -> None:
    assert Standardizer.fit(np.ones((2, 2), np.float16)).mean.dtype == np.float32
    assert Standardizer.fit(np.random.default_rng(0).random((9, 2), np.float32)).sigma.dtype == np.float32
    assert Standardizer.fit(np.array([[0.1], [0.1]])).mean.dtype == np.float64


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays_of_any_layout_and_type(layout: str, dtype: type, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 200, (6, 3, 4, 5)).astype(dtype)
    expected = Standardizer.fit(x)
    for given_ in (LAYOUTS[layout](x), memory_mapped(x, tmp_path)):
        found = Standardizer.fit(given_)
        np.testing.assert_array_equal(found.mean, expected.mean)
        np.testing.assert_array_equal(found.sigma, expected.sigma)
        np.testing.assert_array_equal(found.transform(given_), expected.transform(x))
        assert found.outliers(given_, 1.0) == expected.outliers(x, 1.0)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 40))
def test_a_constant_feature_gives_exactly_zero(constant: float, count: int) -> None:
    x = np.full((count, 2, 3), constant, dtype=np.float32)
    standardizer = Standardizer.fit(x)
    assert (standardizer.sigma == np.float32(np.sqrt(1e-8))).all()
    assert (standardizer.transform(x) == 0).all()


def test_pixels_that_are_always_paper() -> None:
    x = load_digits("train").images.reshape(1442, 64)
    scaled = Standardizer.fit(x).transform(x)
    assert (scaled[:, (x == 0).all(axis=0)] == 0).all()
    assert np.isfinite(scaled).all()


def test_outliers_are_reported_farthest_first() -> None:
    random = np.random.default_rng(0)
    standardizer = Standardizer.fit(np.c_[random.standard_normal((100, 3)), np.ones(100)])
    assert standardizer.outliers(np.c_[random.standard_normal((100, 3)), np.ones(100)]) == []
    new = np.zeros((5, 4))
    new[:, 3] = 1
    new[2:4, 1], new[3, 1], new[4, 3] = 80.0, 90.0, 1.5
    first, second = standardizer.outliers(new)
    assert (first.feature, first.count, first.sample, first.value) == (3, 1, 4, 1.5)
    assert (second.feature, second.count, second.sample, second.value) == (1, 2, 3, 90.0)
    assert "feature 1: x = 90 in sample 3" in str(second)
    assert "2 samples beyond ±50" in str(second)
    new[0, 2] = np.nan
    assert [one.feature for one in standardizer.outliers(new)] == [2, 3, 1]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5), st.floats(1e-12, 1.0))
def test_the_same_bits_after_json(row: list[float], epsilon: float) -> None:
    standardizer = Standardizer.fit(np.array([row, [0.1] * len(row)]), epsilon)
    again = Standardizer.from_json(json.loads(json.dumps(standardizer.to_json())))
    assert again.mean.tobytes() == standardizer.mean.tobytes()
    assert again.sigma.tobytes() == standardizer.sigma.tobytes()
    assert again.epsilon == epsilon


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"mean": [0], "sigma": [1]},
        {"mean": [0], "sigma": [1], "epsilon": "small"},
        {"mean": [], "sigma": [], "epsilon": 1},
        {"mean": [0, 0], "sigma": [1], "epsilon": 1},
        {"mean": [0], "sigma": [0], "epsilon": 1},
        {"mean": [float("nan")], "sigma": [1], "epsilon": 1},
        {"mean": [1e38 * 9], "sigma": [1], "epsilon": 1},
        {"mean": [10**400], "sigma": [1], "epsilon": 1},
        {"mean": [[0]], "sigma": [1], "epsilon": 1},
        {"mean": [True], "sigma": [1], "epsilon": 1},
    ],
)
def test_foreign_json_is_refused(document: object) -> None:
    with pytest.raises(ModelFileError, match="standardizer"):
        Standardizer.from_json(document)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 1e-320, 1e-80, float("nan"), float("inf"), None, "small", True])
def test_epsilon_must_be_positive(epsilon: Any) -> None:
    with pytest.raises(OptionError, match=r"epsilon=.*; expected a finite number of 1.4e-76 or more"):
        Standardizer.fit(np.ones((2, 2)), epsilon)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), None])
def test_the_limit_of_outliers_must_be_positive(limit: Any) -> None:
    with pytest.raises(OptionError, match=r"limit=.*; expected a finite number above 0"):
        Standardizer.fit(np.ones((2, 2))).outliers(np.ones((2, 2)), limit)


@pytest.mark.parametrize(("mean", "sigma"), [("a", "b"), ([1.0], [1e-40]), ([[1.0], [1.0, 2.0]], [1.0]), ([1j], [1])])
def test_statistics_that_are_not_numbers(mean: Any, sigma: Any) -> None:
    with pytest.raises(DataError):
        Standardizer(mean, sigma, 0.0)


def test_bad_data() -> None:
    with pytest.raises(DataError, match="nothing to fit"):
        Standardizer.fit(np.ones((0, 3)))
    with pytest.raises(DataError, match=r"inputs\[1, 0\] is nan"):
        Standardizer.fit(np.array([[0.0], [np.nan]]))
    with pytest.raises(DataError, match=r"inputs\[1, 0\] is 1e\+300; .*the largest of float32"):
        Standardizer.fit(np.array([[0.0], [1e300]]))
    for given_ in (None, "text"):
        with pytest.raises(DataError, match="nothing to fit"):
            Standardizer.fit(given_)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="different lengths"):
        Standardizer.fit([[1.0], [1.0, 2.0]])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match="standardizer of 3 features"):
        Standardizer.fit(np.ones((2, 3))).transform(np.ones((2, 4)))


def test_frozen() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Standardizer.fit(np.ones((2, 3))).mean[0] = 2
