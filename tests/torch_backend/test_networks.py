"""The four benchmark networks train through ``torch.compile`` with the losses that PyTorch computes."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from pairs import Pair, batches  # noqa: E402

pytestmark = pytest.mark.slow

STEPS = 20


def _train(call: Any, module: Any, shape: tuple[int, ...], dtype: Any) -> list[float]:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    losses: list[float] = []
    for x, y in batches(shape, STEPS, dtype=dtype):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(call(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("lenet5", 16),
        ("resnet20", 8),
        pytest.param("vgg_small", 16, marks=pytest.mark.long),
        pytest.param("resnet18", 4, marks=pytest.mark.long),
    ],
)
def test_losses_of_twenty_steps(name: str, samples: int) -> None:
    import twins

    shape = (samples, 1, 28, 28) if name == "lenet5" else (samples, 3, 32, 32)
    torch.manual_seed(0)
    pair = Pair(getattr(twins, name)())
    pair.both(lambda call, module: _train(call, module, shape, torch.float64))
    pair.same_state(1e-8)


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_gradients_in_float32(name: str) -> None:
    """Rounding moves the gradients no further than another memory layout does in PyTorch itself."""
    import twins

    torch.manual_seed(0)
    pair = Pair(getattr(twins, name)(), torch.float32)
    exact, last = copy.deepcopy(pair.model).double(), copy.deepcopy(pair.model).to(memory_format=torch.channels_last)
    ((x, y),) = batches((8, 1, 28, 28) if name == "lenet5" else (8, 3, 32, 32), 1, dtype=torch.float32)
    inputs = x, x, x.double(), x.to(memory_format=torch.channels_last)
    for call, given in zip((pair.ours, pair.eager, exact, last), inputs, strict=True):
        torch.nn.functional.cross_entropy(call(given), y).backward()

    def error(model: torch.nn.Module) -> float:
        pairs = zip(model.parameters(), exact.parameters(), strict=True)
        return max(float((ours.grad - right.grad).norm() / right.grad.norm()) for ours, right in pairs)

    assert error(pair.model) <= 1e-4 + 10 * max(error(pair.eager), error(last))
