"""Compile residual blocks of 16 and of 64 channels, forward and backward, and measure and check them.

    python benchmarks/block.py

    y = leaky(x + bn(conv(leaky(bn(conv(x))))))         3×3, N = 64, images of 32×32 pixels

For each block, with direct convolutions and with Winograd's algorithm, it prints the time relative to the peak that the
probe measures, the number of phases of a step, and whether the results have the same bits on one thread and on all, for
a batch smaller than the capacity, and with scratch memory full of NaN.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray
from probe import Probe
from report import machine, note, print_json, print_table

from striate import settings
from striate.compiler import CompiledExecutable
from striate.engine import prepare
from striate.graph.graph import Graph, Input
from striate.graph.op import scope
from striate.graph.value import DType, N, TensorType, Value
from striate.ops.activation import leaky_relu
from striate.ops.convolution import convolution
from striate.ops.normalization import batch_norm_with_statistics
from striate.ops.reduction import mean
from striate.passes.differentiate import differentiate
from striate.runtime.arena import scratch_arena

Array = NDArray[Any]
BATCH, SIZE = 64, 32


def block(channels: int) -> tuple[Graph, dict[str, Array]]:
    """Return the graph of one block's output and gradients, and random arrays for its inputs."""
    shapes = {"x": (BATCH, channels, SIZE, SIZE), "dy": (BATCH, channels, SIZE, SIZE)}
    for layer in ("1", "2"):
        shapes |= {f"w{layer}": (channels, channels, 3, 3), f"gamma{layer}": (channels,), f"beta{layer}": (channels,)}
    random = np.random.default_rng(0)
    arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    inputs: dict[str, Value] = {}
    for name, shape in shapes.items():
        batched = name in ("x", "dy")
        inputs[name] = Input(name, TensorType(DType.float32, (N, *shape[1:]) if batched else shape))()

    def half(x: Value, layer: str) -> Value:
        with scope(f"conv{layer}"):
            x = convolution(x, inputs[f"w{layer}"], padding=1)
        with scope(f"bn{layer}"):
            return batch_norm_with_statistics(x, inputs[f"gamma{layer}"], inputs[f"beta{layer}"], 1e-5)[0]

    hidden = leaky_relu(half(inputs["x"], "1"), 0.1)
    y = leaky_relu(half(hidden, "2") + inputs["x"], 0.1)
    names = [name for name in inputs if name != "dy"]
    gradients = differentiate(mean(y * inputs["dy"]), [inputs[name] for name in names])
    outputs = {"y": y} | {f"d{name}": g for name, g in zip(names, gradients, strict=True)}
    return Graph(inputs, outputs), arrays


def compiled(graph: Graph, capacity: int) -> CompiledExecutable:
    """Compile the block for batches of at most ``capacity`` samples."""
    executable = prepare(graph, {}, {}, capacity)
    assert isinstance(executable, CompiledExecutable)
    return executable


def same_bits(graph: Graph, arrays: dict[str, Array]) -> dict[str, bool]:
    """Return whether the bits of the results depend on threads, capacity, or the contents of scratch memory.

    The keys name the checks; True means that all bits are equal.
    """
    fewer = {name: a[:5] if name in ("x", "dy") else a for name, a in arrays.items()}
    program = compiled(graph, BATCH)
    expected, short = program.run(arrays, BATCH), program.run(fewer, 5)

    def equal(a: dict[str, Array], b: dict[str, Array]) -> bool:
        return all(np.array_equal(a[name], b[name]) for name in a)

    before = settings.override(threads=1)
    alone = program.run(arrays, BATCH)
    settings.restore(before)
    arena = scratch_arena()
    arena.view(0, (arena.size // 4,), np.dtype(np.float32))[:] = np.nan
    return {
        "one thread": equal(expected, alone),
        "short batch": equal(short, compiled(graph, 5).run(fewer, 5)),
        "poison": equal(expected, program.run(arrays, BATCH)),
    }


def measure(channels: int, winograd: bool, repetitions: int, probe: Probe) -> dict[str, Any]:
    """Measure and check one block; returns a row of the table."""
    before = settings.override(winograd=winograd)
    graph, arrays = block(channels)
    program = compiled(graph, BATCH)
    program.run(arrays, BATCH)
    assert program.program is not None
    profile = program.program.start_profile()
    fractions: list[float] = []
    milliseconds: list[float] = []
    work = sum(phase.flops_per_sample for phase in program._phases) * BATCH  # pyright: ignore[reportPrivateUsage]
    for _ in range(repetitions):
        reading = probe()
        start = float(profile.seconds.sum())
        program.run(arrays, BATCH)
        seconds = float(profile.seconds.sum()) - start
        if reading.clean or settings.current().threads == 1:
            peak = reading.together if settings.current().threads > 1 else reading.single
            fractions.append(work / seconds / 1e9 / peak)
            milliseconds.append(1e3 * seconds)
    program.program.stop_profile()
    row = {
        "channels": channels,
        "winograd": winograd,
        "phases": len(program._phases),  # pyright: ignore[reportPrivateUsage]
        "ms": statistics.median(milliseconds) if milliseconds else float("nan"),
        "of_peak": statistics.median(fractions) if fractions else float("nan"),
        "clean": len(fractions),
        **same_bits(graph, arrays),
    }
    settings.restore(before)
    return row


def main() -> None:
    """Measure all blocks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    probe = Probe(settings.current().threads)
    rows: list[dict[str, Any]] = []
    for channels in (16, 64):
        for winograd in (False, True):
            note(f"{channels} channels, {'winograd' if winograd else 'direct'}")
            rows.append(measure(channels, winograd, options.repetitions, probe))
    if options.json:
        print_json({"machine": machine(), "rows": rows})
        return
    print_table(
        f"Residual block, forward and backward, {BATCH} images of {SIZE}×{SIZE}",
        ("channels", "form", "phases", "ms", "of peak", "one thread = two", "short batch", "NaN poison", "clean"),
        [
            (
                str(row["channels"]), "winograd" if row["winograd"] else "direct", str(row["phases"]),
                f"{row['ms']:.1f}", f"{row['of_peak']:.0%}",
                *("same bits" if row[name] else "DIFFER" for name in ("one thread", "short batch", "poison")),
                f"{row['clean']}/{options.repetitions}",
            )
            for row in rows
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
