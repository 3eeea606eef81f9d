"""Compare the cost model of convolutions with measurements: where did it choose the slower algorithm?

    python benchmarks/choices.py
    python benchmarks/choices.py --only volume line       layers whose name contains one of these
    STRIATE_TARGET=x86-64-v3 python benchmarks/choices.py

Each layer runs in a training step between a 1×1 convolution and a pooling, once by direct sums and once in Winograd's
tiles, on one thread. The program's own clock gives the least time of the kernel in each direction, with the packing
or the transform of the filters. "model" and "measured" are the cost of tiles over that of direct sums; a choice is
wrong if the other algorithm is faster by 5 % or more.
"""

from __future__ import annotations

import argparse
import gc
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from report import note, print_table

import striate as st
from striate import nn, optim, settings
from striate.codegen import target
from striate.graph.op import Direction
from striate.ops.kernels import cost
from striate.ops.kernels.algorithm import possible_form
from striate.ops.kernels.geometry import Geometry
from striate.runtime.program import Program

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLINGS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
PHASES = {
    Direction.FORWARD: ("convolution", "pack"),
    Direction.INPUT_GRADIENT: ("input gradient",),
    Direction.WEIGHT_GRADIENT: ("weight gradient", "unpack"),
}
TOLERATED = 1.05
"""How much slower the chosen algorithm may be before the choice counts as wrong."""


