from __future__ import annotations

import numpy as np
import pytest

from striate import nn
from striate.errors import DataError, OptionError, ShapeError
from striate.insight import integrated_gradients, saliency
from tests.insight.networks import SHAPE, chain, custom, finite_differences, picture


@pytest.mark.parametrize("build", [chain, custom])
def test_saliency_is_the_derivative_by_the_raw_pixels(build: object) -> None:
    model, image = build(), picture()  # type: ignore[operator]
    for target in (0, 2):
        exact = finite_differences(lambda x, c=target: model(x)[:, c], image.astype(np.float64), 1e-4)
        np.testing.assert_allclose(saliency(model, image, target), exact, rtol=1e-5, atol=1e-9)


def test_the_predicted_class_is_the_default_and_names_are_taken() -> None:
    model, image = chain(), picture(3)
    predicted = int(model(image[np.newaxis])[0].argmax())
    np.testing.assert_array_equal(saliency(model, image), saliency(model, image, predicted))
    model.classes = ("cat", "dog", "owl")
    np.testing.assert_array_equal(saliency(model, image, "dog"), saliency(model, image, 1))
    with pytest.raises(OptionError, match=r"unknown class 'dgo'; did you mean 'dog'"):
        saliency(model, image, "dgo")


@pytest.mark.parametrize("baseline", ["zeros", "mean", 50.0, [20, 200], "picture"])
def test_integrated_gradients_of_a_smooth_network_are_complete(baseline: object) -> None:
    model, image = chain(), picture(1)
    model.pool = nn.AvgPool2d(2)
    start = {"zeros": np.zeros(SHAPE), "mean": np.broadcast_to(np.array([100, 130])[:, None, None], SHAPE)}
    if baseline == "picture":
        baseline = picture(2)
        point = np.asarray(baseline, np.float64)
    elif isinstance(baseline, str):
        point = start[baseline]
    else:
        numbers = np.asarray(baseline, np.float64)
        point = np.broadcast_to(numbers.reshape(-1, 1, 1) if numbers.ndim else numbers, SHAPE)
    for target in range(3):
        found = integrated_gradients(model, image, target, baseline, steps=48)  # type: ignore[arg-type]
        logits = model(np.stack([image.astype(np.float64), point]))[:, target]
        assert found.sum() == pytest.approx(logits[0] - logits[1], abs=1e-9)


def test_integrated_gradients_are_the_mean_gradient_times_the_way() -> None:
    model, image = chain(), picture(1)
    points, weights = np.polynomial.legendre.leggauss(5)
    mean = sum(
        w / 2 * finite_differences(lambda x: model(x)[:, 1], (p + 1) / 2 * image.astype(np.float64), 1e-4)
        for p, w in zip(points, weights)
    )
    np.testing.assert_allclose(integrated_gradients(model, image, 1, steps=5), image * mean, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_network_of_kinks_gets_complete_with_more_steps() -> None:
    model, image = custom(), picture(5)
    logits = model(np.stack([image, np.zeros_like(image)]))[:, 0]
    gaps = [
        abs(integrated_gradients(model, image, 0, steps=steps).sum() - (logits[0] - logits[1])) for steps in (4, 1000)
    ]
    assert gaps[1] < 0.003 * abs(logits[0] - logits[1])
    assert gaps[1] < gaps[0]


def test_what_cannot_be_explained_is_refused_with_the_cure() -> None:
    model, image = chain(), picture()
    with pytest.raises(OptionError, match="0 … 2"):
        saliency(model, image, 3)
    with pytest.raises(OptionError, match="no class names"):
        saliency(model, image, "cat")
    with pytest.raises(OptionError, match="unknown baseline"):
        integrated_gradients(model, image, baseline="black")
    with pytest.raises(OptionError, match="steps=0"):
        integrated_gradients(model, image, steps=0)
    with pytest.raises(ShapeError, match=r"images\[0\] instead of images"):
        saliency(model, image[np.newaxis])
    with pytest.raises(ShapeError, match="baseline of shape"):
        integrated_gradients(model, image, baseline=np.zeros((3, 3)))
    with pytest.raises(DataError, match="finite"):
        saliency(model, np.full(SHAPE, np.nan))
    with pytest.raises(ShapeError, match="a score for each class"):
        saliency(nn.Conv2d(2, 3, 3), image)
    with pytest.raises(OptionError, match="standardizer"):
        integrated_gradients(custom(), image, baseline="mean")
