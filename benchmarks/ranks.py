"""Predict and measure how a training step scales over ranks (processes) that share its batch over MPI.

    python benchmarks/ranks.py                                  the model of cost: step times up to 1,000 ranks
    python benchmarks/ranks.py --plot scaling.svg               the same, drawn
    python benchmarks/ranks.py --compare 2                      2 ranks of one thread against one rank of 2 threads
    python benchmarks/ranks.py --measure 1 2                    step times on ranks of this machine
    python benchmarks/ranks.py --measure 3 --link 1gbit:0.2ms   the same, with messages delayed as on such a link
    python benchmarks/ranks.py --measure 3 --hosts 1gbit:0.2ms  each rank on a host of its own: network namespaces that
                                                                such links connect; needs root, `ip` and TUN devices
    python benchmarks/ranks.py --check                          the model against steps with delayed messages

The model takes the time of each phase of the gradient program, measured here on one thread, and the places where the
program exchanges statistics and where its buckets of gradients are complete. It then runs along the phases: an exchange
of a layer's statistics adds its time on the link, and buckets of G bytes take 2 G (R − 1) / R / bandwidth + 2 ⌈log₂ R⌉
latency, one after the other, while the phases go on. Strong scaling divides the batch of one process among the ranks;
weak scaling gives each rank that batch.

``--link`` and ``--check`` delay messages in the process itself: the rank sleeps for as long as a small message would
take, and a sum of gradients is complete when the link would have carried it. The computation, its overlap with the sums
and the order of all messages are real. ``--check`` runs one process that pretends to be one of many.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from networks import NETWORKS, Network
from ranks_hosts import hosts
from ranks_links import Link, Pretended, Timed
from ranks_model import LINKS, RANKS, Measured, draw, end_of_scaling, samples, speed_ups, step_of
from report import note, print_json, print_table

from striate import settings
from striate.distributed.launcher import launch_command

_CHECKED = (2, 8, 64)
"""The numbers of ranks for which ``--check`` compares the model with steps."""


def run_worker(network: str, ranks: int, given: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Start ``ranks_worker.py`` on the ranks, and return what it found."""
    options = {
        "network": network, "batch": given.batch or NETWORKS[network].batch, "repetitions": given.repetitions,
        "link": given.link, **more,
    }  # fmt: skip
    own = [sys.executable, str(Path(__file__).with_name("ranks_worker.py")), json.dumps(options)]
    folders = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = launch_command(ranks, own)
    if given.hosts and ranks > 1:
        with hosts(ranks, Link.parse(given.hosts)) as (inside, on_hosts):
            command = [*inside, *command[: -len(own)], *on_hosts, *own]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    else:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def measure(networks: Sequence[Network], given: argparse.Namespace) -> None:
    rows = [run_worker(network.name, ranks, given) for network in networks for ranks in given.measure]
    if given.json:
        print_json(rows)
        return
    print_table(
        "one thread per rank; ms per step, except the last two columns",
        ("network", "ranks", "step", "processor", "waiting for sums", "sums alone", "hidden", "in exchanges",
         "messages", "ms half a round trip", "Gbit/s"),
        [
            (
                row["network"], str(row["ranks"]), milliseconds(row["seconds"]), milliseconds(row["cpu"]),
                milliseconds(row["waits"]), milliseconds(row["sums"]), percent(row["hidden"]),
                milliseconds(row["exchanges"]), f"{row['messages']:.0f}", f"{1e3 * row['latency']:.3f}",
                f"{8e-9 * row['bandwidth']:.2f}",
            )
            for row in rows
        ],
    )  # fmt: skip


