"""Prints a network at any stage of the compiler as text; ``striate show`` uses it.

The stages are traced → differentiated → simplified → layout → fused → memory → program. "fused" lists the loop nests,
"memory" the arrays in scratch memory, and "program" the phases (kernels) in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from striate.compiler import compile_graph, options_for
from striate.dtypes import Precision
from striate.errors import unknown_option
from striate.graph.graph import Graph
from striate.graph.text import graph_text
from striate.show.loops import WIDTH, loops_text
from striate.show.running import memory_text, program_text


class Stage(Enum):
    """The stages of the compiler that can be printed, in the order in which a graph passes them."""

    traced = "traced"
    differentiated = "differentiated"
    simplified = "simplified"
    layout = "layout"
    fused = "fused"
    memory = "memory"
    program = "program"


def stage_of(name: str) -> Stage:
    """Return the stage with this name; raises ``OptionError``, listing the known ones, for any other."""
    if name not in Stage.__members__:
        raise unknown_option("stage", name, Stage.__members__)
    return Stage[name]


def stage_text(
    graph: Graph,
    stage: Stage,
    samples: int = 128,
    layers: Mapping[str, str] | None = None,
    precision: Precision = Precision.full,
    width: int = WIDTH,
) -> str:
    """Return the graph after a stage of the compiler, as text.

    samples    the batch size N, for which memory is planned and phases are counted
    layers     names to print after the paths of layers, by path, such as their classes; None: paths only
    precision  the precision in which the compiled program computes
    width      the number of characters at which lines of loops and phases are wrapped; a node of a graph stays one line

    "traced" and "differentiated" both print the graph as it is given, without or with gradients.
    """
    if stage in (Stage.traced, Stage.differentiated):
        return graph_text(graph)
    compiled = compile_graph(graph, options_for(precision))
    if stage is Stage.simplified:
        return graph_text(compiled.simplified)
    if stage is Stage.layout:
        return graph_text(compiled.layouts.graph, compiled.layouts.note)
    if stage is Stage.fused:
        return loops_text(compiled.plan, layers or {}, width)
    return memory_text(compiled, samples, width) if stage is Stage.memory else program_text(compiled, samples, width)


__all__ = ["Stage", "stage_of", "stage_text"]
