"""The pipeline of the compiler: a list of stages, each followed by its verifier.

    trace → differentiate → expand → simplify (→ narrow) → recompute → remove empty → layout → fuse → lower
          → memory → program

Tracing and differentiation take place where the graph is built, and the stages *memory* and *program* in
``executable.py``, where the number of samples is known. The stages between them are listed in ``STAGES``.
docs/architecture.md explains how to add a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from striate.codegen.options import CompileOptions
from striate.codegen.workers import collection_paused
from striate.compiler.verify import verify_launches, verify_layouts, verify_plan
from striate.dtypes import Precision
from striate.graph.check import check
from striate.graph.graph import Graph, OutputKind
from striate.graph.op import Node
from striate.ops import kernels
from striate.passes.empty import remove_empty
from striate.passes.fuse import Plan, fuse
from striate.passes.layout import Layouts, layout
from striate.passes.lower import Lowered, lower
from striate.passes.narrow import narrow
from striate.passes.recompute import recompute
from striate.passes.simplify import expand, simplify

kernels.load()  # imported with the compiler, because a fork could interrupt an import during lowering


@dataclass
class Compilation:
    """A graph on its way through the stages of the compiler, with the results of the stages so far.

    ``graph`` is the graph after the stages that have rewritten it so far, and ``options`` are read by all stages.
    ``simplified`` is the graph after the stage *simplify*, kept so that it can be shown. ``verified`` has the nodes
    that were verified already and are not verified again after later stages. The last stages set ``layouts`` (memory
    layouts), ``plan`` (fused loops) and ``lowered`` (kernel launches).
    """

    graph: Graph
    options: CompileOptions
    verified: set[Node] = field(default_factory=set[Node])
    simplified: Graph = field(init=False)
    layouts: Layouts = field(init=False)
    plan: Plan = field(init=False)
    lowered: Lowered = field(init=False)

    @property
    def watched(self) -> list[str]:
        """The names of outputs that ``TrainingStep.watch`` added; they do not affect how other outputs are computed."""
        return self.graph.names_of(OutputKind.WATCH)


@dataclass(frozen=True)
class Stage:
    """A stage of the compiler: ``run`` changes the compilation, ``verify`` checks it afterwards.

    ``verify`` is called with the compilation and the stage's name, which its errors contain.
    """

    name: str
    run: Callable[[Compilation], None]
    verify: Callable[[Compilation, str], None]


def _expand(c: Compilation) -> None:
    c.graph = expand(c.graph)


def _remove_empty(c: Compilation) -> None:
    c.graph = remove_empty(c.graph)


def _simplify(c: Compilation) -> None:
    c.graph = c.simplified = simplify(c.graph)


def _narrow(c: Compilation) -> None:
    if c.options.precision is Precision.bfloat16:
        c.graph = narrow(c.graph, c.options, c.watched)


def _recompute(c: Compilation) -> None:
    c.graph = recompute(c.graph)


def _layout(c: Compilation) -> None:
    c.layouts = layout(c.graph, c.options)


def _fuse(c: Compilation) -> None:
    c.plan = fuse(c.layouts, c.options, c.watched)


def _lower(c: Compilation) -> None:
    c.lowered = lower(c.plan, c.options)


def _verify_graph(c: Compilation, stage: str) -> None:
    check(c.graph, stage, c.verified)


def _verify_layouts(c: Compilation, stage: str) -> None:
    verify_layouts(c.layouts, c.options, c.verified, stage)


def _verify_plan(c: Compilation, stage: str) -> None:
    verify_plan(c.plan, stage)


def _verify_launches(c: Compilation, stage: str) -> None:
    verify_launches(c.lowered, c.plan, stage)


REWRITES = (
    Stage("expand", _expand, _verify_graph),
    Stage("simplify", _simplify, _verify_graph),
    Stage("narrow", _narrow, _verify_graph),
    Stage("recompute", _recompute, _verify_graph),
)
"""The stages that also run for the NumPy references: all stages that may change the computed numbers."""

STAGES = (
    *REWRITES,
    Stage("remove empty", _remove_empty, _verify_graph),
    Stage("layout", _layout, _verify_layouts),
    Stage("fuse", _fuse, _verify_plan),
    Stage("lower", _lower, _verify_launches),
)


@collection_paused()
def compile_graph(graph: Graph, options: CompileOptions) -> Compilation:
    """Run all stages of the compiler on a graph, with these options, and return their results.

    No machine code is generated yet.
    """
    return _passed(graph, options, STAGES)


def rounded_graph(graph: Graph, options: CompileOptions) -> Graph:
    """Return the graph that is run in NumPy as the reference for a program with the precision in ``options``.

    It is the graph after the stages in ``REWRITES``. In bfloat16, it rounds the values that compiled programs store as
    bfloat16.
    """
    return _passed(graph, options, REWRITES).graph


def _passed(graph: Graph, options: CompileOptions, stages: Iterable[Stage]) -> Compilation:
    compilation = Compilation(graph, options)
    check(graph, "trace", compilation.verified)
    for stage in stages:
        stage.run(compilation)
        stage.verify(compilation, stage.name)
    return compilation
