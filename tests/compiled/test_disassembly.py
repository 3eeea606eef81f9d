"""Inspect the machine code of hot loops: no register is spilled, and no instruction is wasted."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from striate import ops
from striate.codegen import jit
from striate.codegen.launch import Launch
from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK
from striate.codegen.target import named
from striate.graph.graph import Graph, Input
from striate.graph.value import DType, N, TensorType, Value
from striate.ops.convolution import Convolution
from striate.ops.kernels.direct import TapConvolution
from striate.ops.kernels.direct_gradient import WeightGradient
from striate.ops.kernels.winograd.convolution import TileConvolution
from striate.ops.kernels.winograd.gradient import WinogradWeightGradient
from striate.passes.differentiate import differentiate
from striate.passes.fuse import fuse
from striate.passes.layout import layout
from striate.passes.lower import lower
from striate.passes.simplify import expand, simplify
from tests.compiled.cases import total
from tests.compiled.networks import step_problems

LABEL = re.compile(r"^(\.?L[A-Za-z0-9_$.]+):")
JUMP = re.compile(r"^\s+(?:j[a-z]+|b\.?[a-z]*|cbn?z|tbn?z)\s+.*?(\.?L[A-Za-z0-9_$.]+)\s*$")


@dataclass(frozen=True)
class Layer:
    """A convolution with 3 or 5 taps along each axis that keeps the size, or halves it with stride 2."""

    inputs: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1
    rank: int = 2

    def phases(self, target: str, dtype: DType = DType.float32, winograd: bool = False) -> list[Launch]:
        """Return the phases of its forward pass and gradients."""
        pad, rank = (self.kernel - 1) // 2, self.rank
        x = Input("x", TensorType(dtype, (N, self.inputs, *(self.size,) * rank)))()
        w = Input("w", TensorType(dtype, (self.outputs, self.inputs, *(self.kernel,) * rank)))()
        y = Convolution((self.stride,) * rank, ((pad, pad),) * rank, (1,) * rank, 1)(x, w)
        dx, dw = differentiate(total(y * y), [x, w])
        return phases(Graph({"x": x, "w": w}, {"y": y, "dx": dx, "dw": dw}), target, winograd)


def phases(graph: Graph, target: str, winograd: bool = False) -> list[Launch]:
    """Compile a graph for a target, which need not be this computer's, and return its phases."""
    options = CompileOptions(named(target), winograd)
    return lower(fuse(layout(simplify(expand(graph)), options), options), options).phases


def innermost_loops(assembly: str, instruction: str = "") -> list[list[str]]:
    """Return the instructions of each loop without inner loops that contains ``instruction``."""
    lines = [line.split("#")[0].rstrip() for line in assembly.splitlines()]
    labels = {found.group(1): number for number, line in enumerate(lines) if (found := LABEL.match(line))}
    spans: list[tuple[int, int]] = []
    for number, line in enumerate(lines):
        jump = JUMP.match(line)
        start = labels.get(jump.group(1), number) if jump else number
        if start < number and any(instruction in inside for inside in lines[start:number]):
            spans.append((start, number))
    inner = [(a, b) for a, b in spans if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in spans)]
    return [lines[a : b + 1] for a, b in inner]


def hot_loops(assembly: str) -> Iterator[list[str]]:
    """Return the innermost loops that multiply and add whole vectors."""
    for loop in innermost_loops(assembly):
        if any(re.search(r"vfn?madd\w+p[sd]\s", line) for line in loop):
            yield loop


LAYERS = {
    "64@32": Layer(64, 64, 32),
    "16@32": Layer(16, 16, 32),
    "32@16": Layer(32, 32, 16),
    "first": Layer(3, 32, 32),
    "lenet": Layer(1, 16, 28, 5),
    "odd": Layer(17, 34, 28, 5, stride=2),
    "many": Layer(256, 256, 8),
    "strided": Layer(64, 128, 32, stride=2),
    "5×5": Layer(32, 48, 28, 5),
    "five taps": Layer(32, 64, 32, 5, stride=2),
    "line": Layer(64, 64, 64, 5, rank=1),
    "volume": Layer(32, 48, 8, rank=3),
}
TARGETS = {"znver4": 16, "x86-64-v4": 16, "x86-64-v3": 8}


def cases(*layers: str, quick: tuple[tuple[str, str], ...]) -> pytest.MarkDecorator:
    """Return the parametrization over layers and targets; `make test` runs the pairs of ``quick``."""
    pairs = itertools.product(layers, TARGETS)
    return pytest.mark.parametrize(
        ("layer", "target"), [pytest.param(*pair, marks=() if pair in quick else pytest.mark.slow) for pair in pairs]
    )


