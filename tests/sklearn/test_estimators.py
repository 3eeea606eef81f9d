"""Classifier and regressor: parameters, weights, continued training, and the tools of scikit-learn."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="pip install 'striate[sklearn]'")

import joblib
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import striate as st
from striate import nn, optim, settings
from striate.sklearn import ConvNetClassifier, ConvNetRegressor
from striate.sklearn.network import build_network, usual_network

PIXELS, DIGITS = (part[:300] for part in load_digits(return_X_y=True))
IMAGES = PIXELS.reshape(-1, 1, 8, 8)
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[DIGITS]


def small(shape: tuple[int, ...], outputs: int, channels: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(shape[0], channels, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, outputs)
    )


def classifier(**options: Any) -> ConvNetClassifier:
    given = {"network": small, "input_shape": (1, 8, 8), "epochs": 3, "random_state": 0, "learning_rate": 0.01}
    return ConvNetClassifier(**given | options)


def regressor(**options: Any) -> ConvNetRegressor:
    return ConvNetRegressor(**{"epochs": 3, "random_state": 0} | options)


def probabilities(estimator: ConvNetClassifier, *data: Any, **options: Any) -> np.ndarray:
    return estimator.fit(*data, **options).predict_proba(PIXELS)


# Weights


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_a_sample_counts_as_often_as_its_weight(kind: Callable[..., Any]) -> None:
    whole = kind(dtype="float64", batch_size=10_000)  # one batch, so that it is the same with and without repetitions
    weights = np.random.default_rng(0).integers(0, 3, len(PIXELS)).astype(float)
    repeated = np.repeat(np.arange(len(PIXELS)), weights.astype(int))
    expected = clone(whole).fit(PIXELS[repeated], DIGITS[repeated])
    found = clone(whole).fit(PIXELS, DIGITS, sample_weight=weights)
    assert np.abs(expected.history_[-1].loss - found.history_[-1].loss) < 1e-12
    for name, array in expected.model_.state_dict().items():
        np.testing.assert_allclose(found.model_.state_dict()[name], array, rtol=1e-9, atol=1e-12)


def test_weights_of_one_change_no_bit_and_weights_of_zero_are_absent_samples() -> None:
    plain = probabilities(classifier(), PIXELS, DIGITS)
    assert (probabilities(classifier(), PIXELS, DIGITS, sample_weight=np.ones(300)) == plain).all()
    kept = np.arange(300) % 3 > 0
    absent = probabilities(classifier(), PIXELS, DIGITS, sample_weight=kept)
    assert (absent == probabilities(classifier(), PIXELS[kept], DIGITS[kept])).all()
    assert (absent != plain).any()


def test_class_weights_multiply_the_sample_weights() -> None:
    given = {name: 1.0 + (name == "one") for name in np.unique(NAMES)}
    weights = np.linspace(0.5, 2, 300)
    plain = classifier(standardize=False, learning_rate=1e-3)
    expected = probabilities(clone(plain), PIXELS, NAMES, sample_weight=weights * (1 + (NAMES == "one")))
    found = probabilities(plain.set_params(class_weight=given), PIXELS, NAMES, sample_weight=weights)
    assert (found == expected).all()

    few = (DIGITS > 0) | (np.arange(300) < 50)
    totals = np.bincount(DIGITS[few])
    balanced = {number: few.sum() / (10 * total) for number, total in enumerate(totals)}
    found = probabilities(classifier(class_weight="balanced"), PIXELS[few], DIGITS[few])
    assert (found == probabilities(classifier(class_weight=balanced), PIXELS[few], DIGITS[few])).all()
    twice = np.where(few, 1.0, 0.0)
    assert (found == probabilities(classifier(class_weight="balanced"), PIXELS, DIGITS, sample_weight=twice)).all()


# Training that goes on


def test_partial_fit_continues_the_optimizer_also_after_pickling() -> None:
    expected = classifier().fit(PIXELS, DIGITS)
    found = classifier().partial_fit(PIXELS, DIGITS, classes=range(10))
    found = pickle.loads(pickle.dumps(found)).partial_fit(PIXELS, DIGITS)  # noqa: S301 - bytes of our own
    found.partial_fit(PIXELS, DIGITS)
    assert found.history_.losses == expected.history_.losses
    assert (found.predict_proba(PIXELS) == expected.predict_proba(PIXELS)).all()
    found.set_params(optimizer="sgd").partial_fit(PIXELS[:50], DIGITS[:50])
    assert len(found.history_) == 4


def test_warm_start_continues_with_the_weights() -> None:
    estimator = classifier(warm_start=True, schedule="cosine").fit(PIXELS, DIGITS)
    first = estimator.history_.losses
    estimator.set_params(epochs=2).fit(PIXELS, DIGITS)
    assert estimator.history_.losses[:3] == first
    assert len(estimator.history_) == 5
    assert estimator.history_.losses[3] < first[1]
    with pytest.raises(ValueError, match="is not among the classes"):
        estimator.fit(PIXELS, NAMES)
    again = classifier().fit(PIXELS, DIGITS)
    assert again.fit(PIXELS, DIGITS).history_.losses == classifier().fit(PIXELS, DIGITS).history_.losses


def test_early_stopping_keeps_the_best_weights() -> None:
    estimator = classifier(early_stopping=True, validation_fraction=0.2, patience=2, epochs=40, learning_rate=0.1)
    history = estimator.fit(PIXELS, DIGITS).history_
    assert len(history) < 40
    assert history.kept == 1 + int(np.argmin(history.validation_losses))
    assert "has not improved for 2 epochs" in history.stopped
    assert regressor(early_stopping=True).fit(PIXELS, DIGITS).history_.kept is not None
    with pytest.raises(ValueError, match="cannot stop early"):
        estimator.partial_fit(PIXELS, DIGITS)


# Data and networks


def test_rows_pictures_bytes_and_names_of_classes() -> None:
    rows = classifier().fit(PIXELS, NAMES)
    expected = rows.predict_proba(PIXELS)
    assert rows.n_features_in_ == 64
    assert rows.input_shape_ == (1, 8, 8)
    assert rows.classes_.tolist() == sorted(set(NAMES)) == list(rows.model_.classes)
    assert (rows.predict(PIXELS) == rows.classes_[expected.argmax(axis=1)]).all()
    assert rows.score(PIXELS, NAMES) > 0.8
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-12)
    for images in (IMAGES, IMAGES.astype(np.uint8)):
        found = classifier(input_shape=None).fit(images, NAMES).predict_proba(images)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"X has samples of shape \(64, 1\), but ConvNetClassifier was fitted on"):
        rows.predict(PIXELS[:, :, None])


@pytest.mark.parametrize(
    ("shape", "name", "layer"),
    [((7,), "mlp", nn.Linear), ((2, 64), "fcn", nn.Conv1d), ((1, 28, 28), "lenet5", nn.Conv2d),
     ((3, 40, 40), "resnet20", nn.Conv2d), ((1, 8, 8, 8), "resnet18_3d", nn.Conv3d)],
)  # fmt: skip
def test_every_kind_of_sample_has_a_usual_network(shape: tuple[int, ...], name: str, layer: type) -> None:
    assert usual_network(shape)[0] == name
    network = build_network(None, None, shape, 3).infer(shape)
    assert any(isinstance(module, layer) for _, module in network.named_modules())


def test_networks_by_name_as_function_and_as_module() -> None:
    wide = classifier(network_options={"channels": 6}).fit(PIXELS, DIGITS)
    assert wide.model_.state_dict()["0.weight"].shape == (6, 1, 3, 3)
    named = classifier(network="first_cnn", network_options={"filters": 3}).fit(PIXELS, DIGITS)
    assert named.model_.state_dict()["0.weight"].shape == (3, 1, 5, 5)
    module = small((1, 8, 8), 10).infer((1, 8, 8)).initialize(5)
    before = module.state_dict()
    finished = classifier(network=module).fit(PIXELS, DIGITS)
    assert all((module.state_dict()[name] == array).all() for name, array in before.items())
    assert clone(finished).network is not module
    module.standardizer = nn.Standardization(np.array([8.0]), np.array([4.0]))
    kept = classifier(network=module).fit(PIXELS, DIGITS).model_.standardizer
    assert isinstance(kept, nn.Standardization)
    assert kept.mean.tolist() == [8.0]
    assert (finished.model_(IMAGES[:3].astype(np.float32)).argmax(axis=1) == finished.predict(PIXELS[:3])).all()


def test_several_labels() -> None:
    y = np.stack([DIGITS % 2 == 0, DIGITS > 4, DIGITS < 3], axis=1).astype(int)
    estimator = classifier(epochs=12).fit(PIXELS, y)
    assert estimator.predict_proba(PIXELS).shape == (300, 3)
    assert (estimator.predict(PIXELS) == y).mean() > 0.9
    assert ((estimator.predict_proba(PIXELS) > 0.5) == estimator.predict(PIXELS)).all()


def test_targets_in_any_unit(tmp_path: Path) -> None:
    y = PIXELS[:, 20:22] @ [[1.0, 2.0], [3.0, 0.5]]
    plain = regressor(epochs=30).fit(PIXELS, y)
    assert plain.score(PIXELS, y) > 0.9
    far = regressor(epochs=30).fit(PIXELS, y * 1e4 + 1e6)
    np.testing.assert_allclose((far.predict(PIXELS) - 1e6) / 1e4, plain.predict(PIXELS), atol=1e-2)
    st.save(far.model_, tmp_path / "model.safetensors", input_shape=(64,))
    loaded = st.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(loaded(PIXELS.astype(np.float32)), far.predict(PIXELS), rtol=1e-6)
    assert regressor(standardize=False).fit(PIXELS, DIGITS).predict(PIXELS).shape == (300,)
    assert regressor(loss=nn.HuberLoss()).fit(PIXELS, DIGITS[:, None]).predict(PIXELS).shape == (300, 1)


def test_seeds_threads_and_optimizers() -> None:
    plain = probabilities(classifier(n_threads=1), PIXELS, DIGITS)
    assert (probabilities(classifier(n_threads=2), PIXELS, DIGITS) == plain).all()
    assert (probabilities(classifier(random_state=1), PIXELS, DIGITS) != plain).any()
    drawn = [probabilities(classifier(random_state=np.random.RandomState(7)), PIXELS, DIGITS) for _ in range(2)]
    assert (drawn[0] == drawn[1]).all()
    given = classifier(optimizer=optim.Adam(lr=0.5), learning_rate=0.01)
    assert (probabilities(given, PIXELS, DIGITS) == plain).all()
    own = classifier(optimizer=optim.SGD(lr=0.05, momentum=0.9), learning_rate=None)
    named = classifier(optimizer="sgd", learning_rate=None)
    assert (probabilities(own, PIXELS, DIGITS) == probabilities(named, PIXELS, DIGITS)).all()


# Tools of scikit-learn


def threads_of(estimator: ConvNetClassifier, X: Any, y: Any) -> float:
    """Return the number of threads of the process as a score; for cross-validation."""
    return float(settings.current().threads)


def test_pipeline_grid_search_and_joblib(tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), classifier(epochs=2))
    search = GridSearchCV(pipeline, {"convnetclassifier__learning_rate": [1e-5, 0.01]}, cv=2).fit(PIXELS, DIGITS)
    assert search.best_params_ == {"convnetclassifier__learning_rate": 0.01}
    joblib.dump(search, tmp_path / "search.joblib")
    loaded = joblib.load(tmp_path / "search.joblib")
    assert (loaded.predict_proba(PIXELS) == search.predict_proba(PIXELS)).all()
    assert loaded.best_estimator_[-1].history_.losses == search.best_estimator_[-1].history_.losses
    with pytest.raises(NotFittedError):
        clone(search.best_estimator_).predict(PIXELS)


@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "multiprocessing", "threading"])
def test_workers_take_their_share_of_the_cores(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIATE_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = settings.available_threads()
    shares = {"loky": max(1, cores // 2), "multiprocessing": 1, "threading": settings.current().threads}
    with parallel_config(backend):
        found = cross_val_score(classifier(epochs=1), PIXELS, DIGITS, cv=2, n_jobs=2, scoring=threads_of)
    assert found.tolist() == [shares[backend]] * 2


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "lenet"}, "unknown model 'lenet'; did you mean 'lenet5'"),
        ({"network": 5}, "network=5; expected a name, a function"),
        ({"network": lambda shape, outputs: None}, "returned a NoneType, not an nn.Module"),
        (
            {"network": lambda shape: None},
            r"too many positional arguments\n  help: a function of \(input_shape, outputs",
        ),
        (
            {"network": "lenet5", "input_shape": None},
            r"has 2 axes, not 4(.|\n)*help: X has rows; input_shape=\(C, H, W",
        ),
        ({"network": nn.Linear(64, 10), "network_options": {"a": 1}}, "not for a finished module"),
        ({"network_options": 3}, "network_options=3; expected a dict"),
        ({"input_shape": (1, 9, 9)}, r"input_shape=\(1, 9, 9\), but X is \(300, 64\)"),
        ({"input_shape": "8x8"}, "input_shape='8x8'; expected the sizes"),
        ({"optimizer": "sgdx"}, "unknown optimizer 'sgdx'; did you mean 'sgd'"),
        ({"optimizer": optim.SGD}, "expected a name or an optimizer"),
        ({"learning_rate": -1.0}, "Adam: lr=-1.0"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"epochs": 0}, "epochs=0; expected a whole number of 1 or more"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"early_stopping": True, "patience": 0}, "patience=0"),
        ({"dtype": "float16"}, "float16"),
        ({"n_threads": 0}, "n_threads=0; expected a whole number from 1"),
        ({"class_weight": "even"}, "class_weight='even'; expected a dict, 'balanced' or None"),
        ({"class_weight": {0: -1.0}}, "expected finite numbers of 0 or more"),
    ],
)
def test_unsuitable_parameters(options: dict[str, Any], message: str) -> None:
    estimator = classifier(**options)
    with pytest.raises(ValueError, match=message):
        estimator.fit(PIXELS, DIGITS)
    with pytest.raises(NotFittedError):
        estimator.predict(PIXELS)


def test_channels_last_pictures() -> None:
    with pytest.raises(
        ValueError, match=r"X.transpose\(0, 3, 1, 2\), or input_shape=\(8, 8, 1\) if they have 8 channels"
    ):
        classifier(input_shape=None).fit(PIXELS.reshape(-1, 8, 8, 1), DIGITS)


def test_unsuitable_targets() -> None:
    with pytest.raises(ValueError, match="samples of one class only"):
        classifier().fit(PIXELS, np.zeros(300))
    with pytest.raises(ValueError, match="the first call of partial_fit needs classes"):
        classifier().partial_fit(PIXELS, DIGITS)
    with pytest.raises(ValueError, match="y\\[5\\] = 5 is not among the classes"):
        classifier().partial_fit(PIXELS, DIGITS, classes=range(5))
    with pytest.raises(ValueError, match="'balanced' needs all samples at once"):
        classifier(class_weight="balanced").partial_fit(PIXELS, DIGITS, classes=range(10))
    with pytest.raises(ValueError, match=r"y is \(300, 2\), but in the first call it was \(N,\)"):
        regressor().partial_fit(PIXELS, DIGITS).partial_fit(PIXELS, np.stack([DIGITS, DIGITS], axis=1))


def test_without_scikit_learn_the_error_names_the_extra() -> None:
    program = "import sys; sys.modules['sklearn'] = None; import striate.sklearn"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "MissingExtraError: striate.sklearn needs scikit-learn 1.6 or newer" in found.stderr
    assert "help: pip install 'striate[sklearn]'" in found.stderr
