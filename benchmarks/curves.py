"""Check that striate's training loss follows PyTorch's as closely as PyTorch's two layouts agree.

    python benchmarks/curves.py
    python benchmarks/curves.py --networks vgg_small --seeds 5 --json
    python benchmarks/curves.py --resume curves.jsonl         continues an interrupted run

striate, PyTorch NCHW and PyTorch channels_last train in float32 from the same weights on the same batches of CIFAR-10:
300 steps, each picture once. Their rounding differs, and the differences grow from step to step, so the losses of
single steps cannot be compared; they are smoothed first by running means over 25 steps.

    d(t) = |striate − NCHW|        o(t) = |channels_last − NCHW|        of the smoothed losses

One such pair of curves may be close by luck, so each seed has its own weights and order of pictures. The criterion
applies to the medians over seeds of the maximum and the mean over t: that of d must be at most twice that of o. The
table also says how many seeds would pass alone. The exit code is 1 if a network fails.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import CLASSES, NETWORKS, Network, striate_model
from numpy.typing import NDArray
from pictures import plain
from report import add_line, end_with, lines_of, machine, note, print_json, print_table
from twins import torch_model, training_losses

import striate as st
from striate import settings
from striate.data import Dataset, Standardizer

Array = NDArray[Any]
Batches = Sequence[tuple[Array, Array]]

MOMENTUM = 0.9
WINDOW = 25
OWN_DIFFERENCES = 2
"""The accepted ratio of striate's difference to PyTorch's own."""


# Trainings


def striate_losses(network: Network, data: Batches, seed: int, rate: float) -> list[float]:
    """Train in striate and return the loss of each step, before its update."""
    optimizer = st.optim.SGD(lr=rate, momentum=MOMENTUM)
    step = st.TrainingStep(striate_model(network, seed=seed), st.nn.CrossEntropyLoss(), optimizer)
    return [step(x, y) for x, y in data]


def torch_losses(network: Network, data: Batches, seed: int, rate: float, channels_last: bool) -> list[float]:
    """Train in PyTorch and return the loss of each step, before its update."""
    return training_losses(torch_model(network, seed=seed), data, rate, MOMENTUM, channels_last)


# The verdict


def smoothed(losses: Sequence[float]) -> Array:
    """Return the running means over 25 steps, of shape (T − 24,)."""
    return np.lib.stride_tricks.sliding_window_view(np.asarray(losses, np.float64), WINDOW).mean(axis=1)


@dataclass(frozen=True)
class Distance:
    """The maximum and the mean of the difference between two smoothed curves."""

    largest: float
    mean: float

    @classmethod
    def between(cls, a: Sequence[float], b: Sequence[float]) -> Distance:
        """Return the distance |a − b| between the smoothed losses."""
        found = np.abs(smoothed(a) - smoothed(b))
        return cls(float(found.max()), float(found.mean()))


@dataclass(frozen=True)
class Curves:
    """The losses of each step in the three trainings with one seed: striate, PyTorch NCHW and channels_last."""

    network: str
    batch: int
    rate: float
    seed: int
    striate: list[float]
    nchw: list[float]
    channels_last: list[float]

    @property
    def ours(self) -> Distance:
        """The distance between the curves of striate and PyTorch NCHW."""
        return Distance.between(self.striate, self.nchw)

    @property
    def own(self) -> Distance:
        """The distance between the curves of PyTorch channels_last and PyTorch NCHW."""
        return Distance.between(self.channels_last, self.nchw)


@dataclass(frozen=True)
class Verdict:
    """The medians of both distances over the seeds of one network, and the number of seeds that pass alone."""

    network: str
    ours: Distance
    own: Distance
    alone: int
    seeds: int

    @property
    def holds(self) -> bool:
        """Whether both medians are within the limit; False for NaN."""
        return within(self.ours, self.own)


def within(ours: Distance, own: Distance) -> bool:
    """Return whether maximum and mean of ``ours`` are at most twice those of ``own``."""
    return ours.largest <= OWN_DIFFERENCES * own.largest and ours.mean <= OWN_DIFFERENCES * own.mean


def median(distances: Sequence[Distance]) -> Distance:
    """Return the median of the maxima, and the median of the means."""
    return Distance(
        statistics.median(each.largest for each in distances), statistics.median(each.mean for each in distances)
    )


def verdict(curves: Sequence[Curves]) -> Verdict:
    """Return the verdict on one network, from the curves of all seeds."""
    ours, own = [each.ours for each in curves], [each.own for each in curves]
    alone = sum(map(within, ours, own))
    return Verdict(curves[0].network, median(ours), median(own), alone, len(curves))


def measured(
    network: Network, pictures: Dataset, standardizer: Standardizer, batch: int, rate: float, seed: int
) -> Curves:
    """Run the three trainings with one seed and return their losses."""
    data = list(plain(pictures, standardizer, batch, seed))
    found = Curves(
        network.name,
        batch,
        rate,
        seed,
        striate_losses(network, data, seed, rate),
        torch_losses(network, data, seed, rate, channels_last=False),
        torch_losses(network, data, seed, rate, channels_last=True),
    )
    note(
        f"{network.title}, seed {seed}: loss {smoothed(found.striate)[0]:.3f} → {smoothed(found.striate)[-1]:.3f}; "
        f"largest distance {found.ours.largest:.4f}, PyTorch's own {found.own.largest:.4f}; "
        f"mean {found.ours.mean:.4f} and {found.own.mean:.4f}"
    )
    return found


def row(verdict: Verdict) -> list[str]:
    """Return the table row of a verdict, as the texts of its cells."""
    pairs = (verdict.ours.largest, verdict.own.largest), (verdict.ours.mean, verdict.own.mean)
    figures = [figure for a, b in pairs for figure in (f"{a:.4f}", f"{b:.4f}", f"{a / b:.2f}")]
    alone = f"{verdict.alone} of {verdict.seeds}"
    return [NETWORKS[verdict.network].title, *figures, alone, "yes" if verdict.holds else "NO"]


def kept(path: Path | None, steps: int, batch: int, rate: float) -> list[Curves]:
    """Return the curves with this length, batch size and rate that an earlier run has recorded."""
    curves = [Curves(**entry) for entry in lines_of(path)]
    return [each for each in curves if (len(each.striate), each.batch, each.rate) == (steps, batch, rate)]


def main() -> int:
    """Train, print the table, and return 1 if striate is too far from PyTorch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    colour = [name for name, network in NETWORKS.items() if network.sample == (3, 32, 32)]
    parser.add_argument("--networks", nargs="+", default=["vgg_small", "resnet20"], choices=colour, metavar="NAME")
    parser.add_argument("--steps", type=int, default=300, help=f"at least {WINDOW} (300)")
    parser.add_argument("--batch", type=int, default=64, help="pictures a step (64)")
    parser.add_argument("--lr", type=float, default=0.01, help="of SGD with momentum 0.9 (0.01)")
    parser.add_argument("--seeds", type=int, default=5, help="1, 2, … (5)")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="write each seed there, and skip what it holds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.steps < WINDOW:
        parser.error(f"--steps {options.steps}: the losses are smoothed over {WINDOW}")
    torch.set_num_threads(settings.current().threads)
    wanted = options.steps * options.batch
    pictures = st.data.load_cifar10("train", most=-(-wanted // CLASSES)).subset(np.arange(wanted))
    standardizer = Standardizer.fit(pictures.images)
    setup = options.batch, options.lr
    done = {(each.network, each.seed): each for each in kept(options.resume, options.steps, *setup)}
    curves: list[Curves] = []
    for seed in range(1, options.seeds + 1):
        for name in options.networks:
            found = done.get((name, seed)) or measured(NETWORKS[name], pictures, standardizer, *setup, seed)
            curves.append(found)
            if (name, seed) not in done:
                add_line(options.resume, asdict(found))
    verdicts = [verdict([each for each in curves if each.network == name]) for name in options.networks]
    if options.json:
        print_json(
            {
                "machine": machine(),
                "curves": [{**asdict(each), "ours": asdict(each.ours), "own": asdict(each.own)} for each in curves],
                "verdicts": [{**asdict(each), "holds": each.holds} for each in verdicts],
            }
        )
    else:
        print_table(
            f"Smoothed losses over {options.steps} steps of CIFAR-10: medians over {options.seeds} seeds",
            (
                "network", "striate − NCHW, largest", "PyTorch's own", "ratio", "mean", "PyTorch's own", "ratio",
                "seeds within alone", "holds",
            ),
            [row(each) for each in verdicts],
        )  # fmt: skip
    return 0 if all(each.holds for each in verdicts) else 1


if __name__ == "__main__":
    end_with(main)
