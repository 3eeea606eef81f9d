"""None, strings, lists and numbers as a model, data, a layer or a count are refused with a clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from striate import insight, nn
from striate.data import Dataset
from striate.errors import StriateError

IMAGES = np.random.default_rng(0).random((6, 1, 8, 8), np.float32)
DATA = Dataset(IMAGES, np.array([0, 1, 2, 0, 1, 2]))
MODEL = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)).initialize(0)

CALLS: dict[str, Callable[[Any], object]] = {
    "saliency of model": lambda bad: insight.saliency(bad, IMAGES[0]),
    "saliency of image": lambda bad: insight.saliency(MODEL, bad),
    "grad_cam of layer": lambda bad: insight.grad_cam(MODEL, IMAGES[0], layer=bad or [1]),
    "occlusion of image": lambda bad: insight.occlusion(MODEL, bad),
    "integrated_gradients, steps": lambda bad: insight.integrated_gradients(MODEL, IMAGES[0], steps=bad),
    "feature_maps of model": lambda bad: insight.feature_maps(bad, IMAGES),
    "feature_maps of images": lambda bad: insight.feature_maps(MODEL, bad),
    "feature_maps, layers": lambda bad: insight.feature_maps(MODEL, IMAGES, bad),
    "layer_shapes of model": lambda bad: insight.layer_shapes(bad, (1, 8, 8)),
    "layer_shapes, shape": lambda bad: insight.layer_shapes(MODEL, bad),
    "receptive_field of model": lambda bad: insight.receptive_field(bad, "0", (1, 8, 8)),
    "receptive_field of layer": lambda bad: insight.receptive_field(MODEL, bad, (1, 8, 8)),
    "receptive_field, shape": lambda bad: insight.receptive_field(MODEL, "0", bad),
    "receptive_field, position": lambda bad: insight.receptive_field(MODEL, "0", (1, 8, 8), bad or 3),
    "top_activations of model": lambda bad: insight.top_activations(bad, "0", 0, DATA),
    "top_activations of layer": lambda bad: insight.top_activations(MODEL, bad, 0, DATA),
    "top_activations of unit": lambda bad: insight.top_activations(MODEL, "0", bad, DATA),
    "top_activations of data": lambda bad: insight.top_activations(MODEL, "0", 0, bad),
    "top_activations, count": lambda bad: insight.top_activations(MODEL, "0", 0, DATA, bad),
    "confusion of model": lambda bad: insight.confusion(bad, DATA),
    "confusion of data": lambda bad: insight.confusion(MODEL, bad),
    "most_confused": lambda bad: insight.confusion(MODEL, DATA).most_confused(bad),
    "worst_mistakes, count": lambda bad: insight.worst_mistakes(MODEL, DATA, bad),
}


@pytest.mark.parametrize("bad", [None, "text", [0.5, "x"], -1], ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_refused_by_name(name: str, bad: object) -> None:
    with pytest.raises(StriateError):
        CALLS[name](bad)
