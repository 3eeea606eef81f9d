from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import OptionError
from striate.insight import feature_maps, layer_shapes
from tests.insight.networks import SHAPE, chain, custom, picture


def test_every_layer_of_a_chain_is_what_the_layers_before_it_give() -> None:
    model, images = chain(), picture(count=3)
    found = feature_maps(model, images)
    assert list(found) == ["standardizer", "conv1", "norm", "act1", "pool", "conv2", "act2", "flatten", "fc"]
    x = np.asarray(images, np.float64)
    for name in found:
        x = getattr(model, name)(x)
        np.testing.assert_allclose(found[name], x, rtol=1e-12, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(found["fc"], model(images))


def test_operations_blocks_and_second_uses_of_a_forward_are_named() -> None:
    model, images = custom(), picture(count=2)
    found = feature_maps(model, images)
    assert list(found) == [
        "conv1", "act", "block.body.0", "block.body.1", "block", "act#2",
        "max_pooling", "tanh", "concat", "fc", "output",
    ]  # fmt: skip
    x = np.asarray(images, np.float64)
    conv = model.conv1(x)
    act = np.maximum(conv, 0)
    body = model.block.body(act)
    np.testing.assert_allclose(found["block"], act + body, atol=1e-12)
    np.testing.assert_allclose(found["act#2"], np.maximum(act + body, 0), atol=1e-12)
    np.testing.assert_allclose(found["tanh"], np.tanh(found["max_pooling"]), atol=1e-12)
    np.testing.assert_array_equal(found["output"], model(images))


def test_a_saved_model_has_the_same_layers(tmp_path: Path) -> None:
    for number, model in enumerate((chain(), custom())):
        path = tmp_path / f"{number}.safetensors"
        st.save(model, path, input_shape=SHAPE)
        ours, theirs = feature_maps(model, picture(count=2)), feature_maps(st.load(path), picture(count=2))
        assert list(ours) == list(theirs)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_layers_are_chosen_by_pattern_or_as_blocks() -> None:
    model = nn.Sequential({"features": nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), "flat": nn.Flatten()})
    images = picture(count=2)
    assert list(feature_maps(model, images, "features.*")) == ["features.0", "features.1"]
    assert list(feature_maps(model, images, ["flat", "features.0"])) == ["flat", "features.0"]
    (block,) = feature_maps(model, images, "features").values()
    np.testing.assert_array_equal(block, feature_maps(model, images)["features.1"])
    with pytest.raises(OptionError, match=r"unknown layer 'featurs'[\s\S]*known: features\.0"):
        feature_maps(model, images, "featurs")


def test_layers_that_pass_a_value_again_directly_are_told_apart() -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: object) -> object:
            return self.conv(self.conv(self.conv(x)))

    model, images = Repeated(), picture(count=2).astype(np.float32)
    found = feature_maps(model, images)
    assert list(found) == ["conv", "conv#2", "conv#3"]
    np.testing.assert_allclose(found["conv#2"], model.conv(model.conv(images)), rtol=1e-4, atol=1e-3)


def test_the_shapes_of_layers_need_no_data() -> None:
    shapes = layer_shapes(chain(), SHAPE)
    assert shapes == {name: array.shape[1:] for name, array in feature_maps(chain(), picture(count=1)).items()}


def test_looking_changes_nothing() -> None:
    model, images = chain(), picture(count=4)
    before, logits = model.state_dict(), model(images)
    feature_maps(model, images)
    np.testing.assert_array_equal(model(images), logits)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
