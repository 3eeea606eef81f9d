"""The estimators keep scikit-learn's conventions, which its own checks test."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn", reason="pip install 'striate[sklearn]'")

from sklearn.utils.estimator_checks import parametrize_with_checks

from striate.sklearn import ConvNetClassifier, ConvNetRegressor

QUICK = {"dtype": "float64", "epochs": 40, "learning_rate": 0.01, "network": "mlp", "network_options": {"depth": 1, "width": 16, "norm": "none"}}
ESTIMATORS = [
    ConvNetClassifier(**QUICK), ConvNetRegressor(**QUICK)
]

@parametrize_with_checks(ESTIMATORS)
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)
