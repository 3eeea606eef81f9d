"""The benchmark networks in PyTorch, with the state-dict keys of striate's networks.

Equal keys let weights be exchanged in both directions. The networks are written as by a careful user: no bias before
BN, and activations in place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from networks import CLASSES, Array, Network, initial_state
from torch import nn
from torch.nn import functional

SLOPE = 0.1


def _activation() -> nn.Module:
    return nn.LeakyReLU(SLOPE, inplace=True)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def lenet5() -> nn.Sequential:
    """Build LeNet with batch normalization."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32)):
        layers += [*_convolution(inputs, outputs, 5), _activation(), nn.MaxPool2d(2)]
    hidden = [nn.Linear(1568, 128, bias=False), nn.BatchNorm1d(128), _activation()]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(128, CLASSES))


def vgg_small() -> nn.Sequential:
    """Build VGG-small: six 3×3 convolutions with batch normalization, three poolings, and a linear layer."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in (32, 64, 128):
        layers += [*_convolution(inputs, outputs, 3), _activation()]
        layers += [*_convolution(outputs, outputs, 3), _activation(), nn.MaxPool2d(2)]
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, CLASSES))


class BasicBlock(nn.Module):
    """act(bn2(conv2(act(bn1(conv1(x))))) + shortcut(x))"""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, outputs, 3, stride)
        self.relu = _activation()
        self.conv2, self.bn2 = _convolution(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.downsample = None if same else nn.Sequential(*_convolution(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _residual_network(widths: tuple[int, ...], blocks: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"], layers["bn1"] = _convolution(3, widths[0], 3)
    layers["relu"] = _activation()
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        parts: list[nn.Module] = []
        for index in range(blocks):
            parts.append(BasicBlock(inputs, outputs, 2 if stage and not index else 1))
            inputs = outputs
        layers[f"layer{stage + 1}"] = nn.Sequential(*parts)
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(inputs, CLASSES)
    return nn.Sequential(layers)


def resnet20() -> nn.Sequential:
    """Build ResNet-20, for pictures of 32×32."""
    return _residual_network((16, 32, 64), 3)


def resnet18() -> nn.Sequential:
    """Build ResNet-18 with a 3×3 stem."""
    return _residual_network((64, 128, 256, 512), 2)


TWINS: dict[str, Callable[[], nn.Sequential]] = {
    twin.__name__: twin for twin in (lenet5, vgg_small, resnet20, resnet18)
}


def torch_model(network: Network, dtype: str = "float32", seed: int = 0) -> nn.Sequential:
    """Build the network in PyTorch with the weights of ``initial_state``, in training mode."""
    model = TWINS[network.name]().to(getattr(torch, dtype))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in initial_state(shapes, seed).items()})
    return model.train()


def training_losses(
    model: nn.Module, data: Iterable[tuple[Array, Array]], rate: float, momentum: float, channels_last: bool = False
) -> list[float]:
    """Train the model by SGD, one step per batch (x, y), and return the loss of each step before its update."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum)
    losses: list[float] = []
    for x, y in data:
        optimizer.zero_grad()
        logits = model(torch.from_numpy(x).contiguous(memory_format=layout))
        loss = functional.cross_entropy(logits, torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