def compare(networks: Sequence[Network], given: argparse.Namespace) -> None:
    """Print the speed of ranks of one thread, relative to one rank of as many threads; rounds alternate."""
    rows: list[dict[str, Any]] = []
    for network in networks:
        note(f"{network.name}: {given.rounds} rounds")
        rows.append(run_worker(network.name, given.compare, given, rounds=given.rounds))
    if given.json:
        print_json(rows)
        return
    ranks = given.compare
    print_table(
        f"{ranks} ranks of 1 thread against 1 rank of {ranks} threads, ms per step, {given.rounds} rounds",
        ("network", f"1 × {ranks}", f"{ranks} × 1", "speed, median", "least", "most", "processor time", "hidden",
         "waiting for sums", "in exchanges"),
        [
            (
                row["network"], milliseconds(row["alone"]), milliseconds(row["seconds"]),
                f"{statistics.median(row['ratios']):.3f}", f"{min(row['ratios']):.3f}", f"{max(row['ratios']):.3f}",
                f"{row['cpu'] / row['alone_cpu']:.3f} ×", percent(row["hidden"]), milliseconds(row["waits"]),
                milliseconds(row["exchanges"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def check(networks: Sequence[Network], given: argparse.Namespace) -> None:
    """Compare the model with steps of one process that pretends to be one of many, with delayed messages."""
    settings.override(threads=1)
    rows: list[dict[str, Any]] = []
    for network in networks:
        whole = Measured.of(network, given.repetitions).lines[0]
        x, y = samples(network, network.batch)
        for name, link in LINKS.items():
            for ranks in _CHECKED:
                timed = Timed(Pretended(ranks), link)
                step = step_of(network, timed, ranks * network.batch)
                step(x, y)
                timed.reset()
                times: list[float] = []
                for _ in range(given.repetitions):
                    start = time.perf_counter()
                    step(x, y)
                    times.append(time.perf_counter() - start)
                predicted, waited = whole.step(ranks, link)
                rows.append({
                    "network": network.name, "link": name, "ranks": ranks, "predicted": predicted,
                    "measured": min(times), "predicted_wait": waited, "measured_wait": timed.waits / len(times),
                    "exchanges": timed.exchanges / len(times),
                })  # fmt: skip
    if given.json:
        print_json(rows)
        return
    print_table(
        "a batch per rank, ms per step: the model, and one process with delayed messages",
        ("network", "link", "ranks", "predicted", "measured", "ratio", "predicted wait", "measured wait"),
        [
            (
                row["network"], row["link"], str(row["ranks"]), milliseconds(row["predicted"]),
                milliseconds(row["measured"]), f"{row['predicted'] / row['measured']:.3f}",
                milliseconds(row["predicted_wait"]), milliseconds(row["measured_wait"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def predict(networks: Sequence[Network], given: argparse.Namespace) -> None:
    settings.override(threads=1)
    if given.rows:
        rows = json.loads(given.rows.read_text())
    else:
        rows = [row for network in networks for row in Measured.of(network, given.repetitions).rows()]
    if given.plot:
        draw(rows, given.plot)
    if given.json:
        print_json(rows)
        return
    names = list(dict.fromkeys(row["network"] for row in rows))
    for link in LINKS:
        print_table(
            f"predicted speed-up with the same batch / efficiency with a batch per rank, {link}",
            ("network", *map(str, RANKS)),
            [
                (name, *(speed_ups(row) for row in rows if (row["network"], row["link"]) == (name, link)))
                for name in names
            ],
        )
    print_table(
        "where a step stops scaling: the largest speed-up with the same batch, and its number of ranks / the largest "
        "number of ranks with an efficiency of 0.9",
        ("network", *LINKS),
        [
            (
                name,
                *(
                    f"{speed:.1f} × on {best} / {efficient}"
                    for best, speed, efficient in (end_of_scaling(rows, name, link) for link in LINKS)
                ),
            )
            for name in names
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--measure", nargs="+", type=int, metavar="RANKS", help="measure on so many ranks")
    parser.add_argument("--compare", type=int, metavar="RANKS", help="compare ranks with threads of one rank")
    parser.add_argument("--check", action="store_true", help="compare the model with delayed steps")
    parser.add_argument("--hosts", metavar="LINK", help="each rank in a network namespace with such a link")
    parser.add_argument("--link", metavar="LINK", help="delay messages as such a link, for instance 1gbit:0.2ms")
    parser.add_argument("--batch", type=int, help="samples of a batch (default: those of the network)")
    parser.add_argument("--repetitions", type=int, default=10, help="steps (of a round, with --compare)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of --compare")
    parser.add_argument("--rows", type=Path, help="predictions that --json printed, instead of measuring phases")
    parser.add_argument("--plot", type=Path, help="draw the predictions into this file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    networks = [NETWORKS[name] for name in given.networks]
    if given.measure:
        measure(networks, given)
    elif given.compare:
        compare(networks, given)
    elif given.check:
        check(networks, given)
    else:
        predict(networks, given)


if __name__ == "__main__":
    main()
