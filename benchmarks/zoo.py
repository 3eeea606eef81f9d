"""Compare training steps of networks that nobody tuned, in striate and in PyTorch, interleaved.

    python benchmarks/zoo.py                                ten fixed networks
    python benchmarks/zoo.py --drawn 60 --seed 7            sixty random ones, the same for the same seed
    python benchmarks/zoo.py --drawn 60 --only depthwise    those of one kind
    STRIATE_TARGET=x86-64-v3 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/zoo.py

Each network runs in all chosen configurations as ``compare`` describes, from the same weights, and PyTorch is judged by
its fastest. If the losses of the first steps do not agree, the row says so. The last table lists the ten networks at
which striate is slowest compared with PyTorch, each with the layer that takes most of striate's time.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping
from typing import Any

import compare
from compare import Measurement, best_peer, over, shown
from configuration import CHANNELS_LAST, COMPILED, COMPILED_CHANNELS_LAST, KNOWN, NCHW, STRIATE, Configuration
from probe import Probe
from report import geometric_mean, machine, note, print_json, print_table
from worker import Worker
from zoo_networks import ZooNetwork, drawn, fixed
from zoo_worker import ZooWorker

from striate.codegen import target


def row(network: ZooNetwork, found: dict[str, Measurement], outcomes: Mapping[str, float]) -> list[str]:
    """Return the table row of a network, as the texts of its cells."""
    own, peer = found.get(STRIATE.name), best_peer(found, bf16=False)
    memory = min((m.peak_memory for m in found.values() if m.configuration.peer), default=math.nan)
    agree = outcomes and max(outcomes.values()) - min(outcomes.values()) <= 2e-3 * max(1e-9, *outcomes.values())
    return [
        network.title,
        shown(own.median * 1e3 if own else math.nan, ".2f"),
        shown(peer.median * 1e3 if peer else math.nan, ".2f"),
        peer.configuration.name if peer else "–",
        shown(over(peer, own), ".2f", "x"),
        shown(over(peer, own, "minimum"), ".2f", "x"),
        shown(own.fraction if own else math.nan, ".0%"),
        shown(own.peak_memory / memory if own else math.nan, ".2f"),
        shown(own.first_step if own else math.nan, ".1f"),
        "yes" if agree else f"NO: {', '.join(f'{value:.6g}' for value in outcomes.values())}",
    ]


def main() -> None:
    """Measure all chosen networks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawn", type=int, default=0, metavar="N", help="N random networks instead of the fixed ones")
    parser.add_argument("--seed", type=int, default=0, help="of the random networks (0)")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="networks whose name contains one of these")
    usual = [STRIATE.name, NCHW.name, CHANNELS_LAST.name]
    parser.add_argument(
        "--configurations", nargs="+", default=usual, choices=list(KNOWN), metavar="NAME", help=", ".join(KNOWN)
    )
    parser.add_argument("--compiled", action="store_true", help="add torch.compile, whose first step takes a minute")
    parser.add_argument("--repetitions", type=int, default=5, help="rounds (5)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps a turn, after an untimed one (3)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep-all", action="store_true", help="drop nothing: for trying the script on a busy machine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.batch = None
    configurations = [KNOWN[name] for name in options.configurations]
    if options.compiled:
        configurations += [COMPILED, COMPILED_CHANNELS_LAST]
    probe = Probe(options.threads)
    chosen = {
        name: network
        for name, network in (drawn(options.drawn, options.seed) if options.drawn else fixed()).items()
        if not options.only or any(text in name for text in options.only)
    }
    rows: dict[str, list[str]] = {}
    results: dict[str, dict[str, Measurement]] = {}
    worst: dict[str, list[str]] = {}
    for name, network in chosen.items():
        flat = len(network.sample) < 3  # no memory format of features and signals
        used = [each for each in configurations if not (flat and each.channels_last)]
        outcomes: dict[str, float] = {}
        found = compare.measure(network, used, probe, options, _worker(options.seed, outcomes, worst))
        results[name], rows[name] = found, row(network, found, outcomes)
        note("  ".join(rows[name]))
    ratios = {name: over(best_peer(found, False), found.get(STRIATE.name)) for name, found in results.items()}
    known = {name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)}
    if options.json:
        print_json(
            {
                "machine": machine(), "target": target.current().cpu, "threads": options.threads, "seed": options.seed,
                "networks": {
                    name: {"title": chosen[name].title, "ratio": ratios[name], "layers": worst.get(name),
                           "configurations": [m.summary() for m in found.values()]}
                    for name, found in results.items()
                },
            }
        )  # fmt: skip
        return
    columns = (
        f"network (seed {options.seed}, {options.threads} threads, {target.current().cpu})", "striate ms", "PyTorch ms",
        "which", "ratio", "of minima", "of floor", "memory", "first s", "agree",
    )  # fmt: skip
    print_table("Training step, PyTorch's best over striate", columns, rows.values())
    if known:
        values = list(known.values())
        print(
            f"geometric mean {geometric_mean(values):.2f}, median {statistics.median(values):.2f}, "
            f"least {min(values):.2f}, below 1: {sum(value < 1 for value in values)} of {len(values)}"
        )
        lines = [[chosen[n].title, f"{known[n]:.2f}x", *worst.get(n, [])] for n in sorted(known, key=known.__getitem__)]
        print_table("The worst", ("network", "ratio", "most time", "then", "then"), lines[:10])


def _worker(seed: int, outcomes: dict[str, float], layers: dict[str, list[str]]) -> type[Worker]:
    """Return the class of workers for one network, which note the outcome of the first step and the slowest layers."""

    class Noting(ZooWorker):
        def __init__(
            self, network: Any, configuration: Configuration, threads: int, batch: int | None = None, _: int = 0
        ) -> None:
            super().__init__(network, configuration, threads, batch, seed)
            outcomes[configuration.name] = self.ready.outcome
            if configuration is STRIATE:
                layers[network.name] = self.ask(steps=0, apart=3)["apart"]

    return Noting


if __name__ == "__main__":
    main()
