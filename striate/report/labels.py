"""The label of a block, and the colour in which it is drawn."""

from __future__ import annotations

from striate.graph.arithmetic import Divide
from striate.graph.graph import Parameter, State
from striate.graph.op import Kind, Purpose
from striate.report.anatomy import Block


def colour_of(block: Block) -> str:
    """Return the CSS class that colours a block in the drawing.

    It is "contraction", "normalization", "activation", "window" (pooling and reductions), "view" (reshaping), "join"
    (of several inputs) or "other".
    """
    return purpose_of(block).value


def purpose_of(block: Block) -> Purpose:
    """Return what a block does in the network: contraction, normalization, activation, pooling and so on."""
    if block.main is not None:
        return block.main.purpose
    if len(block.inputs) > 1:
        return Purpose.JOIN
    return Purpose.NORMALIZATION if any(isinstance(op, State) for op in block.sources) else Purpose.OTHER


def label_of(block: Block) -> str:
    """Return the label of a block in the drawing, such as ``conv 3×3, 16 → 32, stride 2``."""
    node = block.main_node
    if node is not None:
        averages = node.op.kind is Kind.REDUCTION and any(isinstance(one.op, Divide) for one in block.nodes)
        return "mean of each channel" if averages else node.op.label([value.type for value in node.inputs])
    if len(block.inputs) > 1:
        return " and ".join(dict.fromkeys(one.op.words() for one in block.nodes if one.outputs[0].type.batched))
    if block.normalizes:
        return "batch norm"
    fixed = bool(block.sources) and not any(isinstance(op, Parameter) for op in block.sources)
    return "standardize" if fixed else "scale and shift" if block.sources else block.nodes[-1].op.words()
