"""What a block is called on a page, and which colour of things it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from striate.graph.graph import Parameter, State
from striate.graph.op import Kind
from striate.report.anatomy import Block
from striate.show.names import options, words

_KINDS = {
    Kind.CONTRACTION: "contraction",
    Kind.COMPOSITE: "contraction",
    Kind.WINDOW: "window",
    Kind.REDUCTION: "window",
    Kind.VIEW: "view",
    Kind.GATHER: "join",
    Kind.ROWWISE: "activation",
    Kind.ELEMENTWISE: "activation",
}
_PLAIN = {
    "Convolution": "conv",
    "MaxPooling": "max pool",
    "AveragePooling": "average pool",
    "Reshape": "flatten",
    "Relu": "ReLU",
    "LeakyRelu": "leaky ReLU",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Sum": "sum",
}


def colour_of(block: Block) -> str:
    """contraction, normalization, activation, window, view, join or other: a class of the style sheet."""
    main = block.main_node
    if main is not None:
        return _KINDS.get(main.op.kind, "other")
    if len(block.inputs) > 1:
        return "join"
    return "normalization" if any(isinstance(op, State) for op in block.sources) else "other"


def label_of(block: Block) -> str:
    """``conv 3×3, 16 → 32, stride 2``"""
    node = block.main_node
    if node is None:
        if len(block.inputs) > 1:
            return " and ".join(dict.fromkeys(words(one) for one in block.nodes if one.outputs[0].type.batched))
        if block.normalizes:
            return "batch norm"
        fixed = bool(block.sources) and not any(isinstance(op, Parameter) for op in block.sources)
        return "standardize" if fixed else "scale and shift" if block.sources else words(block.nodes[-1])
    op = cast(Any, node.op)
    name = _PLAIN.get(type(op).__name__, words(node))
    if node.op.kind is Kind.WINDOW:
        return f"{name} {_sizes(op.kernel)}{_stride(op.stride)}"
    weights = next((value for value in node.inputs if not value.type.batched and value.type.rank >= 2), None)
    if weights is not None:
        out, depth, *taps = weights.type.concrete(1)
        groups = int(getattr(op, "groups", 1))
        kernel = f" {_sizes(taps)}" if taps else ""
        return f"{name}{kernel}, {depth * groups} → {out}{_stride(getattr(op, 'stride', ()))}" + (
            f", {groups} groups" if groups > 1 else ""
        )
    if type(op).__name__ == "LeakyRelu":
        return f"{name} {op.negative_slope:g}"
    if node.op.kind is Kind.REDUCTION and any(type(one.op).__name__ == "Divide" for one in block.nodes):
        return "mean of each channel"
    shown = [text for text in options(node) if not text.startswith(("shape", "size"))]
    return ", ".join([name, *shown])


def _sizes(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes)) if len(sizes) > 1 else str(sizes[0])


def _stride(stride: Sequence[int]) -> str:
    if all(one == 1 for one in stride):
        return ""
    return f" /{stride[0]}" if len(set(stride)) == 1 else f" /{_sizes(stride)}"
