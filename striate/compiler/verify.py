"""The verifiers of the compiler's later stages: they check layouts, the plan of loops, launches, and memory.

The verifier of graphs is ``graph/check.py``. A violation is a bug in the compiler, not a user's mistake. Every
``GraphError`` names the stage and the node or phase (kernel launch) that breaks the rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from striate.codegen.launch import BoundArray, Buffer, Launch
from striate.codegen.options import CompileOptions
from striate.codegen.region import AnchorResult, Apply, Load, Region
from striate.codegen.storage import BLOCK, NO_HALO, PLAIN
from striate.errors import GraphError
from striate.graph.check import check
from striate.graph.op import Kind, Node
from striate.graph.value import Value
from striate.ops.anchor import Anchor
from striate.passes.fuse import Plan
from striate.passes.layout import Layouts
from striate.passes.lower import Lowered
from striate.passes.memory import Life


def verify_layouts(layouts: Layouts, options: CompileOptions, verified: set[Node], stage: str) -> None:
    """Check that every value has a memory layout, and that every anchor's layouts fit its algorithm.

    An *anchor* is an operation that starts a loop, such as a convolution or a pooling. Its algorithm must be the one
    that its inputs and ``options`` imply, and its inputs must have the channel blocks and halos (padding) that the
    algorithm requires. ``verified`` has nodes that an earlier check found valid. Raises ``GraphError``, which names the
    ``stage``.
    """
    check(layouts.graph, stage, verified)
    for node in layouts.graph.nodes:
        for value in node.outputs:
            if layouts.block.get(value) not in (BLOCK, PLAIN):
                raise _fault(stage, node, f"{value} has no layout")
        if isinstance(node.op, Anchor):
            _verify_anchor(layouts, node, node.op, options, stage)


def _verify_anchor(layouts: Layouts, node: Node, op: Anchor, options: CompileOptions, stage: str) -> None:
    types = [value.type for value in node.inputs]
    blocks = [layouts.block[value] for value in node.inputs]
    algorithm = op.algorithm(types, [layouts.dtype(value) for value in node.inputs], options)
    if layouts.algorithms.get(node) != algorithm:
        raise _fault(stage, node, f"has algorithm {layouts.algorithms.get(node)}, but its inputs imply {algorithm}")
    for value, required in zip(node.inputs, op.input_layouts(types, blocks, algorithm), strict=True):
        if layouts.block[value] not in required.blocks:
            raise _fault(stage, node, f"reads {value} in blocks of {layouts.block[value]}, not of {required.blocks}")
        halo = layouts.halo.get(value, NO_HALO)
        if any(h < r for one, two in zip(halo, required.halo, strict=True) for h, r in zip(one, two, strict=True)):
            raise _fault(stage, node, f"reads a halo of {required.halo} around {value}, which has {halo}")


def verify_plan(plan: Plan, stage: str) -> None:
    """Check that every loop of a plan (the result of fusion) reads only values that it or an earlier loop stores.

    Every result of the graph must be stored as well. Raises ``GraphError``, which names the ``stage``.
    """
    for position, group in enumerate(plan.groups):
        if group.index != position:
            raise GraphError(f"after {stage}: loop {position} is numbered {group.index}")
        for value in group.reads:
            if plan.in_memory.get(value, len(plan.groups)) > group.index:
                raise GraphError(f"after {stage}: loop {position} reads {value}, which no loop before it stores")
        for value in group.stores:
            if plan.in_memory.get(value) != group.index:
                raise GraphError(
                    f"after {stage}: {value} is stored by loops {plan.in_memory.get(value)} and {position}"
                )
        for node in group.finishes:
            if not any(node in earlier.reductions for earlier in plan.groups[:position]):
                raise _fault(stage, node, f"is finished by loop {position}, but no loop before it sums it")
    for value in plan.layouts.graph.results:
        if value not in plan.in_memory and value.node.op.kind not in (Kind.SOURCE, Kind.VIEW):
            raise _fault(stage, value.node, "is a result, but no loop stores it")


def verify_launches(lowered: Lowered, plan: Plan, stage: str) -> None:
    """Check that the operands of every kernel launch exist, and that the regions of its kernel are well formed.

    ``lowered`` has the launches, and ``plan`` says which values are in memory. A region is fused elementwise work, in
    which instructions must come after the values that they use. Raises ``GraphError``, which names the ``stage``.
    """
    for launch in lowered.phases:
        for operand in launch.operands:
            if isinstance(operand, Value):
                if not {operand, plan.layouts.base(operand)} & plan.in_memory.keys():
                    raise GraphError(f"after {stage}: {_called(launch)} reads {operand}, which is not in memory")
            elif not isinstance(operand, Buffer | BoundArray):
                raise GraphError(f"after {stage}: {_called(launch)} has an operand {operand!r}")
        if min(launch.chunks) < 0 or any(place >= len(launch.operands) for place in launch.writes):
            raise GraphError(f"after {stage}: {_called(launch)} has chunks {launch.chunks}, writes {launch.writes}")
        for part in vars(launch.spec).values():
            if isinstance(part, Region):
                _verify_region(part, launch, stage)


def _verify_region(region: Region, launch: Launch, stage: str) -> None:
    for number, item in enumerate(region.instructions):
        used = item.arguments if isinstance(item, Apply) else ()
        if any(not 0 <= argument < number for argument in used):
            raise GraphError(f"after {stage}: instruction {number} of {_called(launch)} uses {used}")
        if isinstance(item, Load) and item.operand >= len(launch.operands):
            raise GraphError(f"after {stage}: {_called(launch)} loads operand {item.operand}")
        if isinstance(item, AnchorResult) and item.output < 0:
            raise GraphError(f"after {stage}: {_called(launch)} reads result {item.output} of its anchor")
    for item in (*region.stores, *region.accumulations):
        if not 0 <= item.value < len(region.instructions) or item.operand >= len(launch.operands):
            raise GraphError(f"after {stage}: {_called(launch)} stores value {item.value} to operand {item.operand}")


def verify_memory(lives: Mapping[Hashable, Life], offsets: Mapping[Hashable, int], total: int) -> None:
    """Check that arrays in use at the same time share no byte, and that all lie within ``total`` bytes.

    ``lives`` has the size of each array and the phases (kernel launches) that use it; ``offsets`` are in bytes. Raises
    ``GraphError``.
    """
    placed = sorted(((offsets[array], life) for array, life in lives.items()), key=lambda item: item[0])
    for index, (start, life) in enumerate(placed):
        if start < 0 or start + life.size > total:
            raise GraphError(f"after memory: {life} at {start} lies outside of {total} bytes")
        for other_start, other in placed[index + 1 :]:
            if other_start >= start + life.size:
                break
            if other.first <= life.last and life.first <= other.last and other.size:
                raise GraphError(f"after memory: {life} at {start} overlaps {other} at {other_start}")


def _called(launch: Launch) -> str:
    return f"{launch.name!r} at {launch.path!r}"


def _fault(stage: str, node: Node, what: str) -> GraphError:
    return GraphError(f"after {stage}: {node.op} at {node.path!r} {what}")
