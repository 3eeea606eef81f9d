"""Estimators for scikit-learn, trained by striate; needs the extra ``sklearn`` (scikit-learn 1.6 or newer).

    from striate.sklearn import ConvNetClassifier

    pipeline = make_pipeline(StandardScaler(), ConvNetClassifier(input_shape=(1, 8, 8), epochs=20))
    scores = cross_val_score(pipeline, X, y, n_jobs=2)

The estimators work wherever scikit-learn accepts one: in pipelines, grid searches and cross-validation, with ``clone``,
pickle and joblib. In worker processes of joblib, each estimator computes with its share of the cores.
"""

from striate.errors import MissingExtraError

try:
    from striate.sklearn.classifier import ConvNetClassifier
    from striate.sklearn.regressor import ConvNetRegressor
except ImportError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise MissingExtraError(
        f"striate.sklearn needs scikit-learn 1.6 or newer ({error})\n  help: pip install 'striate[sklearn]'"
    ) from error

__all__ = ["ConvNetClassifier", "ConvNetRegressor"]
