"""Networks of torchvision run through the backend alone, and give PyTorch's outputs, gradients and statistics.

python -m pytest -m long tests/torch_backend/test_torchvision.py -k resnet18
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
torchvision: Any = pytest.importorskip("torchvision", reason="torchvision is not installed")

from pairs import Pair  # noqa: E402

from striate.torch import StriateNotice, dynamo  # noqa: E402

pytestmark = pytest.mark.long

NETWORKS = {
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "vgg11_bn": 32,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "densenet121": 64,
    "shufflenet_v2_x0_5": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 32,
    "squeezenet1_1": 33,
    "regnet_y_400mf": 64,
    "mnasnet0_5": 64,
    "googlenet": 64,
    "inception_v3": 75,
    "segmentation.fcn_resnet50": 33,
    "segmentation.deeplabv3_mobilenet_v3_large": 33,
}
"""The height and width of the inputs, by network.

A batch normalization of two samples of 1×1 pixels amplifies rounding errors. With inputs of 32 pixels, a relative
change of 1e-14 of the inputs changes PyTorch's own gradients of EfficientNet by 3e-7 of the largest; with 64, by 8e-14.
"""


def _build(name: str) -> Any:
    """Return a network of five classes, with random weights, without dropout, whose masks are not PyTorch's."""
    family, _, short = name.rpartition(".")
    options: dict[str, Any] = {"num_classes": 5, "weights": None}
    if family:
        options["weights_backbone"] = None
    if short in ("googlenet", "inception_v3"):
        options |= {"init_weights": True, "aux_logits": False}
    net = getattr(getattr(torchvision.models, family) if family else torchvision.models, short)(**options)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net


def _run(call: Any, module: Any, size: int) -> list[Any]:
    """Return the outputs of a training step, the gradient of its input, and the outputs in evaluation mode."""
    x = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    found = _outputs(call(x))
    torch.stack([(y * torch.randn_like(y)).sum() for y in found]).sum().backward()
    module.eval()
    with torch.no_grad():
        return [*found, x.grad, *_outputs(call(x))]


def _outputs(result: Any) -> list[Any]:
    """Return the outputs of a network; those of segmentation networks have names."""
    return [result] if isinstance(result, torch.Tensor) else list(result.values())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_of_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo, "_noticed", set[str]())
    torch.manual_seed(0)
    pair = Pair(_build(name))
    # PyTorch computes gradients of hardswish and hardsigmoid with 1/6 in float32. With exact formulas in
    # the place of its own, DeepLab's gradients agree to 6e-10.
    inexact = any(isinstance(one, torch.nn.Hardswish | torch.nn.Hardsigmoid) for one in pair.model.modules())
    relative = 1e-5 if inexact else 1e-6
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pair.both(lambda call, module: _run(call, module.train(), NETWORKS[name]), relative)
    assert [str(one.message) for one in seen if issubclass(one.category, StriateNotice)] == []
    pair.same_state(relative)
