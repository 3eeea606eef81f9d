"""Networks for reports: chains, skips, branches, custom layers."""

from __future__ import annotations

import striate as st
from striate import nn


class Dense(nn.Module):
    """A network in which each layer sees the outputs of all earlier ones."""

    def __init__(self) -> None:
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a = nn.Sequential(nn.BatchNorm2d(None), nn.ReLU(), nn.Conv2d(None, 4, 3, padding=1))
        self.b = nn.Sequential(nn.BatchNorm2d(None), nn.ReLU(), nn.Conv2d(None, 4, 3, padding=1))
        self.fc = nn.Linear(None, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in (self.a, self.b):
            x = st.ops.concat([x, block(x)])
        return self.fc(st.ops.flatten(st.ops.relu(x)))


class Swish(nn.Module):
    """An activation of several operations under one path, which reads a value twice."""

    def forward(self, x):
        return x * st.ops.sigmoid(x) + 0.5


def branched() -> nn.Sequential:
    """Build four branches that are concatenated."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Swish(),
        nn.Concat(
            nn.Conv2d(8, 4, 1),
            nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1)),
            nn.Sequential(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 6, 5, padding=2), nn.Tanh()),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 4, 1)),
        ),
        nn.Flatten(), nn.Linear(None, 10),
    )  # fmt: skip


NETWORKS = {
    "first_cnn": (lambda: st.models.build("first_cnn"), (1, 28, 28)),
    "lenet5": (lambda: st.models.build("lenet5"), (1, 28, 28)),
    "vgg_small": (lambda: st.models.build("vgg_small"), (3, 32, 32)),
    "resnet20": (lambda: st.models.build("resnet20"), (3, 32, 32)),
    "resnet18": (lambda: st.models.build("resnet18", norm="block_start"), (3, 32, 32)),
    "dense": (Dense, (3, 8, 8)),
    "branched": (branched, (3, 8, 8)),
    "sequence": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.GlobalAveragePool(), nn.Flatten()), (2, 12)),
}
