"""``options={"optimizer": "fused"}``: updates by a compiled program, with the numbers and the state of PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pairs import Pair, batches  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from striate.torch import fused  # noqa: E402

pytestmark = pytest.mark.slow

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, 0.1, 0.9, weight_decay=0.01, dampening=0.1),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, 0.1, 0.9, nesterov=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.01, weight_decay=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.01),
    "amsgrad": lambda parameters: torch.optim.Adam(parameters, 0.01, amsgrad=True),
}


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_the_same_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    run = fused.Update.run
    monkeypatch.setattr(fused.Update, "run", lambda *given: runs.append(1) or run(*given))
    pair = Pair(_net(), options={"optimizer": "fused"})

    def train(call: Any, module: Any) -> Any:
        bias = [one for one in module.parameters() if one.ndim == 1]
        groups = [
            {"params": bias, "weight_decay": 0.0},
            {"params": [one for one in module.parameters() if one.ndim > 1]},
        ]
        optimizer = OPTIMIZERS[name](groups)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        losses = []
        for x, y in batches((5, 3, 6, 6), 5, 4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(call(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        state = optimizer.state_dict()["state"]
        return losses, [one for found in state.values() for one in found.values()]

    pair.both(train)
    pair.same_state()
    assert len(runs) == {"sgd": 10, "amsgrad": 0}.get(name, 8)


def test_what_changes_gradients_in_a_hook_is_left_to_pytorch() -> None:
    pair = Pair(_net(), options={"optimizer": "fused"})

    def train(call: Any, module: Any) -> Any:
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        optimizer.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(module.parameters(), 0.01) and None)
        ((x, y),) = batches((5, 3, 6, 6), 1, 4)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = functional.cross_entropy(call(x), y)
            loss.backward()
            return loss

        closure()
        optimizer.step()
        return torch.optim.SGD(module.parameters(), 0.1).step(closure)

    pair.both(train)
    pair.same_state()


@pytest.mark.parametrize("options", [{"optimiser": "fused"}, {"optimizer": "fast"}])
def test_unknown_options(options: dict[str, str]) -> None:
    pair = Pair(_net(), options=options)
    with pytest.raises(Exception, match="unknown"):
        pair.ours(torch.zeros(2, 3, 6, 6, dtype=torch.float64))
