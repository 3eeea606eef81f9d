"""Predict and measure how a training step scales over ranks (processes) that share its batch over MPI.

    python benchmarks/ranks.py                                  the model of cost: step times up to 1,000 ranks
    python benchmarks/ranks.py --plot scaling.svg               the same, drawn
    python benchmarks/ranks.py --measure 1 2                    step times on ranks of this machine
    python benchmarks/ranks.py --measure 1 3 --hosts 1gbit      each rank on a host of its own: three network namespaces
                                                                with veth links of this rate; needs root and `ip`, `tc`

The model takes the time of each phase of the gradient program, measured here on one thread, and the places where the
program exchanges statistics and where its buckets of gradients are complete. It then runs along the phases: an exchange
of a layer's statistics adds its latency, and a bucket of G bytes takes 2 G (R − 1) / R / bandwidth + 2 ⌈log₂ R⌉ latency
on the network, one after the other, while the phases go on. Strong scaling divides the batch of one process among the
ranks; weak scaling gives each rank that batch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from networks import NETWORKS, Network
from report import note, print_json, print_table

from striate import TrainingStep, models, nn, optim, settings
from striate.distributed import Communicator
from striate.distributed.communicator import Done
from striate.distributed.launcher import launch_command
from striate.distributed.mpi import MpiCommunicator
from striate.step.shared_gradients import SharedGradients

RANKS = (1, 2, 4, 8, 16, 64, 256, 1000)
LINKS = {"1 Gbit/s, 0.2 ms": (125e6, 200e-6), "10 Gbit/s, 50 µs": (1.25e9, 50e-6), "100 Gbit/s, 3 µs": (12.5e9, 3e-6)}
"""Bandwidth in bytes per second and latency in seconds of one network card."""


class Pretended(Communicator):
    """A communicator of two ranks in which the other rank has the same numbers; it sends nothing."""

    rank, size = 0, 2

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        return np.stack([numbers, numbers])

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return [contents, contents]

    def start_sum(self, array: np.ndarray) -> Done:
        return Done()

    def swap(self, array: np.ndarray, partner: int) -> np.ndarray:
        return array

    def on_this_host(self) -> Sequence[int]:
        return (0,)

    def abort(self, code: int) -> None:
        raise SystemExit(code)


class Timed(MpiCommunicator):
    """A communicator that adds up how long sums take, and how long this rank waits for them and for exchanges."""

    def __init__(self, communicator: Any) -> None:
        super().__init__(communicator)
        self.sums = self.waits = self.exchanges = 0.0

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        found = super().gather(numbers)
        self.exchanges += time.perf_counter() - start
        return found

    def start_sum(self, array: np.ndarray) -> Any:
        pending = super().start_sum(array)
        return TimedSum(self, pending) if array.dtype == np.float32 else pending  # losses and statistics are float64


class TimedSum:
    def __init__(self, owner: Timed, pending: Any) -> None:
        self._owner, self._pending, self._start = owner, pending, time.perf_counter()

    def test(self) -> bool:
        if found := self._pending.test():
            self._owner.sums += time.perf_counter() - self._start
        return found

    def wait(self) -> None:
        start = time.perf_counter()
        self._pending.wait()
        self._owner.sums += time.perf_counter() - self._start
        self._owner.waits += time.perf_counter() - start


def step_of(network: Network, communicator: Communicator | None, batch: int) -> TrainingStep:
    model = models.build(network.name, seed=0)
    rule = optim.SGD(lr=0.01, momentum=0.9)
    return TrainingStep(model, nn.CrossEntropyLoss(), rule, communicator=communicator, capacity=batch)


def samples(network: Network, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((n, *network.sample), np.float32), random.integers(0, 10, n)


@dataclass(frozen=True)
class Timeline:
    """The gradient program of one batch: seconds of each phase, and of the rest of a step, and what is exchanged.

    ``exchanges`` maps numbers of phases to the bytes that a rank sends after them; ``buckets`` are (bytes, number of
    phases after which they are complete).
    """

    batch: int
    phases: list[float]
    rest: float
    exchanges: dict[int, int]
    buckets: list[tuple[int, int]]

    def step(self, ranks: int, bandwidth: float, latency: float) -> tuple[float, float]:
        """Return the predicted seconds of a step, and those in which it waits for sums of gradients."""
        rounds = math.ceil(math.log2(ranks))
        now = free = 0.0
        for place, seconds in enumerate(self.phases, 1):
            now += seconds
            if size := self.exchanges.get(place):
                now += rounds * latency + (ranks - 1) * size / bandwidth
            for size, end in self.buckets:
                if end == place and ranks > 1:
                    took = 2 * size * (ranks - 1) / ranks / bandwidth + 2 * rounds * latency
                    free = max(free, now) + took
        waited = max(0.0, free - now)
        return now + waited + self.rest + 3 * rounds * latency, waited


def timeline(network: Network, batch: int, repetitions: int) -> Timeline:
    """Measure one rank's part of a step with ``batch`` samples, on one thread."""
    step = step_of(network, Pretended(), 2 * batch)
    x, y = samples(network, batch)
    step(x, y)
    shared = step._shared
    assert isinstance(shared, SharedGradients)
    executable: Any = shared.program.executable
    profile = executable.program.start_profile()
    times: list[float] = []
    each: list[np.ndarray] = []
    for _ in range(repetitions):
        profile.seconds[:] = 0
        start = time.process_time()  # of one thread, so other processes do not count
        step(x, y)
        times.append(time.process_time() - start)
        each.append(profile.seconds.copy())
    phases = np.min(each, axis=0).tolist()  # what other processes did meanwhile only adds
    width = 8 * 2
    exchanges = {end: width * sum(spec.sizes) for end, spec in executable.exchanges()}
    buckets = [(4 * (one.stop - one.start), one.end) for one in shared.buckets]
    return Timeline(batch, phases, max(0.0, min(times) - sum(phases)), exchanges, buckets)