@cases(
    *("64@32", "16@32", "first", "lenet", "odd"),
    quick=(("64@32", "znver4"), ("16@32", "x86-64-v3"), ("first", "znver4"), ("lenet", "x86-64-v3")),
)
def test_hot_loops_keep_everything_in_registers(layer: str, target: str) -> None:
    lanes = TARGETS[target]
    seen = Counter[str]()
    for phase in LAYERS[layer].phases(target):
        if not isinstance(phase.spec, TapConvolution | WeightGradient):
            continue
        short = phase.spec.last if isinstance(phase.spec, TapConvolution) else phase.spec.short
        blocked = phase.spec.source.block == BLOCK  # the few channels of planar images share broadcasts between taps
        assembly = jit.disassembly(phase.spec.ir(), named(target))
        loops = list(hot_loops(assembly))
        assert loops, phase.name
        for loop in loops:
            spills = [line for line in loop if re.search(r"%[xyz]mm", line) and "(%rsp)" in line]
            # A few of a planar image's shared broadcasts wait on the stack; they are off the critical path. So does one
            # of the short sums while the others are added.
            allowed = (2 if short else 0) if blocked else 0.1 * sum("vfmadd" in line for line in loop)
            assert len(spills) <= allowed, f"{phase.name} for {target}:\n" + "\n".join(loop)
            fused = [line for line in loop if re.search(r"vfmadd\w+ps\s", line)]
            # One multiply-add each, and none that works on less than a whole register, unless few channels need less.
            widths = ["%zmm"] * (lanes == 16) + ["%ymm"] * (lanes == 8 or short is not None)
            assert any(all(wide in line for line in fused) for wide in widths), f"{phase.name} for {target}"
            assert not [line for line in loop if re.search(r"\sv(mul|add)ps\s", line)], f"{phase.name} for {target}"
            if lanes == 16 and blocked:
                apart = [line for line in loop if "vbroadcastss" in line]
                folded = [line for line in fused if "{1to" in line]
                assert len(apart) <= 1, f"{phase.name}:\n" + "\n".join(loop)
                assert len(folded) >= 0.9 * len(fused), f"{phase.name}:\n" + "\n".join(loop)
        seen[phase.name] += 1
        if layer == "odd":  # it has loops of two kinds
            continue
        longest = max(sum(1 for line in loop if "vfmadd" in line) for loop in loops)
        registers = 1 if short else 16 // lanes
        if isinstance(phase.spec, TapConvolution):
            rows, columns = (phase.spec.last or phase.spec).tiles[0]
            channels = min(phase.spec.channels, phase.spec.inner)
            assert longest % (rows * columns * channels * registers) == 0, (phase.name, longest, phase.spec.tiles)
        else:
            assert longest <= (phase.spec.short or phase.spec).accumulators * registers
    assert seen.keys() == {"convolution", "input gradient", "weight gradient"}


@cases(
    *("64@32", "32@16", "many", "strided", "5×5", "five taps", "line", "volume"),
    quick=(("64@32", "x86-64-v3"), ("32@16", "znver4"), ("strided", "znver4")),
)
def test_winograd_multiplies_in_registers(layer: str, target: str) -> None:
    lanes = TARGETS[target]
    registers = 16 // lanes
    seen = Counter[str]()
    for phase in LAYERS[layer].phases(target, winograd=True):
        if not isinstance(phase.spec, TileConvolution | WinogradWeightGradient):
            continue
        assembly = jit.disassembly(phase.spec.ir(), named(target))
        counts = [sum("vfmadd231ps" in line for line in loop) for loop in hot_loops(assembly)]
        if isinstance(phase.spec, TileConvolution):
            products = phase.spec.together * BLOCK * registers
        else:
            products = -(-BLOCK // -(-BLOCK // phase.spec.accumulators)) * registers
        found = [
            loop
            for loop, count in zip(hot_loops(assembly), counts, strict=True)
            if count == products and not any(re.search(r"\sv(add|sub)ps\s", line) for line in loop)  # a transform
        ]
        assert found, (phase.name, products, counts)
        for loop in found:
            spills = [line for line in loop if re.search(r"%[xyz]mm", line) and "(%rsp)" in line]
            assert not spills, f"{phase.name} for {target}:\n" + "\n".join(loop)
            if lanes == 16:
                folded = [line for line in loop if "vfmadd231ps" in line and "{1to16}" in line]
                assert len(folded) >= 0.9 * products, f"{phase.name}:\n" + "\n".join(loop)
        seen[phase.name] += 1
    assert seen.keys() == {"convolution (winograd)", "input gradient (winograd)", "weight gradient (winograd)"}


@pytest.mark.parametrize("target", TARGETS)
def test_bools_become_numbers_without_integers(target: str) -> None:
    """As when a watch counts the activations above 0."""
    x = Input("x", TensorType(DType.float32, (N, 32, 8, 8)))()
    (phase, *_) = phases(Graph({"x": x}, {"y": ops.sum((x > 0.5).astype("float32"), axis=(0, 2, 3))}), target)
    assembly = jit.disassembly(phase.spec.ir(), named(target))
    assert "vcmp" in assembly
    assert not re.findall(r"vcvtdq2ps|vpmovm2d|vpsrld", assembly)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lenet5", "residual"])
def test_every_kernel_compiles_for_arm(network: str) -> None:
    """An architecture with four lanes, whose code may use only its own instructions."""
    graph = step_problems(network)[0].graph
    specs = {phase.spec.key: phase.spec for phase in phases(graph, "generic")}
    multiplied = 0
    for spec in specs.values():
        assembly = jit.disassembly(spec.ir(), named("generic"))
        assert spec.symbol in assembly
        assert "%ymm" not in assembly
        multiplied += len(re.findall(r"\bfml[as]\s+v\d+\.4s", assembly))
    assert multiplied > 100


def test_loops_are_found() -> None:
    assembly = ".LBB0_1:\n\tnop\n.LBB0_2:\n\tvfmadd231ps (%rax){1to16}, %zmm1, %zmm2\n\tjne\t.LBB0_2\n\tjne\t.LBB0_1\n"
    assert innermost_loops(assembly) == [assembly.splitlines()[2:5]]


def test_sources_are_float32_values() -> None:
    """The layers above are realistic: inputs have NumPy's layout, values inside are blocks of channels."""
    for phase in Layer(64, 64, 32).phases("znver4"):
        assert all(not isinstance(v, Value) or v.dtype is DType.float32 for v in phase.operands)
