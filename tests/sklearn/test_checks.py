"""The estimators keep scikit-learn's conventions, as its own checks test them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn", reason="pip install 'striate[sklearn]'")

from sklearn.utils.estimator_checks import parametrize_with_checks

from striate.sklearn import ConvNetClassifier, ConvNetRegressor

QUICK: dict[str, Any] = {
    "network": "mlp", "network_options": {"depth": 1, "width": 16, "norm": "none"}, "epochs": 40, "learning_rate": 0.01,
    "dtype": "float64",
}  # fmt: skip
ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": "it compares to 1e-7, and float32 rounds sums of another order; "
    "in float64 it passes"
}


@pytest.mark.slow
@parametrize_with_checks([ConvNetClassifier(**QUICK), ConvNetRegressor(**QUICK)])
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([ConvNetClassifier(), ConvNetRegressor()], expected_failed_checks=lambda estimator: ROUNDING)
def test_check_with_the_defaults(estimator: Any, check: Any) -> None:
    check(estimator)