def at_batch(whole: Timeline, small: Timeline, batch: float) -> Timeline:
    """Return the timeline of another batch, each phase on the line through those of two measured batches.

    Phases that other processes delayed must not make it faster than in proportion to the batch.
    """
    share, least = (batch - small.batch) / (whole.batch - small.batch), batch / whole.batch
    pairs = zip(small.phases, whole.phases, strict=True)
    phases = [max(low + share * (high - low), least * high) for low, high in pairs]
    return Timeline(round(batch), phases, whole.rest, whole.exchanges, whole.buckets)


def predicted(networks: Sequence[Network], repetitions: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for network in networks:
        note(f"{network.name}: measuring its phases")
        whole = timeline(network, network.batch, repetitions)
        small = timeline(network, max(2, network.batch // 8), repetitions)
        alone = whole.step(1, math.inf, 0.0)[0]
        for link, (bandwidth, latency) in LINKS.items():
            for ranks in RANKS:
                weak, waited = whole.step(ranks, bandwidth, latency)
                row = {"network": network.name, "link": link, "ranks": ranks, "weak": alone / weak, "waited": waited}
                if network.batch >= ranks:
                    strong = at_batch(whole, small, network.batch / ranks).step(ranks, bandwidth, latency)[0]
                    row["strong"] = alone / strong
                found.append(row)
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the speed-up of strong scaling and the efficiency of weak scaling, a panel for each network."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(3 * len(names), 5), layout="constrained")
    panels: Any = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for link in LINKS:
            mine = [row for row in rows if (row["network"], row["link"]) == (name, link)]
            strong = [row for row in mine if "strong" in row]
            panels[0][column].plot(
                [row["ranks"] for row in strong], [row["strong"] for row in strong], "o-", label=link
            )
            panels[1][column].plot([row["ranks"] for row in mine], [row["weak"] for row in mine], "o-", label=link)
        panels[0][column].set(xscale="log", yscale="log", title=name, ylabel="speed-up, same batch")
        panels[1][column].set(xscale="log", ylim=(0, 1.05), xlabel="ranks", ylabel="efficiency, a batch per rank")
    panels[1][0].legend(fontsize=7)
    figure.savefig(path)


# Measuring


def worker(name: str, batch: int, repetitions: int) -> None:
    """Run steps on the ranks that a launcher started; rank 0 prints a JSON document."""
    from mpi4py import MPI

    network = NETWORKS[name]
    ranks = Timed(MPI.COMM_WORLD)
    settings.override(threads=1)
    step = step_of(network, ranks, batch)
    x, y = samples(network, batch)
    first, last = ranks.rank * batch // ranks.size, (ranks.rank + 1) * batch // ranks.size
    step(x[first:last], y[first:last])
    ranks.sums = ranks.waits = ranks.exchanges = 0.0
    times: list[float] = []
    loss = math.nan
    for _ in range(repetitions):
        start = time.perf_counter()
        loss = step(x[first:last], y[first:last])
        times.append(time.perf_counter() - start)
    if ranks.rank == 0:
        hidden = 1 - ranks.waits / ranks.sums if ranks.sums else 1.0
        seconds = statistics.median(times)
        found = {"network": name, "ranks": ranks.size, "seconds": seconds, "hidden": hidden, "loss": loss}
        print(json.dumps({**found, "exchanges": ranks.exchanges / repetitions}), flush=True)


AGENT = """#!/bin/sh
# Called by mpirun in place of ssh: the last number of the address is that of the namespace.
number=${1##*.}; shift
exec ip netns exec striate$number unshare -u sh -c "hostname striate$number; $*"
"""


@contextmanager
def hosts(count: int, rate: str) -> Generator[list[str]]:
    """Create network namespaces as hosts, each with a veth link of this rate to a bridge; yield options of mpirun."""

    def ip(*words: object, check: bool = True) -> None:
        subprocess.run(["ip", *map(str, words)], check=check, capture_output=not check)

    def remove() -> None:
        for number in range(1, count + 1):
            ip("netns", "del", f"striate{number}", check=False)
        ip("link", "del", "striate0", check=False)

    remove()
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder) / "agent"
        agent.write_text(AGENT)
        agent.chmod(0o700)
        try:
            ip("link", "add", "striate0", "type", "bridge")
            ip("link", "set", "striate0", "up")
            for number in range(1, count + 1):
                name = f"striate{number}"
                ip("netns", "add", name)
                ip("link", "add", f"veth{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("link", "set", f"veth{number}", "master", "striate0", "up")
                ip("-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", "eth0")
                for device in ("eth0", "lo"):
                    ip("-n", name, "link", "set", device, "up")
                limit = f"netns exec {name} tc qdisc add dev eth0 root tbf rate {rate} burst 256kb latency 50ms"
                ip(*limit.split())
            addresses = ",".join(f"10.99.0.{number}:1" for number in range(1, count + 1))
            yield [
                "--prtemca", "plm_ssh_agent", str(agent), "--prtemca", "prte_if_include", "10.99.0.0/24",
                "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "10.99.0.0/24",
                "--host", addresses, "-x", "PYTHONPATH",
            ]  # fmt: skip
        finally:
            remove()


def measured(name: str, ranks: int, batch: int, repetitions: int, rate: str | None) -> dict[str, Any]:
    own = [sys.executable, __file__, "--worker", name, "--batch", str(batch), "--repetitions", str(repetitions)]
    folders = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "STRIATE_THREADS": "1"}
    command = launch_command(ranks, own)
    if rate is None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    else:
        with hosts(ranks, rate) as options:
            command = [*command[: -len(own)], *options, *own]
            inside = [
                "ip",
                "netns",
                "exec",
                "striate1",
                "unshare",
                "-u",
                "sh",
                "-c",
                'hostname striate1; exec "$@"',
                "_",
            ]
            done = subprocess.run([*inside, *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--measure", nargs="+", type=int, metavar="RANKS", help="measure on so many ranks")
    parser.add_argument("--hosts", metavar="RATE", help="each rank in a network namespace with a link of this rate")
    parser.add_argument("--batch", type=int, help="samples of a batch (default: those of the network)")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--plot", type=Path, help="draw the predictions into this file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.batch, given.repetitions)
        return
    networks = [NETWORKS[name] for name in given.networks]
    if given.measure:
        rows = []
        for network in networks:
            for ranks in given.measure:
                batch = given.batch or network.batch
                rows.append(measured(network.name, ranks, batch, given.repetitions, given.hosts if ranks > 1 else None))
        if given.json:
            print_json(rows)
            return
        print_table(
            "one thread per rank",
            ("network", "ranks", "ms per step", "sums hidden", "ms in exchanges"),
            [
                (
                    row["network"], str(row["ranks"]), f"{1e3 * row['seconds']:.1f}", f"{100 * row['hidden']:.0f} %",
                    f"{1e3 * row['exchanges']:.2f}",
                )
                for row in rows
            ],
        )  # fmt: skip
        return
    settings.override(threads=1)
    rows = predicted(networks, given.repetitions)
    if given.plot:
        draw(rows, given.plot)
    if given.json:
        print_json(rows)
        return
    for link in LINKS:
        print_table(
            f"predicted speed-up with the same batch / efficiency with a batch per rank, {link}",
            ("network", *map(str, RANKS)),
            [
                (
                    network.name,
                    *(
                        f"{row['strong']:.1f} / {row['weak']:.2f}" if "strong" in row else f"– / {row['weak']:.2f}"
                        for row in rows
                        if (row["network"], row["link"]) == (network.name, link)
                    ),
                )
                for network in networks
            ],
        )


if __name__ == "__main__":
    main()
