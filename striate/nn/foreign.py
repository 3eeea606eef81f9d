"""Layers in the terms of other frameworks, for comparisons with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from striate.ops.window import Pairs


@dataclass(frozen=True)
class ForeignLayer:
    """A class of ``torch.nn`` with its arguments, or an ONNX operator with its attributes.

    ``parameters`` names our parameters in the order in which an ONNX operator takes them after its input; parameters
    that a layer does not have are left out.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    parameters: tuple[str, ...] = ()


def symmetric(padding: Pairs) -> tuple[int, ...] | None:
    """Padding as one number per axis; None if the two sides differ, which PyTorch's layers cannot express."""
    return None if any(before != after for before, after in padding) else tuple(before for before, _ in padding)


def onnx_pads(padding: Pairs) -> list[int]:
    """All paddings before the input, then all paddings after it."""
    return [before for before, _ in padding] + [after for _, after in padding]
