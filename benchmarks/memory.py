"""Measure resident memory over 200 training steps with changing batch sizes, and compare it with PyTorch.

    python benchmarks/memory.py
    python benchmarks/memory.py --networks lenet5 --steps 50

The first step has the largest batch, the others have any size up to it. Memory must not grow from the second step on.
PyTorch runs on the same batches with channels_last, which needs the least memory of its eager configurations.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from configuration import CHANNELS_LAST, STRIATE, Configuration
from networks import NETWORKS, Network, add_networks
from report import machine, note, print_json, print_table
from worker import prepared

GROWTH_MB = 2.0
"""The growth in MB that counts as none, since Python's allocator fluctuates by itself."""


@dataclass(frozen=True)
class Course:
    """The resident memory in MB after each step, and the peak of the process."""

    resident: list[float]
    peak: float

    @property
    def growth(self) -> float:
        """The growth in MB from the second step to the largest later value."""
        return max(self.resident[1:]) - self.resident[1]

    @property
    def flat(self) -> bool:
        """Whether the memory did not grow by more than the limit."""
        return self.growth <= GROWTH_MB


def status(field: str) -> float:
    """Return a field of /proc/self/status in MB (10⁶ bytes): VmRSS is the current memory, VmHWM the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(field)


def batch_sizes(largest: int, steps: int) -> list[int]:
    """Return the largest size, followed by random sizes from 2 to it; every call returns the same sizes."""
    random = np.random.default_rng(0)
    return [largest, *(int(size) for size in random.integers(2, largest + 1, steps - 1))]


def course(network: Network, configuration: Configuration, threads: int, steps: int, largest: int) -> Course:
    """Train in this process, and record its memory after each step."""
    order = {
        "network": network.name,
        "batch": largest,
        "threads": threads,
        "seed": 0,
        "configuration": configuration.arguments(),
    }
    step, convert = prepared(order)
    random = np.random.default_rng(1)
    resident: list[float] = []
    # Batches are slices of one pool, since arrays allocated for each step would change the measured memory.
    pool = random.standard_normal((largest, *network.sample), np.float32)
    labels = random.integers(0, 10, largest)
    for size in batch_sizes(largest, steps):
        step(*convert(pool[:size], labels[:size]))
        resident.append(status("VmRSS"))
    return Course(resident, status("VmHWM"))


def in_fresh_process(network: Network, configuration: Configuration, threads: int, steps: int, largest: int) -> Course:
    """Run ``course`` in a process of its own."""
    arguments = [network.name, configuration.name, str(threads), str(steps), str(largest)]
    finished = subprocess.run(
        [sys.executable, __file__, "--child", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return Course(**json.loads(finished.stdout.splitlines()[-1]))


def child(name: str, configuration: str, *numbers: str) -> None:
    """Run ``course`` and print its result as JSON; the fresh process calls this."""
    known = {each.name: each for each in (STRIATE, CHANNELS_LAST)}
    print(json.dumps(vars(course(NETWORKS[name], known[configuration], *(int(number) for number in numbers)))))


def main() -> int:
    """Measure all chosen networks, print the table, and return 1 if striate's memory grew."""
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="another largest batch than the benchmark's")
    parser.add_argument("--no-peer", action="store_true", help="striate alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, dict[str, Course]] = {}
    for name in options.networks:
        network = NETWORKS[name]
        found[name] = {}
        for configuration in (STRIATE,) if options.no_peer else (STRIATE, CHANNELS_LAST):
            note(f"{network.title}: {configuration.name}")
            found[name][configuration.name] = in_fresh_process(
                network, configuration, options.threads, options.steps, options.batch or network.batch
            )
    if options.json:
        content = {name: {who: vars(course) for who, course in each.items()} for name, each in found.items()}
        print_json({"machine": machine(), "networks": content})
    else:
        rows = [
            (
                f"{NETWORKS[name].title}, {who}",
                f"{one.resident[1]:.0f}",
                f"{one.resident[-1]:.0f}",
                f"{one.growth:.1f}",
                f"{one.peak:.0f}",
                f"{one.peak / courses[STRIATE.name].peak:.2f}x",
                "yes" if one.flat else "no",
            )
            for name, courses in found.items()
            for who, one in courses.items()
        ]
        columns = ("", "after step 2", "after the last", "growth", "peak", "over striate", "flat")
        print_table(f"Resident memory in MB, {options.steps} steps of changing batches", columns, rows)
    return 0 if all(courses[STRIATE.name].flat for courses in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
