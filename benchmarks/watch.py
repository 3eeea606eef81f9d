"""Measure the cost of watching: training steps with and without a watch on every layer, interleaved.

    python benchmarks/watch.py
    python benchmarks/watch.py --networks lenet5 --repetitions 200

A watch collects statistics of all layers during a step. Two trainings of the same network alternate in one process, on
the same batches; before each timed step, an untimed one of the same training restores its caches. The cost is the
median over repetitions of watched / plain. Repetitions in which the probe finds the cores busy or shared are dropped if
at least a third are clean; otherwise the machine was too busy for a verdict, and all are kept; the quartiles then show
the spread. Afterwards all parameters, running statistics and momenta of both trainings are compared bit by bit.

``record`` is the time of ``watch.record()``, which the live record of a run calls at most every second, and for at most
2 % of the time. ``first step`` is the time until the first step has run, including compilation unless kernels are in
the cache. The exit code is 1 if a cost exceeds 5 % or a bit differs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
from networks import NETWORKS, Network, add_networks, batches, striate_model
from probe import Probe
from report import machine, note, print_json, print_table

import striate as st
from striate import nn, optim, settings

LIMIT = 1.05
RECORDS = 5


@dataclass(frozen=True)
class Cost:
    """The results of one network: milliseconds, and ratios of the watched step to the plain one."""

    network: str
    batch: int
    plain: float
    watched: float
    ratio: float
    quartiles: tuple[float, float]
    least: float
    record: float
    first_plain: float
    first_watched: float
    same_bits: bool
    clean: int
    repetitions: int

    @property
    def holds(self) -> bool:
        """Whether the cost is within the limit and all bits are equal."""
        return self.ratio <= LIMIT and self.same_bits


def same_bits(one: st.TrainingStep, other: st.TrainingStep) -> bool:
    """Return whether the states of two trainings are equal, bit for bit."""
    return all(
        ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
        for ours, theirs in (
            (one.model.state_dict(), other.model.state_dict()),
            (one.state_dict(), other.state_dict()),
        )
    )


def measure(network: Network, batch: int, repetitions: int) -> Cost:
    """Train alternately with and without a watch, and return the cost."""
    source = batches(network, batch, 0)
    pool = [next(source) for _ in range(4)]

    def begun(watched: bool) -> tuple[st.TrainingStep, float]:
        step = st.TrainingStep(
            striate_model(network), nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9), capacity=batch
        )
        if watched:
            step.watch("*")
        start = time.perf_counter()
        step(*pool[0])
        return step, time.perf_counter() - start

    plain, first_plain = begun(False)
    watched, first_watched = begun(True)
    probe = Probe(settings.current().threads)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    clean: list[bool] = []
    for number in range(repetitions):
        before = probe()
        for which in (False, True) if number % 2 else (True, False):
            step = watched if which else plain
            step(*pool[number % 4])
            start = time.perf_counter()
            step(*pool[(number + 1) % 4])
            seconds[which].append(time.perf_counter() - start)
        clean.append(before.clean and probe().clean)
    kept = np.array(clean) if sum(clean) * 3 >= repetitions else np.ones(repetitions, bool)
    without, with_it = (np.array(seconds[which])[kept] for which in (False, True))
    ratios = with_it / without
    low, high = (float(np.quantile(ratios, q)) for q in (0.25, 0.75))
    return Cost(
        network=network.name,
        batch=batch,
        plain=1e3 * float(np.median(without)),
        watched=1e3 * float(np.median(with_it)),
        ratio=float(np.median(ratios)),
        quartiles=(low, high),
        least=float(with_it.min() / without.min()),
        record=1e3 * recorded(watched, pool[0]),
        first_plain=first_plain,
        first_watched=first_watched,
        same_bits=same_bits(plain, watched),
        clean=sum(clean),
        repetitions=repetitions,
    )


def recorded(step: st.TrainingStep, batch: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the median seconds of ``watch.record()``; the state of the training is restored afterwards."""
    watch = step.watch("*")
    state, model = step.state_dict(), step.model.state_dict()
    step(*batch)
    found: list[float] = []
    for _ in range(RECORDS):
        start = time.perf_counter()
        watch.record()
        found.append(time.perf_counter() - start)
    watch.close()
    step.model.load_state_dict(model)
    step.load_state_dict(state)
    return statistics.median(found)


def main() -> int:
    """Measure all chosen networks, print the table, and return 1 if a cost exceeds the limit or a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    parser.add_argument("--repetitions", type=int, help="pairs of steps (200 for LeNet, 60 for the others)")
    parser.add_argument("--batch", type=int, help="another batch size than the benchmark's")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    costs: list[Cost] = []
    for name in options.networks:
        network = NETWORKS[name]
        note(f"{network.title}, batch {options.batch or network.batch}")
        count = options.repetitions or (200 if network.work() < 10 else 60)
        costs.append(measure(network, options.batch or network.batch, count))
    if options.json:
        print_json({"machine": machine(), "costs": [asdict(cost) for cost in costs]})
    else:
        print_table(
            "Training steps with a watch on every layer, in ms",
            ("", "plain", "watched", "cost", "quartiles", "of minima", "record", "first step, s", "bits", "clean"),
            [
                (
                    f"{NETWORKS[cost.network].title}, {cost.batch}", f"{cost.plain:.2f}", f"{cost.watched:.2f}",
                    f"{100 * (cost.ratio - 1):+.1f} %",
                    " … ".join(f"{100 * (one - 1):+.1f}" for one in cost.quartiles), f"{100 * (cost.least - 1):+.1f} %",
                    f"{cost.record:.1f}", f"{cost.first_plain:.2f} → {cost.first_watched:.2f}",
                    "same" if cost.same_bits else "DIFFER", f"{cost.clean}/{cost.repetitions}",
                )
                for cost in costs
            ],
        )  # fmt: skip
    return 0 if all(cost.holds for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
