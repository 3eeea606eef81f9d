"""How grouped convolutions read their inputs, and the machine code that multiplies lane by lane."""

from __future__ import annotations

import re

import numpy as np
import pytest

from striate.codegen import jit
from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK
from striate.codegen.target import named
from striate.compiler import compile_graph
from striate.graph.graph import Graph, Input
from striate.graph.value import DType, N, TensorType
from striate.ops.convolution import Convolution
from striate.ops.kernels.direct import TapConvolution
from striate.ops.kernels.direct_gradient import WeightGradient
from striate.ops.kernels.grouped import Banded, Lanewise
from striate.passes.differentiate import differentiate
from tests.compiled.cases import total
from tests.compiled.test_disassembly import innermost_loops


@pytest.mark.parametrize(
    "sizes", [(33, 1, 1), (19, 1, 2), (19, 2, 1), (22, 3, 3), (10, 4, 4), (7, 2, 4), (7, 4, 2), (5, 6, 6), (40, 3, 1)]
)
def test_every_lane_reads_the_channels_of_its_group(sizes: tuple[int, int, int]) -> None:
    groups = Lanewise(*sizes)
    assert groups.possible
    count, inputs, outputs = sizes
    for block in range(groups.output_blocks):
        special = block == groups.output_blocks - 1 and len(groups.tables) > groups.period
        table = groups.tables[-1 if special else block % groups.period]
        first = groups.needed(block)[0]
        for lane in range(min(BLOCK, count * outputs - block * BLOCK)):
            group = (block * BLOCK + lane) // outputs
            for channel in range(inputs):
                source = table[channel][lane]
                assert source is not None
                assert (first + source[0]) * BLOCK + source[1] == group * inputs + channel
        reach = max(source[0] for row in table for source in row if source)
        assert first + reach < groups.input_blocks


@pytest.mark.parametrize("sizes", [(3, 20, 12), (5, 12, 12), (2, 16, 32), (100, 17, 3), (3, 40, 1)])
def test_a_band_holds_the_channels_of_all_groups_of_a_block(sizes: tuple[int, int, int]) -> None:
    groups = Banded(*sizes)
    count, inputs, outputs = sizes
    for block in range(groups.output_blocks):
        first = min(block * BLOCK // outputs * inputs // BLOCK, groups.input_blocks - groups.span)
        for lane in range(min(BLOCK, count * outputs - block * BLOCK)):
            group = (block * BLOCK + lane) // outputs
            blocks = np.arange(group * inputs, (group + 1) * inputs) // BLOCK
            assert first <= blocks[0] <= blocks[-1] < first + groups.span <= groups.input_blocks


@pytest.mark.parametrize("target", ["znver4", "x86-64-v3"])
@pytest.mark.parametrize("groups", [64, 16], ids=["depthwise", "four channels"])
def test_hot_loops_keep_their_sums_in_registers(target: str, groups: int) -> None:
    """A depthwise product reads one factor from memory, and takes one instruction per register of sums."""
    options = CompileOptions(named(target))
    x = Input("x", TensorType(DType.float32, (N, 64, 28, 28)))()
    w = Input("w", TensorType(DType.float32, (64, 64 // groups, 3, 3)))()
    y = Convolution((1, 1), ((1, 1), (1, 1)), (1, 1), groups)(x, w)
    dx, dw = differentiate(total(y * y), [x, w])
    found: set[str] = set()
    for phase in compile_graph(Graph({"x": x, "w": w}, {"dx": dx, "dw": dw}), options).lowered.phases:
        spec = phase.spec
        if not isinstance(spec, TapConvolution | WeightGradient):
            continue
        found.add(phase.name)
        assert isinstance(spec.grouping, Lanewise)
        loops = innermost_loops(jit.disassembly(spec.ir(), named(target)), "vfmadd")
        hot = max(loops, key=lambda loop: sum("vfmadd" in line for line in loop))
        products = [line for line in hot if "vfmadd" in line]
        spilled = [line for line in hot if re.search(r"%[xyz]mm", line) and "(%rsp)" in line]
        assert len(spilled) <= (0 if groups == 64 else 2), phase.name
        if groups == 64:
            assert all("(" in line for line in products), phase.name
            assert len(hot) <= len(products) + 9, phase.name
    assert found == {"convolution (lanewise)", "input gradient (lanewise)", "weight gradient (lanewise)"}
