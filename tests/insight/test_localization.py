from __future__ import annotations

import numpy as np
import pytest

from striate import nn
from striate.errors import OptionError, ShapeError
from striate.insight import feature_maps, grad_cam, occlusion
from striate.insight.localization import resized
from tests.insight.networks import chain, custom, finite_differences, picture


def test_grad_cam_weighs_maps_by_their_mean_derivative() -> None:
    model, image = chain(), picture()
    (maps,) = feature_maps(model, image[np.newaxis], "act1")["act1"]
    rest = nn.Sequential(model.pool, model.conv2, model.act2, model.flatten, model.fc)
    for target in range(3):
        slope = finite_differences(lambda a, c=target: rest(a)[:, c], maps, 1e-6)
        heat = np.maximum(np.tensordot(slope.mean(axis=(1, 2)), maps, 1), 0)
        np.testing.assert_allclose(grad_cam(model, image, target, "act1"), heat, rtol=1e-5, atol=1e-8)
    assert any(grad_cam(model, image, target, "act1").any() for target in range(3))


def test_the_last_layer_with_positions_is_the_default_and_pooling_is_none() -> None:
    model, image = chain(), picture()
    np.testing.assert_array_equal(grad_cam(model, image, 1), grad_cam(model, image, 1, "act2"))
    other = custom()
    np.testing.assert_array_equal(grad_cam(other, image, 1), grad_cam(other, image, 1, "concat"))
    with pytest.raises(OptionError, match="unknown layer 'conv3'"):
        grad_cam(model, image, layer="conv3")
    with pytest.raises(ShapeError, match="no positions"):
        grad_cam(model, image, layer="fc")
    with pytest.raises(ShapeError, match="nothing can be located"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(None, 3)), image)


def test_the_standardized_picture_is_no_map_of_a_layer() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(None, 3)).double()
    model.standardizer = chain().standardizer
    with pytest.raises(ShapeError, match="nothing can be located"):
        grad_cam(model, picture())


@pytest.mark.parametrize(("old", "new"), [((3, 4), (9, 10)), ((7, 7), (3, 20)), ((1, 2), (4, 5)), ((4,), (11,))])
def test_resizing_agrees_with_pytorch(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    heat = np.random.default_rng(0).standard_normal(old)
    mode = "bilinear" if len(old) == 2 else "linear"
    wanted = torch.nn.functional.interpolate(torch.tensor(heat)[None, None], size=new, mode=mode, align_corners=False)
    np.testing.assert_allclose(resized(heat, new), wanted[0, 0].numpy(), atol=1e-12)


def test_resizing_keeps_what_is_linear() -> None:
    ramp = np.arange(6.0)[:, None] + np.zeros((6, 3))
    np.testing.assert_allclose(resized(ramp, (12, 3))[1:-1, 0], np.arange(1, 11) / 2 - 0.25, atol=1e-12)
    np.testing.assert_array_equal(resized(ramp, (6, 3)), ramp)


def test_occlusion_is_the_mean_fall_over_the_windows_that_cover_a_pixel() -> None:
    model, image = chain(), picture()
    window, stride = (3, 2), (2, 1)
    plain = model(image[np.newaxis].astype(np.float64))[0, 1]
    fall, count = np.zeros((7, 6)), np.zeros((7, 6))
    for y in (0, 2, 4):
        for x in (0, 1, 2, 3, 4):
            covered = image.astype(np.float64)
            covered[:, y : y + 3, x : x + 2] = [[[100]], [[130]]]
            fall[y : y + 3, x : x + 2] += plain - model(covered[np.newaxis])[0, 1]
            count[y : y + 3, x : x + 2] += 1
    found = occlusion(model, image, 1, window, stride, baseline="mean")
    np.testing.assert_allclose(found, fall / count, atol=1e-12)


def test_every_pixel_is_covered_whatever_the_sizes() -> None:
    model, image = chain(), picture()
    for window in (1, 2, 4, 6):
        for stride in range(1, window + 1):
            assert np.isfinite(occlusion(model, image, 0, window, stride)).all()
    with pytest.raises(OptionError, match="never be covered"):
        occlusion(model, image, 0, 2, 3)
    with pytest.raises(OptionError, match="larger than the picture"):
        occlusion(model, image, 0, 7)
