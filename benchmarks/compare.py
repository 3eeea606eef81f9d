"""Compare the training steps of the four networks in striate and in PyTorch, interleaved.

    python benchmarks/compare.py                                  striate, PyTorch's nchw and channels_last
    python benchmarks/compare.py --configurations all --bf16      all configurations of PyTorch
    python benchmarks/compare.py --networks lenet5 --repetitions 5 --json

Each configuration trains in its own process, from the same weights, on fresh batches, and is suspended while another
one runs. A round gives every configuration one turn of at least 0.1 s. Before and after each turn, the probe measures
the peak of one thread and of all threads; a turn next to a measurement in which all threads reached less than 1.6 times
one thread is dropped. PyTorch is judged by its best configuration. ``configuration.py`` lists PyTorch's configurations,
and explains which were left out.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from configuration import KNOWN, NCHW, STRIATE, STRIATE_BF16, Configuration, chosen
from networks import NETWORKS, Network, add_networks
from probe import Probe, Reading
from report import geometric_mean, machine, note, print_json, print_table
from worker import Worker, WorkerError

from striate import settings
from striate.settings import Engine


@dataclass(frozen=True)
class Turn:
    """Some consecutive timed steps, and the CPU's peak speed measured by the probe before and after them."""

    seconds: list[float]
    before: Reading
    after: Reading

    @property
    def clean(self) -> bool:
        """Whether every thread had a core to itself, before and after the turn."""
        return self.before.clean and self.after.clean

    @property
    def peak(self) -> float:
        """The CPU's peak speed with all threads, measured around the turn, in GFLOP/s."""
        return (self.before.together + self.after.together) / 2


@dataclass
class Measurement:
    """All turns (groups of consecutive steps) of one configuration on one network."""

    network: Network
    configuration: Configuration
    batch: int
    turns: list[Turn] = field(default_factory=list[Turn])
    keep_all: bool = False
    peak_memory: float = math.nan
    first_step: float = math.nan

    @property
    def kept(self) -> list[Turn]:
        """The turns during which every thread had a core to itself, or all turns with ``keep_all``."""
        return [turn for turn in self.turns if turn.clean or self.keep_all]

    def _over(self, measure: Callable[[Sequence[float]], float]) -> float:
        seconds = [each for turn in self.kept for each in turn.seconds]
        return measure(seconds) if seconds else math.nan

    @property
    def median(self) -> float:
        """The median seconds per step."""
        return self._over(statistics.median)

    @property
    def minimum(self) -> float:
        """The seconds of the fastest step."""
        return self._over(min)

    @property
    def work(self) -> float:
        """The work of one step in GFLOP."""
        return self.network.work(self.batch)

    @property
    def floor(self) -> float:
        """The seconds that a step would take at the measured peak, with direct convolution."""
        return self.work / statistics.median(turn.peak for turn in self.kept) if self.kept else math.nan

    @property
    def fraction(self) -> float:
        """The floor divided by the measured time; with Winograd's algorithm it may exceed 1."""
        found = [self.work / turn.peak / statistics.median(turn.seconds) for turn in self.kept]
        return statistics.median(found) if found else math.nan

    def summary(self) -> dict[str, object]:
        """Return all results as JSON-compatible data; times are in milliseconds, memory is in MB."""
        return {
            "configuration": self.configuration.name,
            "median_ms": self.median * 1e3,
            "minimum_ms": self.minimum * 1e3,
            "floor_ms": self.floor * 1e3,
            "fraction_of_floor": self.fraction,
            "peak_memory_mb": self.peak_memory,
            "first_step_s": self.first_step,
            "turns": len(self.turns),
            "dropped": len(self.turns) - len(self.kept),
            "readings": [asdict(turn.before) for turn in self.turns],
            "seconds": [turn.seconds for turn in self.turns],
        }


TURN_SECONDS = 0.1
"""The least length of a turn. In its first milliseconds, the system may run both threads of a worker process on one
core, after they were suspended; a training has that once, and not before every fifth step."""

