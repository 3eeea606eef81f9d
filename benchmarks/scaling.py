"""Compare the speedup of training on two threads with that of the probe's multiply-adds.

    python benchmarks/scaling.py                                   the four networks
    python benchmarks/scaling.py --networks zoo                    the ten fixed networks of ``zoo``
    python benchmarks/scaling.py --networks resnet18 --repetitions 20 --json

Both trainings run in their own processes, in turns, with the probe around each turn. Two virtual cores may be two
threads of one core, so the speedup cannot exceed the probe's ratio at that moment. The result of a repetition is
therefore the ratio of the two turns divided by the probe's ratio, and the median over repetitions must be at least
0.93. Repetitions next to a reading in which both threads reached less than 1.6 times one thread are dropped.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from compare import turn_length
from configuration import STRIATE
from networks import Network
from probe import Probe, Reading
from report import machine, note, print_json, print_table
from worker import Worker
from zoo_networks import KNOWN, ZooNetwork, add_known_networks, chosen
from zoo_worker import ZooWorker

LEAST = 0.93


@dataclass(frozen=True)
class Repetition:
    """The seconds of a step on one thread and on several, and the CPU's peak before, between and after.

    The peaks are readings of the probe, which measures multiply-adds of one thread and of all threads.
    """

    one: float
    several: float
    readings: tuple[Reading, Reading, Reading]

    @property
    def clean(self) -> bool:
        """Whether every thread had a core to itself throughout the repetition."""
        return all(reading.clean for reading in self.readings)

    @property
    def probe(self) -> float:
        """The probe's ratio: the peak of all threads around their turn over that of one thread around its turn."""
        before, between, after = self.readings
        return (before.together + between.together) / (between.single + after.single)

    @property
    def efficiency(self) -> float:
        """The speedup of training on all threads, divided by the probe's ratio."""
        return self.one / self.several / self.probe


def measure(network: Network, threads: int, repetitions: int, steps: int, probe: Probe) -> list[Repetition]:
    """Run interleaved turns of a training on one thread and of one on ``threads`` threads."""
    found: list[Repetition] = []
    with ExitStack() as stack:
        started = ZooWorker if isinstance(network, ZooNetwork) else Worker
        several = stack.enter_context(started(network, STRIATE, threads))
        one = stack.enter_context(started(network, STRIATE, 1))
        for repetition in range(repetitions):
            before = probe()
            fast = statistics.median(several.turn(turn_length(several, steps)))
            between = probe()
            slow = statistics.median(one.turn(turn_length(one, steps)))
            found.append(Repetition(slow, fast, (before, between, probe())))
            note(f"{network.title}: round {repetition + 1} of {repetitions}")
    return found


def _median(numbers: Sequence[float]) -> float:
    return statistics.median(numbers) if numbers else math.nan


def main() -> int:
    """Measure all chosen networks, print the table, and return 1 if a network scales worse than required."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_known_networks(parser)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=12, help="rounds (12)")
    parser.add_argument("--steps", type=int, default=5, help="least steps of a turn (5)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    probe = Probe(options.threads)
    results = {
        network.name: measure(network, options.threads, options.repetitions, options.steps, probe)
        for network in chosen(options.networks)
    }
    kept = {name: [each for each in found if each.clean] for name, found in results.items()}
    medians = {name: _median([each.efficiency for each in found]) for name, found in kept.items()}
    if options.json:
        print_json(
            {
                "machine": machine(),
                "threads": options.threads,
                "efficiency": medians,
                "repetitions": {name: [asdict(each) for each in found] for name, found in results.items()},
            }
        )
    else:
        rows = [
            [
                KNOWN[name].title,
                f"{_median([each.one for each in found]) * 1e3:.1f}",
                f"{_median([each.several for each in found]) * 1e3:.1f}",
                f"{_median([each.one / each.several for each in found]):.2f}x",
                f"{_median([each.probe for each in found]):.2f}x",
                f"{medians[name]:.2f}",
                "yes" if medians[name] >= LEAST else "NO",
                f"{len(results[name]) - len(found)}/{len(results[name])}",
            ]
            for name, found in kept.items()
        ]
        columns = (
            "network",
            "one thread, ms",
            f"{options.threads} threads, ms",
            "ratio",
            "probe",
            "over probe",
            "holds",
            "dropped",
        )
        print_table("Training step", columns, rows)
    return 0 if all(median >= LEAST for median in medians.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
