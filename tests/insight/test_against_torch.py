"""Compare derivatives and maps with PyTorch, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from striate import nn
from striate.insight import feature_maps, grad_cam, integrated_gradients, saliency

torch = pytest.importorskip("torch")


def _pair() -> tuple[nn.Sequential, Any]:
    """Return the same float64 network in striate and in PyTorch, with the same weights."""
    ours = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(None, 5),
    ).infer((3, 12, 10)).initialize(2).double()  # fmt: skip
    t = torch.nn
    theirs = t.Sequential(
        t.Conv2d(3, 8, 3, padding=1, bias=False), t.BatchNorm2d(8), t.ReLU(), t.MaxPool2d(2),
        t.Conv2d(8, 6, 3), t.LeakyReLU(0.1), t.Flatten(), t.Linear(72, 5),
    ).double().eval()  # fmt: skip
    random = np.random.default_rng(3)
    state = ours.state_dict()
    state["1.running_mean"], state["1.running_var"] = random.standard_normal(8), 0.5 + random.random(8)
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return ours, theirs


def test_maps_slopes_and_heat_are_those_of_pytorch() -> None:
    ours, theirs = _pair()
    image = np.random.default_rng(0).standard_normal((3, 12, 10))
    x = torch.tensor(image[None], requires_grad=True)
    maps = feature_maps(ours, image[None])
    y = x
    for index, layer in enumerate(theirs):
        y = layer(y)
        np.testing.assert_allclose(maps[str(index)], y.detach().numpy(), atol=1e-12, err_msg=str(index))
        if index == 5:
            last = y
    for target in range(5):
        slope, by_map = torch.autograd.grad(y[0, target], [x, last], retain_graph=True)
        np.testing.assert_allclose(saliency(ours, image, target), slope[0].numpy(), atol=1e-12)
        heat = torch.relu((by_map.mean(dim=(2, 3), keepdim=True) * last).sum(dim=1, keepdim=True))
        heat = torch.nn.functional.interpolate(heat, size=(12, 10), mode="bilinear", align_corners=False)
        np.testing.assert_allclose(grad_cam(ours, image, target), heat[0, 0].detach().numpy(), atol=1e-12)


def test_integrated_gradients_are_the_same_sum_in_pytorch() -> None:
    ours, theirs = _pair()
    image = np.random.default_rng(1).standard_normal((3, 12, 10))
    points, weights = np.polynomial.legendre.leggauss(40)
    path = torch.tensor(np.stack([(p + 1) / 2 * image for p in points]), requires_grad=True)
    (slopes,) = torch.autograd.grad(theirs(path)[:, 2].sum(), path)
    wanted = image * np.tensordot(weights / 2, slopes.numpy(), 1)
    np.testing.assert_allclose(integrated_gradients(ours, image, 2, steps=40), wanted, atol=1e-12)
