"""striate takes the same training steps as PyTorch from the same weights.

``benchmarks/parity.py`` runs the same comparison at full length: 20 steps of all four networks.
"""

from __future__ import annotations

from typing import Any

import pytest

from striate import settings
from striate.settings import Engine

pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")
if settings.current().engine is Engine.REFERENCE:
    pytest.skip("whole networks take minutes in NumPy: STRIATE_ENGINE=reference", allow_module_level=True)

# (network, batch, float64 steps): BN over few samples divides by small variances, so LeNet's BN after its linear
# layer, which has one value a sample, gets a larger batch.
CASES = [
    ("lenet5", 16, 20),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (("vgg_small", 4, 20), ("resnet20", 4, 20), ("resnet18", 4, 5))
    ),
]
each_network = pytest.mark.parametrize(("name", "batch", "steps"), CASES)


def described(parity: Any) -> str:
    return "\n".join(
        [f"statistics {parity.statistics:.2e}, limit {parity.statistics_limit:.0e}"]
        + [
            f"step {step}: loss {loss:.2e}, limit {limit:.2e}, PyTorch's own {own:.2e}"
            for step, (loss, limit, own) in enumerate(zip(parity.losses, parity.limits, parity.own))
        ]
    )


@pytest.mark.slow
@each_network
def test_float64_training_agrees_to_nine_digits(name: str, batch: int, steps: int) -> None:
    import networks
    import parity

    found = parity.float64_parity(networks.NETWORKS[name], batch, steps)
    assert found.holds, described(found)


FLOAT32_CASES = [
    ("lenet5", 16, 1),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (("lenet5", 16, 2), ("vgg_small", 32, 1), ("resnet20", 32, 1), ("resnet18", 16, 2))
    ),
]
"""Larger batches than in float64: with few samples single near-ties of a pooling window, or pre-activations next to
zero, decide the loss, and rounding decides them otherwise in each framework, and in PyTorch's own two layouts."""


@pytest.mark.parametrize(("name", "batch", "seed"), FLOAT32_CASES)
def test_float32_training_agrees_as_well_as_pytorch_does_with_itself(name: str, batch: int, seed: int) -> None:
    import networks
    import parity

    found = parity.float32_parity(networks.NETWORKS[name], batch, parity.FLOAT32_STEPS, seed)
    assert found.holds, described(found)
