"""Check that striate and PyTorch take the same training steps from the same weights and data.

    float64   20 momentum steps: every loss to 1e-9 relative, running statistics too
    float32   lr 0.01: the first loss to 1e-5, the next four within 10 times the difference between PyTorch's own
              NCHW and channels_last losses (at least 1e-5): rounding grows chaotically from step to step

    python benchmarks/parity.py
    python benchmarks/parity.py --networks lenet5 --steps 2 --batch 16

In float32, each seed of the data is judged alone, at the batch size of the benchmarks. With a batch of 4 the comparison
says little: if the two largest entries of a pooling window, or a pre-activation and zero, are closer than rounding, two
correct frameworks may take different branches, while PyTorch's two layouts happen to take the same one.

The difference of a running statistic is relative to the largest entry of its array, since a mean near zero has no
significant digits of its own.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from networks import NETWORKS, Network, add_networks, batches, striate_model
from numpy.typing import NDArray
from report import note, print_json, print_table
from twins import torch_model, training_losses

import striate as st

Array = NDArray[Any]

LEARNING_RATE, MOMENTUM = 0.01, 0.9
FLOAT64_TOLERANCE = 1e-9
FLOAT32_TOLERANCE = 1e-5
FLOAT32_STEPS = 5
OWN_DIFFERENCES = 10
"""The accepted ratio of striate's difference to PyTorch's own, in float32 after the first step."""


@dataclass(frozen=True)
class Run:
    """The losses of some training steps, and the running statistics after them."""

    losses: tuple[float, ...]
    statistics: dict[str, Array]

    def loss_differences(self, other: Run) -> list[float]:
        """Return the relative difference |a − b| / |b| of the losses a from those of ``other``, b, for each step."""
        return [abs(a - b) / abs(b) for a, b in zip(self.losses, other.losses, strict=True)]

    def statistics_difference(self, other: Run) -> float:
        """Return the largest difference of a running statistic, relative to the largest entry of its array."""
        return max(
            float(np.max(np.abs(self.statistics[name] - theirs)) / np.max(np.abs(theirs)))
            for name, theirs in other.statistics.items()
        )


def _data(network: Network, dtype: str, batch: int, steps: int, seed: int) -> Iterator[tuple[Array, Array]]:
    return itertools.islice(batches(network, batch, seed, dtype), steps)


def _statistics(state: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in state.items() if name.endswith(("running_mean", "running_var"))}


def striate_run(network: Network, dtype: str, batch: int, steps: int, seed: int) -> Run:
    """Run training steps in striate and return their losses."""
    model = striate_model(network, dtype)
    optimizer = st.optim.SGD(lr=LEARNING_RATE, momentum=MOMENTUM)
    step = st.TrainingStep(model, st.nn.CrossEntropyLoss(), optimizer, capacity=batch)
    losses = tuple(step(x, y) for x, y in _data(network, dtype, batch, steps, seed))
    return Run(losses, _statistics(model.state_dict()))


def torch_run(network: Network, dtype: str, batch: int, steps: int, seed: int, channels_last: bool = False) -> Run:
    """Run training steps in PyTorch and return their losses."""
    model = torch_model(network, dtype)
    data = _data(network, dtype, batch, steps, seed)
    losses = training_losses(model, data, LEARNING_RATE, MOMENTUM, channels_last)
    return Run(tuple(losses), _statistics({name: tensor.numpy() for name, tensor in model.state_dict().items()}))


@dataclass(frozen=True)
class Parity:
    """The differences of striate from PyTorch for each step, and their limits.

    ``own`` are the differences between PyTorch's two layouts, ``statistics`` is the largest one of a running statistic.
    """

    network: str
    dtype: str
    seed: int
    losses: list[float]
    limits: list[float]
    own: list[float]
    statistics: float
    statistics_limit: float

    @property
    def holds(self) -> bool:
        """Whether everything is within its limit; NaN never is."""
        within = all(found <= limit for found, limit in zip(self.losses, self.limits, strict=True))
        return within and self.statistics <= self.statistics_limit


def float64_parity(network: Network, batch: int, steps: int, seed: int = 1) -> Parity:
    """Compare in float64; ``own`` is the difference between PyTorch's NCHW and channels_last."""
    theirs = torch_run(network, "float64", batch, steps, seed)
    own = torch_run(network, "float64", batch, steps, seed, channels_last=True).loss_differences(theirs)
    ours = striate_run(network, "float64", batch, steps, seed)
    return Parity(
        network.name,
        "float64",
        seed,
        ours.loss_differences(theirs),
        [FLOAT64_TOLERANCE] * steps,
        own,
        ours.statistics_difference(theirs),
        FLOAT64_TOLERANCE,
    )


def float32_parity(network: Network, batch: int, steps: int = FLOAT32_STEPS, seed: int = 1) -> Parity:
    """Compare in float32.

    PyTorch's own difference at a step is the largest one so far, since a single step may agree by chance. The
    statistics are reported but not judged, since the weights behind them have drifted apart.
    """
    theirs = torch_run(network, "float32", batch, steps, seed)
    other = torch_run(network, "float32", batch, steps, seed, channels_last=True)
    own = list(itertools.accumulate(other.loss_differences(theirs), max))
    limits = [FLOAT32_TOLERANCE, *(max(OWN_DIFFERENCES * each, FLOAT32_TOLERANCE) for each in own[1:])]
    ours = striate_run(network, "float32", batch, steps, seed)
    return Parity(
        network.name,
        "float32",
        seed,
        ours.loss_differences(theirs),
        limits,
        own,
        ours.statistics_difference(theirs),
        float("inf"),
    )


def main() -> int:
    """Compare all chosen networks, print the table, and return 1 if a difference exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    parser.add_argument("--batch", type=int, help="16 in float64, each network's benchmark batch in float32")
    parser.add_argument("--steps", type=int, default=20, help="in float64 (20); float32 takes 5")
    parser.add_argument("--seeds", type=int, default=2, help="data seeds 1, 2, … in float32 (2); float64 takes 1")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[Parity] = []
    for name in options.networks:
        note(f"{NETWORKS[name].title}: float64, {options.steps} steps")
        found.append(float64_parity(NETWORKS[name], options.batch or 16, options.steps))
        note(f"{NETWORKS[name].title}: float32, {min(options.steps, FLOAT32_STEPS)} steps")
        for seed in range(1, options.seeds + 1):
            batch = options.batch or NETWORKS[name].batch
            found.append(float32_parity(NETWORKS[name], batch, min(options.steps, FLOAT32_STEPS), seed))
    if options.json:
        print_json([{**vars(each), "holds": each.holds} for each in found])
    else:
        columns = (
            "network", "steps", "first loss", "worst loss", "its limit", "PyTorch's own", "statistics", "holds",
        )  # fmt: skip
        rows: list[list[str]] = []
        for each in found:
            worst = max(range(len(each.losses)), key=lambda step: each.losses[step] / each.limits[step])
            figures = (each.losses[0], each.losses[worst], each.limits[worst], max(each.own), each.statistics)
            rows.append(
                [
                    f"{NETWORKS[each.network].title}, {each.dtype}, seed {each.seed}",
                    str(len(each.losses)),
                    *(f"{figure:.1e}" for figure in figures),
                    "yes" if each.holds else "NO",
                ]
            )
        print_table("Relative differences from PyTorch", columns, rows)
    return 0 if all(each.holds for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
