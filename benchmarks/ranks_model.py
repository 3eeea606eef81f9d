"""A model of the cost of a training step on many ranks, from the phases of the program that one rank runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from networks import Network
from ranks_links import Link, Pretended
from report import note

from striate import TrainingStep, models, nn, optim
from striate.distributed import Communicator
from striate.step.shared_gradients import SharedGradients, gathers

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
LINKS = {
    "1 Gbit/s, 0.2 ms": Link(125e6, 200e-6),
    "10 Gbit/s, 50 µs": Link(1.25e9, 50e-6),
    "100 Gbit/s, 3 µs": Link(12.5e9, 3e-6),
}
_WIDE = 8
"""Bytes of a number in a small message (float64)."""


def step_of(network: Network, communicator: Communicator | None, batch: int) -> TrainingStep:
    model = models.build(network.name, seed=0)
    rule = optim.SGD(lr=0.01, momentum=0.9)
    return TrainingStep(model, nn.CrossEntropyLoss(), rule, communicator=communicator, capacity=batch)


def samples(network: Network, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((n, *network.sample), np.float32), random.integers(0, 10, n)


def shared_gradients(step: TrainingStep) -> SharedGradients:
    shared = step._gradients.shared
    assert isinstance(shared, SharedGradients)
    return shared


@dataclass(frozen=True)
class Timeline:
    """The gradient program of ``batch`` samples: what one thread computes, and what is sent.

    ``phases`` are the seconds of each phase, and ``rest`` those of the rest of a step. ``exchanges`` maps numbers of
    phases to the bytes that a rank sends after them; ``buckets`` are (bytes of gradients, number of phases after which
    they are complete), and ``small`` are the bytes of the loss and the running statistics.
    """

    batch: float
    phases: np.ndarray
    rest: float
    exchanges: dict[int, int]
    buckets: list[tuple[int, int]]
    small: int

    def step(self, ranks: int, link: Link) -> tuple[float, float]:
        """Return the predicted seconds of a step, and those in which it waits for sums of gradients."""
        if ranks == 1:
            return float(self.phases.sum()) + self.rest, 0.0

        def small(size: int) -> float:
            return link.gather(ranks, size) if gathers(ranks, size) else link.small_sum(ranks, size)

        now = link.gather(ranks, 3 * _WIDE)
        free = 0.0
        for place, seconds in enumerate(self.phases, 1):
            now += float(seconds)
            if place in self.exchanges:
                now += small(self.exchanges[place])
            for size, end in self.buckets:
                if end == place:
                    free = max(free, now) + link.sum(ranks, size)
        now += small(self.small)
        waited = max(0.0, free - now)
        return now + waited + self.rest, waited

    def hidden(self, ranks: int, link: Link) -> float:
        """Return the fraction of the time of the sums of gradients in which the rank computes."""
        total = sum(link.sum(ranks, size) for size, _ in self.buckets)
        return 1 - self.step(ranks, link)[1] / total


def timeline(network: Network, batch: int, repetitions: int) -> Timeline:
    """Measure one rank's part of a step with ``batch`` samples, on one thread.

    Other processes interrupt phases. The time of the processor that a step takes does not count them, so it is the
    total, and the least time of each phase says how it is divided.
    """
    step = step_of(network, Pretended(2), 2 * batch)
    x, y = samples(network, batch)
    step(x, y)
    shared = shared_gradients(step)
    executable: Any = shared.program.executable
    profile = executable.program.start_profile()
    times: list[float] = []
    each: list[np.ndarray] = []
    for _ in range(repetitions):
        profile.seconds[:] = 0
        start = time.process_time()
        step(x, y)
        times.append(time.process_time() - start)
        each.append(profile.seconds.copy())
    phases, total = np.min(each, axis=0), min(times)
    phases *= min(1.0, total / phases.sum())
    exchanges = {end: _WIDE * sum(spec.sizes) for end, spec in executable.exchanges()}
    buckets = [(4 * (one.stop - one.start), one.end) for one in shared.buckets]
    small = _WIDE * (1 + sum(array.size for array in dict(step.model.named_buffers()).values()))
    return Timeline(batch, phases, total - float(phases.sum()), exchanges, buckets, small)


@dataclass(frozen=True)
class Measured:
    """The timelines of one network for several sizes of a rank's part of the batch, in decreasing order."""

    network: Network
    lines: tuple[Timeline, ...]

    @staticmethod
    def of(network: Network, repetitions: int) -> Measured:
        sizes, size = list[int](), network.batch
        while size > 1:
            sizes.append(size)
            size //= 4
        note(f"{network.name}: measuring phases with {', '.join(map(str, sizes))} samples")
        return Measured(network, tuple(timeline(network, size, repetitions) for size in sizes))

    def at(self, batch: float) -> Timeline:
        """Return the timeline for a batch, in which each phase is on the line between the two nearest sizes."""
        below = max((line for line in self.lines if line.batch <= batch), key=lambda one: one.batch, default=None)
        above = min((line for line in self.lines if line.batch >= batch), key=lambda one: one.batch)
        if below is None or below is above:
            return above
        share = (batch - below.batch) / (above.batch - below.batch)
        return replace(
            below,
            batch=batch,
            phases=below.phases + share * (above.phases - below.phases),
            rest=below.rest + share * (above.rest - below.rest),
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the prediction for each link and number of ranks."""
        whole = self.lines[0]
        alone, _ = whole.step(1, next(iter(LINKS.values())))
        found: list[dict[str, Any]] = []
        for name, link in LINKS.items():
            for ranks in RANKS:
                weak, _ = whole.step(ranks, link)
                row = {"network": self.network.name, "link": name, "ranks": ranks, "alone": alone, "weak": alone / weak}
                if ranks > 1:
                    row["hidden"] = whole.hidden(ranks, link)
                if self.network.batch >= ranks * self.lines[-1].batch:
                    row["strong"] = alone / self.at(self.network.batch / ranks).step(ranks, link)[0]
                found.append(row)
        return found


def end_of_scaling(rows: Sequence[dict[str, Any]], network: str, link: str) -> tuple[int, float, int]:
    """Return where scaling stops for a network and a link.

    These are the number of ranks with the largest speed-up for the same batch, that speed-up, and the largest number of
    ranks that keep an efficiency of 0.9 with a batch each.
    """
    mine = [row for row in rows if (row["network"], row["link"]) == (network, link)]
    best = max((row for row in mine if "strong" in row), key=lambda row: row["strong"])
    efficient = max(row["ranks"] for row in mine if row["weak"] >= 0.9)
    return best["ranks"], best["strong"], efficient


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the speed-up of strong scaling and the efficiency of weak scaling, a column for each network."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    names = list(dict.fromkeys(row["network"] for row in rows))
    ticks = (1, 4, 16, 64, 256, 1000)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "striate", "font.size": 9}):
        figure = Figure(figsize=(2.6 * len(names) + 0.4, 5.2), layout="constrained")
        panels: Any = figure.subplots(2, len(names), squeeze=False, sharey="row")
        for column, name in enumerate(names):
            strong, weak = panels[0][column], panels[1][column]
            most = 1
            for link in LINKS:
                mine = [row for row in rows if (row["network"], row["link"]) == (name, link)]
                same = [row for row in mine if "strong" in row]
                most = max(most, *(row["ranks"] for row in same))
                strong.plot([row["ranks"] for row in same], [row["strong"] for row in same], "o-", ms=3, label=link)
                weak.plot([row["ranks"] for row in mine], [row["weak"] for row in mine], "o-", ms=3, label=link)
            strong.plot([1, most], [1, most], ":", color="grey", zorder=0, label="ideal")
            strong.set(xscale="log", yscale="log", title=name, xlabel="ranks")
            weak.set(xscale="log", ylim=(0, 1.05), xlabel="ranks")
            for panel in (strong, weak):
                panel.set_xlim(0.8, 1250)
                panel.xaxis.set_major_locator(FixedLocator(ticks))
                panel.xaxis.set_minor_locator(NullLocator())
                panel.xaxis.set_major_formatter(ScalarFormatter())
                panel.grid(alpha=0.3)
        panels[0][0].set_ylabel("speed-up, same batch")
        panels[0][0].yaxis.set_major_formatter(ScalarFormatter())
        panels[1][0].set_ylabel("efficiency, a batch per rank")
        panels[0][0].legend(fontsize=7)
        figure.savefig(path, metadata={"Date": None})


def speed_ups(row: dict[str, Any]) -> str:
    return f"{row['strong']:.1f} / {row['weak']:.2f}" if "strong" in row else f"– / {row['weak']:.2f}"
