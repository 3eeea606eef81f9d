"""Measure 3×3 convolution in its three directions, as a fraction of the peak measured at the same time.

    python benchmarks/convolution.py
    python benchmarks/convolution.py --winograd          effective speed: the same work counted, fewer multiplications
    python benchmarks/convolution.py --stride 2          from an input with twice the rows and columns

Each program is measured as a network runs it, between two other convolutions, so that its operands have the memory
layout that convolutions share: x → before → *measured* → after. The program's own clock gives the time of the phases of
the measured node: the kernel alone, and with the packing of weights, whose cost does not depend on the batch.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from probe import Probe, Reading
from report import machine, note, print_json, print_table

from striate import settings
from striate.engine import prepare
from striate.graph.graph import Graph, Input
from striate.graph.op import scope
from striate.graph.value import DType, N, TensorType, Value
from striate.ops.convolution import Convolution, ConvolutionInputGradient, ConvolutionWeightGradient

Array = NDArray[Any]

SHAPES = ((64, 32), (128, 16), (256, 8), (512, 4))
"""(number of input and output channels, height and width of the output)"""
MEASURED = "measured"
PACKING = frozenset({"pack", "unpack"})
"""Phases that copy weights between their logical layout and the packed layout of kernels."""


def geometry(stride: int) -> tuple[Any, ...]:
    """Return stride, padding, dilation and groups of a 3×3 convolution that keeps the size at stride 1."""
    return (stride, stride), ((1, 1), (1, 1)), (1, 1), 1


def forward(x: Value, w: Value, size: int, stride: int) -> Value:
    """Return x → conv → conv → conv, of which the middle one has the stride."""
    for path, step in (("before", 1), (MEASURED, stride), ("after", 1)):
        with scope(path):
            x = Convolution(*geometry(step))(x, w)
    return x


def input_gradient(dy: Value, w: Value, size: int, stride: int) -> Value:
    """Return dy → three gradients with respect to the input in a chain, of which the middle one has the stride."""
    for path, step in (("before", 1), (MEASURED, stride), ("after", 1)):
        size *= step
        with scope(path):
            dy = ConvolutionInputGradient(*geometry(step), (size, size))(dy, w)
    return dy


def weight_gradient(x: Value, w: Value, size: int, stride: int) -> Value:
    """Return the weight gradient of a convolution whose operands are computed by two others."""
    with scope("before"):
        y = Convolution(*geometry(1))(x, w)
        dy = Convolution(*geometry(stride))(y, w)
    with scope(MEASURED):
        return ConvolutionWeightGradient(*geometry(stride), (3, 3))(y, dy)


DIRECTIONS: dict[str, Callable[[Value, Value, int, int], Value]] = {
    "forward": forward,
    "input gradient": input_gradient,
    "weight gradient": weight_gradient,
}


@dataclass
class Case:
    """One direction at one shape: its program, its arrays, and its measurements."""

    direction: str
    channels: int
    size: int
    executable: Any
    arrays: dict[str, Array]
    gflop: float
    seconds: list[float] = field(default_factory=list[float])
    kernel_seconds: list[float] = field(default_factory=list[float])
    readings: list[Reading] = field(default_factory=list[Reading])
    phases: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def title(self) -> str:
        """A short description for tables."""
        return f"{self.direction}, {self.channels}@{self.size}²"

    def repeat(self, runs: int, batch: int) -> None:
        """Run the program ``runs`` times and store the mean seconds of the measured node."""
        self.executable.run(self.arrays, batch)
        profile = self.executable.program.start_profile()
        for _ in range(runs):
            self.executable.run(self.arrays, batch)
        self.executable.program.stop_profile()
        rows = [(phase.name, seconds) for phase, seconds in profile.rows if phase.path == MEASURED]
        self.phases = {f"{index}: {name}": seconds for index, (name, seconds) in enumerate(rows)}
        self.seconds.append(sum(seconds for _, seconds in rows))
        self.kernel_seconds.append(sum(seconds for name, seconds in rows if name not in PACKING))

    def fractions(self, seconds: list[float], threads: int, keep_all: bool) -> list[float]:
        """Return the speed as a fraction of the peak for each repetition in which every thread had a core to itself.

        With ``keep_all`` all repetitions count.
        """
        return [
            self.gflop / each / (reading.together if threads > 1 else reading.single)
            for each, reading in zip(seconds, self.readings, strict=True)
            if reading.clean or keep_all
        ]


def prepared(direction: str, channels: int, size: int, stride: int, batch: int, random: np.random.Generator) -> Case:
    """Build and compile the program that measures one direction at one shape."""
    given = size if direction == "input gradient" else size * stride
    x = Input("x", TensorType(DType.float32, (N, channels, given, given)))()
    w = Input("w", TensorType(DType.float32, (channels, channels, 3, 3)))()
    result = DIRECTIONS[direction](x, w, size, stride)
    executable = prepare(Graph({"x": x, "w": w}, {"result": result}), {}, {}, batch)
    if not hasattr(executable, "program"):
        sys.exit("only compiled programs have a clock: unset STRIATE_ENGINE")
    arrays = {
        "x": random.standard_normal((batch, channels, given, given)).astype(np.float32),
        "w": (random.standard_normal((channels, channels, 3, 3)) / math.sqrt(9 * channels)).astype(np.float32),
    }
    return Case(direction, channels, size, executable, arrays, 2 * 9 * channels**2 * size**2 * batch / 1e9)


def median(numbers: list[float]) -> float:
    """Return the median, or NaN for an empty list."""
    return statistics.median(numbers) if numbers else math.nan


def measure(cases: list[Case], probe: Probe, repetitions: int, batch: int, gflop: float) -> None:
    """Measure all cases in interleaved repetitions of about ``gflop`` of work each.

    The probe measures the CPU's peak before and after each repetition.
    """
    for repetition in range(repetitions):
        shift = repetition % len(cases)
        before = probe()
        for case in (*cases[shift:], *cases[:shift]):
            case.repeat(max(1, round(gflop / case.gflop)), batch)
            after = probe()
            # The lower ratio decides whether the repetition counts; the peak is the mean.
            worse = min(before, after, key=lambda reading: reading.ratio)
            mean = [(a + b) / 2 for a, b in ((before.single, after.single), (before.together, after.together))]
            case.readings.append(Reading(*mean, probe.threads) if worse.clean else worse)
            before = after
        note(f"round {repetition + 1} of {repetitions}")


def main() -> None:
    """Measure all shapes and directions, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=float, default=10.0, help="GFLOP of one repetition (10)")
    parser.add_argument("--shapes", nargs="+", default=[f"{c}@{s}" for c, s in SHAPES], metavar="CHANNELS@SIZE")
    parser.add_argument("--directions", nargs="+", default=list(DIRECTIONS), choices=list(DIRECTIONS))
    parser.add_argument("--winograd", action="store_true", help="let Winograd's algorithm in")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--phases", action="store_true", help="also print what each phase took")
    parser.add_argument("--keep-all", action="store_true", help="drop nothing: for trying the script on a busy machine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings.override(winograd=options.winograd, threads=options.threads)
    shapes = [tuple(int(part) for part in shape.split("@")) for shape in options.shapes]
    random = np.random.default_rng(0)
    cases = [
        prepared(direction, *shape, options.stride, options.batch, random)
        for direction in options.directions
        for shape in shapes
    ]
    measure(cases, Probe(max(2, options.threads)), options.repetitions, options.batch, options.work)

    def fractions(case: Case, seconds: list[float]) -> list[float]:
        return case.fractions(seconds, options.threads, options.keep_all)

    kernels = {case.title: fractions(case, case.kernel_seconds) for case in cases}
    whole = {case.title: fractions(case, case.seconds) for case in cases}
    by_direction = {
        direction: [
            median([median(found[case.title]) for case in cases if case.direction == direction])
            for found in (kernels, whole)
        ]
        for direction in options.directions
    }
    if options.json:
        content = {
            case.title: {
                "kernel": kernels[case.title],
                "with_packing": whole[case.title],
                "seconds": case.seconds,
                "phases": case.phases,
            }
            for case in cases
        }
        print_json({"machine": machine(), "threads": options.threads, "median": by_direction, "cases": content})
        return
    rows = [
        (
            case.title,
            f"{median(kernels[case.title]):.1%}",
            f"{max(kernels[case.title], default=math.nan):.1%}",
            f"{median(whole[case.title]):.1%}",
            f"{case.gflop / median(case.kernel_seconds):.0f}",
            f"{median(case.kernel_seconds) * 1e3:.2f}",
            f"{len(case.seconds) - len(kernels[case.title])}/{len(case.seconds)}",
        )
        for case in cases
    ]
    what = "3×3 convolution" if options.winograd else "Direct 3×3 convolution"
    what += f", stride {options.stride}" if options.stride > 1 else ""
    columns = ("", "of peak", "best", "with packing", "GFLOP/s", "ms", "dropped")
    print_table(f"{what}, batch {options.batch}", columns, rows)
    print_table(
        "Median over the shapes",
        ("direction", "of peak", "with packing"),
        [(direction, *(f"{each:.1%}" for each in found)) for direction, found in by_direction.items()],
    )
    if options.phases:
        phases = [(case.title, name, f"{ms * 1e3:.3f}") for case in cases for name, ms in case.phases.items()]
        print_table("Phases of the last repetition", ("", "phase", "ms"), phases)


if __name__ == "__main__":
    main()