LONGEST_TURN = 500
"""The largest number of steps or calls in a turn."""


def turn_length(worker: Worker, least: int) -> int:
    """Return the number of steps, at least ``least``, that take ``TURN_SECONDS``, from a short turn."""
    return max(least, min(LONGEST_TURN, math.ceil(TURN_SECONDS / statistics.median(worker.turn(5)))))


def measure(
    network: Network,
    configurations: Sequence[Configuration],
    probe: Probe,
    options: argparse.Namespace,
    kind: type[Worker] = Worker,
) -> dict[str, Measurement]:
    """Measure all configurations on one network, interleaved.

    A configuration that cannot start is reported and left out; one that fails later keeps the turns before. ``kind`` is
    the class of the worker processes.
    """
    batch = options.batch or network.batch
    found: dict[str, Measurement] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for configuration in configurations:
            note(f"{network.title}: starting {configuration.name}")
            try:
                worker = stack.enter_context(kind(network, configuration, options.threads, batch))
            except WorkerError as error:
                note(f"{network.title}: left out: {error}")
                continue
            workers[configuration.name] = worker
            found[configuration.name] = Measurement(
                network, configuration, batch, keep_all=options.keep_all, first_step=worker.ready.first_step
            )
        names = list(workers)
        lengths: dict[str, int] = {}
        for repetition in range(options.repetitions):
            shift = repetition % max(1, len(names))  # so that no configuration always follows the same one
            before = probe()
            for name in (*names[shift:], *names[:shift]):
                if name not in workers:
                    continue
                try:
                    lengths[name] = lengths.get(name) or turn_length(workers[name], options.steps)
                    seconds = workers[name].turn(lengths[name])
                except WorkerError as error:
                    note(f"{network.title}: measured no further: {error}")
                    workers.pop(name).close()
                    continue
                after = probe()
                found[name].turns.append(Turn(seconds, before, after))
                before = after
            note(f"{network.title}: round {repetition + 1} of {options.repetitions}")
        for name in names:
            if name in workers:
                found[name].peak_memory = workers[name].peak
            if not found[name].kept:
                note(f"{network.title}: no clean turn of {name}: the threads never had a core each; try again later")
    return found


def best_peer(found: dict[str, Measurement], bf16: bool) -> Measurement | None:
    """Return the fastest of PyTorch's configurations in float32 or bfloat16, or None if there is none."""
    peers = [m for m in found.values() if m.configuration.peer and m.configuration.bf16 == bf16 and m.kept]
    return min(peers, key=lambda m: m.median, default=None)


def over(peer: Measurement | None, own: Measurement | None, what: str = "median") -> float:
    """Return how many times faster (or smaller) striate is than a peer, or NaN if one of the two is missing.

    ``what`` names the attribute of ``Measurement`` that is compared.
    """
    return getattr(peer, what) / getattr(own, what) if peer and own else math.nan


def ratios(found: dict[str, Measurement]) -> dict[str, float]:
    """Return the ratios of times and memory that are reported for one network; NaN where a measurement is missing."""
    own, fp32 = found.get(STRIATE.name), best_peer(found, bf16=False)
    memory = min((m.peak_memory for m in found.values() if m.configuration.peer), default=math.nan)
    return {
        "best_fp32": over(fp32, own),
        "best_fp32_by_minima": over(fp32, own, "minimum"),
        "nchw_eager": over(found.get(NCHW.name), own),
        "best_bf16": over(best_peer(found, bf16=True), own),
        "own_bf16": over(own, found.get(STRIATE_BF16.name)),
        "fraction_of_floor": own.fraction if own else math.nan,
        "memory": memory / own.peak_memory if own else math.nan,
    }


def shown(number: float, form: str = ".2f", unit: str = "") -> str:
    """Format a number, or return a dash for NaN."""
    return "–" if math.isnan(number) else f"{number:{form}}{unit}"


