"""From the same weights and data, striate takes PyTorch's training steps.

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
    ("vgg_small", 4, 20),
    ("resnet20", 4, 20),
    pytest.param("resnet18", 4, 5, marks=pytest.mark.slow),
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


@each_network
def test_float64_training_agrees_to_nine_digits(name: str, batch: int, steps: int) -> None:
    import networks
    import parity

    found = parity.float64_parity(networks.NETWORKS[name], batch, steps)
    assert found.holds, described(found)


SEEDS = range(1, 6)
ALLOWED_TO_BRANCH = 1
"""Seeds whose losses may leave the limit after the first step: rounding may decide a max-pooling near-tie otherwise
than PyTorch does (VGG-small, batch 4, seed 1; see ``benchmarks/parity.py``). The allowance was set before ResNet-18 had
been run and was not raised when it failed on seeds 1 and 3, whose cause is not known."""


@each_network
def test_float32_training_agrees_as_well_as_pytorch_does_with_itself(name: str, batch: int, steps: int) -> None:
    import networks
    import parity

    taken = min(steps, parity.FLOAT32_STEPS)
    found = [parity.float32_parity(networks.NETWORKS[name], batch, taken, seed) for seed in SEEDS]
    report = "\n".join(f"seed {each.seed}\n{described(each)}" for each in found)
    assert all(each.losses[0] <= each.limits[0] for each in found), report
    assert sum(not each.holds for each in found) <= ALLOWED_TO_BRANCH, report
