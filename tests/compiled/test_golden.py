"""The text of simplified, laid out and fused graphs of known networks equals files, for a fixed target.

An intended change shows in the diff of tests/golden. To rewrite the files:

    STRIATE_WRITE_GOLDEN=1 python -m pytest tests/compiled/test_golden.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from striate.codegen.target import named
from striate.compiler import CompileOptions, compile_graph, options_for
from striate.graph.text import graph_text, name_values
from striate.passes.fuse import fuse
from striate.passes.layout import layout
from striate.passes.lower import lower
from striate.passes.simplify import expand, simplify
from tests.compiled.networks import step_problems

GOLDEN = Path(__file__).parents[1] / "golden"
TARGET = "x86-64-v3"


def text_of(network: str) -> str:
    """Return the text of all stages of the network's gradient program."""
    (problem, _) = step_problems(network)
    simplified = simplify(expand(problem.graph))
    options = CompileOptions(named(TARGET))
    laid_out = layout(simplified, options)
    plan = fuse(laid_out, options)
    lowered = lower(plan, options)
    names = name_values(laid_out.graph.nodes)

    def shown(thing: object) -> str:
        if isinstance(thing, tuple):
            return " ".join(map(str, thing))
        return names.get(thing) or str(getattr(thing, "name", thing))  # type: ignore[call-overload]

    lines = [f"{network}: gradients of one step, target {TARGET}", "", "layout", ""]
    lines += [graph_text(laid_out.graph, laid_out.note), "fused", ""]
    for group in plan.groups:
        what = str(group.anchor.op) if group.anchor else "finish" if group.finishes else "map"
        lines.append(f"group {group.index}: {what}")
        lines += [f"  finish {node.op} {names[node.inputs[0]]}" for node in group.finishes]
        lines += [f"  store {names[value]}" for value in group.stores]
        lines += [f"  reduce {node.op} {names[node.inputs[0]]}" for node in group.reductions]
    lines += ["", "program", ""]
    for phase in lowered.phases:
        per, count = phase.chunks
        many = f"{per} · ⌈N / {count}⌉" if count else str(per)
        lines.append(f"{phase.name} ({phase.path}): {many} chunks of {' '.join(map(shown, phase.operands))}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("network", ["lenet5", "residual"])
def test_stages_are_as_written_down(network: str) -> None:
    path = GOLDEN / f"{network}.txt"
    found = text_of(network)
    if os.environ.get("STRIATE_WRITE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: STRIATE_WRITE_GOLDEN=1 writes it"
    assert found == path.read_text(encoding="utf-8"), "STRIATE_WRITE_GOLDEN=1 writes it anew, if the change is meant"


def test_simplification_is_done_after_one_run() -> None:
    for problem in step_problems("residual"):
        once = compile_graph(problem.graph, options_for()).simplified
        assert graph_text(simplify(once)) == graph_text(once)