def print_results(results: dict[str, dict[str, Measurement]]) -> None:
    """Print the times of all configurations, and then the ratios."""
    rows: list[list[str]] = []
    for found in results.values():
        own = found.get(STRIATE.name)
        for m in found.values():
            rows.append(
                [
                    f"{m.network.title}, {m.configuration.name}",
                    shown(m.median * 1e3, ".1f"),
                    shown(m.minimum * 1e3, ".1f"),
                    shown(over(m, own), ".2f", "x"),
                    shown(m.floor * 1e3, ".1f"),
                    shown(m.fraction, ".0%"),
                    shown(m.peak_memory, ".0f"),
                    f"{len(m.turns) - len(m.kept)}/{len(m.turns)}",
                ]
            )
    columns = (
        "network, configuration", "median ms", "min ms", "over striate", "floor ms", "of floor", "peak MB", "dropped",
    )  # fmt: skip
    print_table("Training step", columns, rows)

    figures = [(next(iter(found.values())).network, found, ratios(found)) for found in results.values() if found]
    rows = []
    for network, found, ratio in figures:
        fp32, bf16 = best_peer(found, bf16=False), best_peer(found, bf16=True)
        rows.append(
            [
                network.title,
                shown(ratio["best_fp32"], ".2f", "x"),
                fp32.configuration.name if fp32 else "–",
                shown(ratio["best_fp32_by_minima"], ".2f", "x"),
                shown(ratio["nchw_eager"], ".2f", "x"),
                shown(ratio["best_bf16"], ".2f", "x"),
                bf16.configuration.name if bf16 else "–",
                shown(ratio["own_bf16"], ".2f", "x"),
                shown(ratio["fraction_of_floor"], ".0%"),
                shown(ratio["memory"], ".2f", "x"),
            ]
        )
    means = {name: geometric_mean([ratio[name] for _, _, ratio in figures]) for name in ratios({})}
    rows.append(
        [
            "geometric mean",
            shown(means["best_fp32"], ".2f", "x"),
            "",
            shown(means["best_fp32_by_minima"], ".2f", "x"),
            shown(means["nchw_eager"], ".2f", "x"),
            shown(means["best_bf16"], ".2f", "x"),
            "",
            shown(means["own_bf16"], ".2f", "x"),
            shown(means["fraction_of_floor"], ".0%"),
            shown(means["memory"], ".2f", "x"),
        ]
    )
    columns = (
        "striate is faster than PyTorch", "best fp32", "which", "by minima", "nchw eager", "best bf16", "which",
        "in bf16 than in fp32", "of direct floor", "less memory",
    )  # fmt: skip
    print_table("Ratios of medians", columns, rows)


def main() -> None:
    """Measure all chosen networks and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_networks(parser)
    names = ["quick", "all", *KNOWN]
    parser.add_argument(
        "--configurations", nargs="+", default=["quick"], choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--bf16", action="store_true", help="add PyTorch's bf16 autocast to quick or all")
    parser.add_argument("--repetitions", type=int, default=15, help="rounds (15)")
    parser.add_argument("--steps", type=int, default=5, help="least timed steps a turn, after an untimed one (5)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="another batch size than the benchmark's")
    parser.add_argument("--keep-all", action="store_true", help="drop nothing: for trying the script on a busy machine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    configurations = chosen(options.configurations, options.bf16)
    if settings.current().engine is Engine.REFERENCE:
        note("STRIATE_ENGINE=reference: striate runs in NumPy here, its times mean nothing")
    probe = Probe(options.threads)
    results = {name: measure(NETWORKS[name], configurations, probe, options) for name in options.networks}
    if options.json:
        content = {
            name: {
                "work_gflop": NETWORKS[name].work(options.batch),
                "ratios": ratios(found),
                "configurations": [m.summary() for m in found.values()],
            }
            for name, found in results.items()
        }
        print_json({"machine": machine(), "threads": options.threads, "networks": content})
    else:
        print_results(results)


if __name__ == "__main__":
    main()