@dataclass(frozen=True)
class Layer:
    """A convolution with ``padding`` of half its taps, and the number of samples that it is timed with."""

    name: str
    inputs: int
    outputs: int
    taps: int
    size: tuple[int, ...]
    samples: int
    stride: int = 1

    @property
    def geometry(self) -> Geometry:
        """The sizes of the convolution on three axes."""
        missing, rank = 3 - len(self.size), len(self.size)
        kernel, stride = (1,) * missing + (self.taps,) * rank, (1,) * missing + (self.stride,) * rank
        size, before = (1,) * missing + self.size, (0,) * missing + (self.taps // 2,) * rank
        count = [
            (n + 2 * pad - taps) // step + 1 for n, pad, taps, step in zip(size, before, kernel, stride, strict=True)
        ]
        return Geometry(
            self.outputs, self.inputs, 1, three(kernel), three(stride), three(before), (1, 1, 1), three(size),
            three(count),
        )  # fmt: skip

    def model(self) -> nn.Module:
        """Return a network around the convolution, which is its layer 2."""
        rank = len(self.size)
        conv = CONVOLUTIONS[rank - 1]
        return nn.Sequential(
            conv(self.inputs, self.inputs, 1), nn.ReLU(),
            conv(self.inputs, self.outputs, self.taps, stride=self.stride, padding=self.taps // 2), nn.ReLU(),
            POOLINGS[rank - 1](1), nn.Flatten(), nn.Linear(self.outputs, 10),
        )  # fmt: skip


def three(numbers: Sequence[int]) -> tuple[int, int, int]:
    """Return three numbers as a tuple."""
    first, second, third = numbers
    return first, second, third


LAYERS = (
    *(Layer(f"plane {i} → {o}, 3×3", i, o, 3, (32, 32), 8)
      for i, o in ((5, 5), (8, 8), (5, 64), (8, 32), (32, 3), (12, 24), (16, 16), (17, 34), (64, 64))),
    *(Layer(f"plane {i} → {o}, 5×5", i, o, 5, (28, 28), 8) for i, o in ((6, 6), (6, 16), (16, 32), (64, 64))),
    *(Layer(f"plane {i} → {o}, 3×3 of stride 2", i, o, 3, (32, 32), 8, 2) for i, o in ((8, 16), (16, 32), (64, 128))),
    *(Layer(f"plane {i} → {o}, 5×5 of stride 2", i, o, 5, (32, 32), 8, 2) for i, o in ((6, 16), (17, 34), (64, 64))),
    *(Layer(f"small plane {size}×{size}, 32 → 32, 3×3", 32, 32, 3, (size, size), 64) for size in (2, 3, 5, 6, 7)),
    *(Layer(f"line {i} → {o}, {taps} taps", i, o, taps, (1024,), 8)
      for taps in (3, 5, 7) for i, o in ((8, 8), (8, 16), (16, 16), (64, 64))),
    *(Layer(f"line {i} → {o}, {taps} taps of stride 2", i, o, taps, (1024,), 8, 2)
      for taps in (5, 7) for i, o in ((8, 16), (32, 64))),
    *(Layer(f"volume {i} → {o}, 3×3×3", i, o, 3, (8, 16, 16), 4) for i, o in ((5, 8), (8, 8), (16, 16), (32, 32))),
)  # fmt: skip


@contextmanager
def forced(tiles: bool) -> Generator[None]:
    """Use tiles wherever there is a form for them, or nowhere."""
    chosen, before = dict(cost.WORTHWHILE), settings.override(winograd=tiles, threads=1)
    cost.WORTHWHILE.update(dict.fromkeys(chosen, math.inf))
    try:
        yield
    finally:
        cost.WORTHWHILE.update(chosen)
        settings.restore(before)


def measured(layer: Layer, repetitions: int) -> dict[Direction, float]:
    """Return the least seconds of each direction of a layer."""
    step = st.TrainingStep(layer.model().initialize(0), nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
    random = np.random.default_rng(0)
    x = random.standard_normal((layer.samples, layer.inputs, *layer.size)).astype(np.float32)
    y = random.integers(0, 10, layer.samples)
    known = {id(item) for item in gc.get_objects() if isinstance(item, Program)}
    step(x, y)
    fresh = [item for item in gc.get_objects() if isinstance(item, Program) and id(item) not in known]
    program = max(fresh, key=lambda item: len(item.phases))
    least = np.full(len(program.phases), np.inf)
    for _ in range(repetitions):
        profile = program.start_profile()
        step(x, y)
        least = np.minimum(least, profile.seconds)
        program.stop_profile()
    found = dict.fromkeys(PHASES, 0.0)
    for phase, seconds in zip(program.phases, least, strict=True):
        for direction, names in PHASES.items():
            if phase.path == "2" and phase.name.startswith(names):
                found[direction] += float(seconds)
    return found


def main() -> None:
    """Measure the chosen layers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="layers whose name contains one of these")
    parser.add_argument("--repetitions", type=int, default=100, help="steps of each layer and algorithm (100)")
    options = parser.parse_args()
    rows, wrong, losses = list[list[str]](), 0, list[float]()
    for layer in LAYERS:
        if options.only and not any(text in layer.name for text in options.only):
            continue
        note(layer.name)
        times: dict[bool, dict[Direction, float]] = {}
        for tiles in (False, True):
            with forced(tiles):
                times[tiles] = measured(layer, options.repetitions)
        for direction in PHASES:
            form = possible_form(layer.geometry, direction)
            if form is None:
                continue
            model = cost.in_tiles(form, layer.geometry, direction) / cost.direct(layer.geometry, direction)
            ratio = times[True][direction] / times[False][direction]
            tiled = model <= cost.WORTHWHILE[direction]
            loss = ratio if tiled else 1 / ratio
            losses.append(max(1.0, loss))
            wrong += loss > TOLERATED
            rows.append([
                layer.name, direction.name.lower().replace("_", " "), f"{times[False][direction] * 1e6:.0f}",
                f"{times[True][direction] * 1e6:.0f}", f"{model:.2f}", f"{ratio:.2f}", "tiles" if tiled else "direct",
                f"WRONG, {loss:.2f}x" if loss > TOLERATED else "",
            ])  # fmt: skip
    print_table(
        f"Cost of tiles over that of direct sums, one thread ({target.current().cpu})",
        ["layer", "direction", "direct µs", "tiles µs", "model", "measured", "chosen", ""],
        rows,
    )
    mean = math.exp(sum(map(math.log, losses)) / max(1, len(losses)))
    print(f"{wrong} of {len(rows)} choices are wrong; the choices cost {mean - 1:.1%} over the better algorithm")


if __name__ == "__main__":
    main()
