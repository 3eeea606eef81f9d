"""The training step of the recipe for CIFAR-10 in striate and in PyTorch, and what it says about a whole training.

    python benchmarks/recipe.py [--rounds 20]

Both frameworks train the same network, airbench, with the same batch, loss and optimizer. PyTorch runs eager in NCHW
and channels-last, in float32 and with autocast to bfloat16. The configurations take turns, one step each, so that other
work on the machine slows all of them alike. A training is projected as its number of steps times the median step,
without augmentation, data loading and evaluation, which are not in the step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn as tnn

import striate as st
from striate import nn, optim
from striate.cli.recipes import recipe_options
from striate.cli.train import train

SAMPLES = 50_000


class TorchBlock(tnn.Module):
    """The block of ``models.airbench`` in PyTorch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, outputs, 3, padding="same", bias=False)
        self.pool = tnn.MaxPool2d(2)
        self.norm1, self.norm2 = (tnn.BatchNorm2d(outputs, momentum=0.4) for _ in range(2))
        self.conv2 = tnn.Conv2d(outputs, outputs, 3, padding="same", bias=False)
        self.activation = tnn.GELU()
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        return self.activation(self.norm2(self.conv2(x)))


class TorchNetwork(tnn.Module):
    """``models.airbench`` in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.whitening = tnn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        self.activation = tnn.GELU()
        self.block1, self.block2, self.block3 = TorchBlock(24, 64), TorchBlock(64, 256), TorchBlock(256, 256)
        self.pool, self.flatten = tnn.AdaptiveMaxPool2d(1), tnn.Flatten()
        self.linear = tnn.Linear(256, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block3(self.block2(self.block1(self.activation(self.whitening(x)))))
        return self.linear(self.flatten(self.pool(x))) / 9


def striate_step(options: dict[str, object], x: np.ndarray, y: np.ndarray, precision: str) -> Callable[[], float]:
    """Return a function that trains one batch in striate."""
    model = st.models.build("airbench", seed=0)
    model.standardizer = st.data.Standardizer.fit(x)
    nn.fit_whitening(model, x)
    rule = optim.SGD(lr=1e-3, momentum=0.85, nesterov=True, weight_decay=float(str(options["weight_decay"])))
    step = st.TrainingStep(model, nn.CrossEntropyLoss(label_smoothing=0.2), rule, precision=precision)
    return lambda: step(x, y)


def torch_step(x: np.ndarray, y: np.ndarray, layout: torch.memory_format, autocast: bool) -> Callable[[], float]:
    """Return a function that trains one batch in PyTorch; pictures are standardized beforehand."""
    torch.manual_seed(0)
    model = TorchNetwork().to(memory_format=layout).train()
    learned = [one for one in model.parameters() if one.requires_grad]
    rule = torch.optim.SGD(learned, lr=1e-3, momentum=0.85, nesterov=True, weight_decay=0.0013, fused=True)
    loss_of = tnn.CrossEntropyLoss(label_smoothing=0.2)
    images = torch.from_numpy((x.astype(np.float32) - 127) / 64).contiguous(memory_format=layout)
    labels = torch.from_numpy(y)

    def step() -> float:
        rule.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(model(images), labels)
        loss.backward()
        rule.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="steps of each configuration")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    st.settings.override(threads=given.threads)
    options = recipe_options("cifar10", train)
    batch, epochs = options["batch_size"], options["epochs"]
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (batch, 3, 32, 32)).astype(np.uint8)
    y = random.integers(0, 10, batch)
    nchw, last = torch.contiguous_format, torch.channels_last
    steps = {
        "striate float32": striate_step(options, x, y, "float32"),
        "striate bfloat16": striate_step(options, x, y, "bfloat16"),
        "PyTorch NCHW float32": torch_step(x, y, nchw, False),
        "PyTorch channels-last float32": torch_step(x, y, last, False),
        "PyTorch channels-last bfloat16": torch_step(x, y, last, True),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(given.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number:  # the first step compiles
                times[name].append(time.perf_counter() - start)
    count = epochs * -(-SAMPLES // batch)
    print(f"batch {batch}, {count:,} steps in {epochs} epochs; load {os.getloadavg()[0]:.1f}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(
            f"{name:32}{1000 * median:8.0f} ms  (least {1000 * min(taken):.0f})  whole {median * count / 60:6.1f} min"
        )


if __name__ == "__main__":
    main()
