"""What ``ranks.py`` measures: runs steps on the ranks that a launcher started; rank 0 prints a JSON document.

    ranks_worker.py '{"network": "lenet5", "batch": 128, "repetitions": 10, "link": null}'

With "rounds", each round times some steps of rank 0 alone, with as many threads as there are ranks, and some steps of
all ranks, with one thread each, in turns.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI
from networks import NETWORKS
from ranks_links import Link, Timed
from ranks_model import samples, shared_gradients, step_of

from striate import settings
from striate.distributed.mpi import MpiCommunicator

_PAUSE = 2e-3
"""Seconds between two looks of a rank that waits while another one is timed: it must not need a core."""


def quietly(world: Any) -> None:
    """Wait for all ranks without spinning."""
    request = world.Ibarrier()
    while not request.Test():
        time.sleep(_PAUSE)


def link_of(world: Any) -> tuple[float, float]:
    """Return the seconds of half a round trip between ranks 0 and 1, and the bytes per second of a long message."""
    other = 1 - world.rank
    short, long = np.zeros(1), np.zeros(1 << 21)
    times = {1: list[float](), 2: list[float]()}
    if world.rank < 2:
        for kind, array, count in ((1, short, 200), (2, long, 5)):
            for _ in range(count):
                start = time.perf_counter()
                for turn in (0, 1):
                    if turn == world.rank:
                        world.Send(array, other)
                    else:
                        world.Recv(array, other)
                times[kind].append((time.perf_counter() - start) / 2)
    quietly(world)
    return (statistics.median(times[1]), long.nbytes / min(times[2])) if world.rank < 2 else (0.0, 0.0)


def sum_alone(ranks: Timed, sizes: list[int]) -> float:
    """Return the seconds that sums of so many gradients take if nothing is computed meanwhile."""
    arrays, times = [np.zeros(size, np.float32) for size in sizes], list[float]()
    for _ in range(5):
        quietly(MPI.COMM_WORLD)
        start = time.perf_counter()
        for one in [ranks.start_sum(array) for array in arrays]:
            one.wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def clocks(step: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of a step, and the seconds of the processor that this process needed for it."""
    start, own = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - own


def main() -> None:
    given = json.loads(sys.argv[1])
    world = MPI.COMM_WORLD
    network, batch = NETWORKS[given["network"]], given["batch"]
    ranks = Timed(MpiCommunicator(world), Link.parse(given["link"]) if given["link"] else None)
    settings.override(threads=1)
    x, y = samples(network, batch)
    first, last = ranks.rank * batch // ranks.size, (ranks.rank + 1) * batch // ranks.size
    step = step_of(network, ranks, batch)
    losses: list[float] = []

    def together() -> float:
        losses.append(step(x[first:last], y[first:last]))
        return losses[-1]

    together()
    shared: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    ratios: list[float] = []
    ranks.reset()
    if rounds := given.get("rounds"):
        single = step_of(network, None, batch) if ranks.rank == 0 else None

        def by_itself() -> list[tuple[float, float]]:
            if single is None:
                return []
            settings.override(threads=ranks.size)
            single(x, y)
            found = [clocks(lambda: single(x, y)) for _ in range(given["repetitions"])]
            settings.override(threads=1)
            return found

        def by_all() -> list[tuple[float, float]]:
            together()
            return [clocks(together) for _ in range(given["repetitions"])]

        quietly(world)
        for number in range(rounds):
            one: list[tuple[float, float]] = []
            if number % 2 == 0:
                one = by_itself()
            quietly(world)
            several = by_all()
            quietly(world)
            if number % 2:
                one = by_itself()
            quietly(world)
            alone += one
            shared += several
            if one:
                ratios.append(statistics.median(t for t, _ in one) / statistics.median(t for t, _ in several))
    else:
        shared = [clocks(together) for _ in range(given["repetitions"])]
    count = len(losses) - 1
    waits, exchanges, messages = ranks.waits / count, ranks.exchanges / count, ranks.messages / count
    sums = sum_alone(ranks, [one.stop - one.start for one in shared_gradients(step).buckets]) if ranks.size > 1 else 0.0
    delay, rate = link_of(world) if ranks.size > 1 else (0.0, 0.0)
    own = statistics.median(cpu for _, cpu in shared)
    found = {
        "network": network.name,
        "ranks": ranks.size,
        "seconds": statistics.median(seconds for seconds, _ in shared),
        "cpu": world.allreduce(own),
        "waits": waits,
        "exchanges": exchanges,
        "messages": messages,
        "sums": sums,
        "hidden": max(0.0, 1 - waits / sums) if sums else 1.0,
        "latency": delay,
        "bandwidth": rate,
        "loss": losses[-1],
    }
    if ratios:
        found |= {
            "alone": statistics.median(seconds for seconds, _ in alone),
            "alone_cpu": statistics.median(cpu for _, cpu in alone),
            "ratios": ratios,
        }
    if ranks.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
